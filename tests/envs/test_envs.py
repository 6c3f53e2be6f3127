"""Environments: spaces, seeds, exact best and chance returns."""

import ast
import itertools
import pickle
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from support.wrapped import episode

import sb3_ext.envs
from sb3_ext.envs import (
    MemoryChainEnv,
    PreviousActionReward,
    RepeatPreviousEnv,
    register_envs,
)

ENV_IDS = [
    "sb3_ext/RepeatPrevious-v0",
    "sb3_ext/MemoryChain-v0",
    "sb3_ext/GridWorld-v0",
    "sb3_ext/MaskedFrozenLake-v0",
    "sb3_ext/PendulumPixels-v0",
    "sb3_ext/TMaze-v0",
    "sb3_ext/Tiger-v0",
    "sb3_ext/BernoulliBandit-v0",
    "sb3_ext/GaussianBandit-v0",
]


# ---- all environments ------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """FrozenLake's pictures are drawn by pygame."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")


def _needs_pygame(env_id: str) -> None:
    if env_id == "sb3_ext/MaskedFrozenLake-v0":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pygame's own imports
            pytest.importorskip("pygame")


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_registered_envs_pass_sb3_check_env_without_a_warning(env_id: str) -> None:
    _needs_pygame(env_id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in [None, *gym.make(env_id).metadata["render_modes"]]:
            if mode == "human":  # gymnasium's FrozenLake, which cannot be drawn again after `close`
                continue
            env = gym.make(env_id, render_mode=mode)
            check_env(env, warn=True, skip_render_check=False)
            check_env(PreviousActionReward(env), warn=True)


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_registered_envs_go_through_sb3_make_vec_env(env_id: str) -> None:
    _needs_pygame(env_id)
    venv = make_vec_env(env_id, n_envs=2, seed=0)  # asks for render_mode="rgb_array"
    venv.reset()
    picture = venv.render()
    assert picture is not None
    assert picture.ndim == 3


def test_registering_again_changes_nothing() -> None:
    before = {env_id: gym.registry[env_id] for env_id in ENV_IDS}
    register_envs()
    assert all(gym.registry[env_id] is spec for env_id, spec in before.items())
    assert {env_id for env_id in gym.registry if env_id.startswith("sb3_ext/")} == set(ENV_IDS)


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_same_seed_same_episode_and_another_seed_another_one(env_id: str) -> None:
    env, twin = gym.make(env_id), gym.make(env_id)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(30)]
    episodes = set()
    for seed in range(8):
        first, second = episode(env, actions, seed), episode(twin, actions, seed)
        np.testing.assert_equal(first, second)
        episodes.add(pickle.dumps(first))
    assert len(episodes) > 1


def test_pendulum_pixels_truncates_at_200_and_never_terminates() -> None:
    seen = episode(gym.make("sb3_ext/PendulumPixels-v0"), [2] * 300, seed=0)
    assert len(seen) == 201
    assert [step[2:] for step in seen[1:]] == [(False, False)] * 199 + [(False, True)]


def test_envs_import_only_gymnasium_and_numpy() -> None:
    assert sb3_ext.envs.__file__ is not None
    imported = set()
    for path in Path(sb3_ext.envs.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module))
    ours = {name for name in imported if name.startswith("sb3_ext")}
    assert all(name.startswith("sb3_ext.envs.") for name in ours)
    assert {name.split(".")[0] for name in imported - ours} == {
        "abc",
        "collections",
        "functools",
        "gymnasium",
        "math",
        "numpy",
        "typing",
    }


# ---- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "length"), [(4, 52), (1, 3), (0, 5), (7, 8)])
def test_repeat_previous_pays_1_to_who_remembers_and_minus_1_to_who_is_always_wrong(k: int, length: int) -> None:
    env = RepeatPreviousEnv(k=k, length=length)
    for wrong_by, best in [(0, 1.0), (1, -1.0)]:
        observation, _ = env.reset(seed=3)
        shown, rewards, terminated = [], [], False
        while not terminated:
            shown.append(int(observation.argmax()))
            assert observation.sum() == 1.0
            answer = (shown[-1 - k] + wrong_by) % 4 if len(shown) > k else 0
            observation, reward, terminated, truncated, _ = env.step(answer)
            rewards.append(reward)
            assert not truncated
        assert len(rewards) == length
        assert rewards[:k] == [0.0] * k
        assert sum(rewards) == pytest.approx(best)
        assert not observation.any()


def test_repeat_previous_pays_chance_to_the_best_of_all_policies_without_memory() -> None:
    env = RepeatPreviousEnv()
    reward_of = np.zeros((4, 4))  # [symbol shown, answer]: return per episode from answering so whenever it is shown
    n_episodes = 400
    for seed in range(n_episodes):
        observation, _ = env.reset(seed=seed)
        for _ in range(env.length):
            shown, answer = int(observation.argmax()), int(env.np_random.integers(4))
            observation, reward, *_ = env.step(answer)
            reward_of[shown, answer] += 4 * reward / n_episodes  # each answer is tried in a quarter of the steps
    returns = [
        sum(reward_of[shown, policy[shown]] for shown in range(4)) for policy in itertools.product(range(4), repeat=4)
    ]
    assert len(returns) == 256
    assert np.mean(returns) == pytest.approx(-0.5, abs=0.02)
    assert max(returns) < -0.4


@pytest.mark.parametrize("length", [1, 10])
def test_memory_chain_pays_1_to_who_remembers_and_minus_1_to_who_is_wrong(length: int) -> None:
    env = MemoryChainEnv(length=length)
    bits = []
    for seed in range(20):
        for flip in (0, 1):
            observation, _ = env.reset(seed=seed)
            bit = int(observation[0] > 0)
            actions = [(bit + flip) % 2] * (length + 5)
            steps = episode(env, actions, seed)[1:]
            assert [reward for _, reward, _, _ in steps] == [0.0] * length + [1.0 - 2 * flip]
            assert [ended for _, _, ended, _ in steps] == [False] * length + [True]
        bits.append(bit)
    assert 5 <= sum(bits) <= 15


def test_memory_chain_shows_the_bit_in_the_first_observation_only() -> None:
    env = MemoryChainEnv(length=4)
    seen = {}
    for seed in range(20):
        first, *steps = episode(env, [0] * 5, seed)
        seen[float(first[0])] = [first] + [step[0] for step in steps]
    assert set(seen) == {-1.0, 1.0}
    np.testing.assert_array_equal(seen[-1.0][1:], seen[1.0][1:])  # so no policy without memory can beat a coin
    expected = [[1, 0, 0], [0, 0.25, 0], [0, 0.5, 0], [0, 0.75, 0], [0, 1, 1], [0, 0, 0]]
    np.testing.assert_array_equal(seen[1.0], np.array(expected, np.float32))


def test_memory_envs_render_one_line_of_text_or_a_row_of_squares_or_nothing() -> None:
    repeat = RepeatPreviousEnv(k=1, length=3, render_mode="ansi")
    first, _ = repeat.reset(seed=0)
    assert repeat.render() == f"t=0/3 shown={first.argmax()} asked=-"
    second, *_ = repeat.step(0)
    assert repeat.render() == f"t=1/3 shown={second.argmax()} asked={first.argmax()}"
    chain = MemoryChainEnv(length=1, render_mode="ansi")
    cue, _ = chain.reset(seed=0)
    assert chain.render() == f"t=0/1 bit={int(cue[0] > 0)} query=0"
    for env, low in [(RepeatPreviousEnv(render_mode="rgb_array"), 0), (MemoryChainEnv(render_mode="rgb_array"), -1)]:
        assert isinstance(env, (RepeatPreviousEnv, MemoryChainEnv))
        observation, _ = env.reset(seed=0)
        picture = env.render()
        assert isinstance(picture, np.ndarray)
        for i, number in enumerate(observation):
            square = picture[:, 32 * i : 32 * (i + 1)]
            assert square.shape == (32, 32, 3)
            assert (square == round(255 * (number - low) / (1 - low))).all()
    assert RepeatPreviousEnv().render() is None
    assert MemoryChainEnv().render() is None
