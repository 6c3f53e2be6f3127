"""Environments and wrappers: spaces, seeds, exact best and chance returns, and what each wrapper lets through."""

import ast
import itertools
import time
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage

import sb3_ext.envs
from sb3_ext.envs import (
    DiscreteTorque,
    FlickeringObservation,
    MaskObservation,
    MemoryChainEnv,
    PendulumPixelsEnv,
    PreviousActionReward,
    RepeatPreviousEnv,
    draw_pendulum,
    register_envs,
)

ENV_IDS = ["sb3_ext/RepeatPrevious-v0", "sb3_ext/MemoryChain-v0", "sb3_ext/PendulumPixels-v0"]


class CountingEnv(gym.Env[Any, Any]):
    """Observation t, reward 10 t + action at the t-th step (t = 1, 2, ...), an end after ``length`` steps."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - gymnasium declares it so

    def __init__(self, space: spaces.Space[Any], actions: spaces.Space[Any], length: int = 3) -> None:
        self.observation_space, self.action_space, self.length = space, actions, length

    def _observation(self) -> Any:
        return self._fill(self.observation_space)

    def _fill(self, space: spaces.Space[Any]) -> Any:
        if isinstance(space, spaces.Dict):
            return {key: self._fill(part) for key, part in space.spaces.items()}
        if isinstance(space, spaces.Discrete):
            return np.int64(self.t)
        assert space.shape is not None
        return np.full(space.shape, self.t, space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._observation(), 10.0 * self.t + float(action), self.t >= self.length, False, {}


def vector_env(low: float = -9.0, high: float = 9.0, n: int = 4) -> CountingEnv:
    return CountingEnv(spaces.Box(low, high, (n,), np.float32), spaces.Discrete(3))


def episode(env: gym.Env, actions: list[Any], seed: int) -> list[Any]:
    """What one seeded episode shows and pays, up to its end or the last of ``actions``."""
    observation, _ = env.reset(seed=seed)
    seen = [observation]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append((observation, reward, terminated, truncated))
        if terminated or truncated:
            break
    return seen


# ---- all environments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_registered_envs_pass_sb3_check_env_without_a_warning(env_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in [None, *gym.make(env_id).metadata["render_modes"]]:
            env = gym.make(env_id, render_mode=mode)
            check_env(env, warn=True, skip_render_check=False)
            check_env(PreviousActionReward(env), warn=True)


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_registered_envs_go_through_sb3_make_vec_env(env_id: str) -> None:
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
    starts = set()
    for seed in range(8):
        first, second = episode(env, actions, seed), episode(twin, actions, seed)
        np.testing.assert_equal(first, second)
        starts.add(first[0].tobytes())
    assert len(starts) > 1


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
    assert {name.split(".")[0] for name in imported - ours} == {"collections", "gymnasium", "math", "numpy", "typing"}


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


# ---- hiding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop", [False, True])
def test_mask_hides_exactly_the_named_entries(drop: bool) -> None:
    env, plain = MaskObservation(gym.make("CartPole-v1"), [3, 1], drop=drop), gym.make("CartPole-v1")
    for masked, full in zip(episode(env, [0, 1, 1, 0], 5), episode(plain, [0, 1, 1, 0], 5), strict=True):
        shown, original = (masked, full) if isinstance(full, np.ndarray) else (masked[0], full[0])
        expected = [original[0], original[2]] if drop else [original[0], 0.0, original[2], 0.0]
        np.testing.assert_array_equal(shown, np.array(expected, np.float32))
        assert env.observation_space.contains(shown)
        assert original.all()  # what was hidden was not 0
    assert env.observation_space.shape == ((2,) if drop else (4,))


def test_mask_leaves_the_array_of_the_wrapped_env_as_it_is() -> None:
    original = np.ones(4, np.float32)
    assert MaskObservation(vector_env(), [0]).observation(original).sum() == 3
    assert original.sum() == 4


def test_mask_agrees_with_rl_zoo3_on_cartpole() -> None:
    zoo = pytest.importorskip("rl_zoo3.wrappers")
    ours, theirs = MaskObservation(gym.make("CartPole-v1"), [1, 3]), zoo.MaskVelocityWrapper(gym.make("CartPole-v1"))
    assert ours.observation_space == theirs.observation_space
    np.testing.assert_equal(episode(ours, [0, 1, 1], 2), episode(theirs, [0, 1, 1], 2))


def test_hidden_numbers_lie_in_the_space_where_its_bounds_excluded_zero() -> None:
    env = MaskObservation(vector_env(low=2.0, high=5.0), [1])
    assert isinstance(env.observation_space, spaces.Box)
    np.testing.assert_array_equal(env.observation_space.low, np.array([2, 0, 2, 2], np.float32))
    np.testing.assert_array_equal(env.observation_space.high, np.full(4, 5, np.float32))
    env_below = FlickeringObservation(vector_env(low=-5.0, high=-2.0))
    assert env_below.observation_space == spaces.Box(-5.0, 0.0, (4,), np.float32)


def test_flicker_blanks_all_or_nothing_at_its_frequency() -> None:
    steps = 4000
    env = FlickeringObservation(CountingEnv(spaces.Box(0, 9999, (3,), np.float32), spaces.Discrete(2), steps), 0.3)
    observations = [seen[0] for seen in episode(env, [0] * steps, seed=1)[1:]]
    blank = [not observation.any() for observation in observations]
    assert np.mean(blank) == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / steps))
    for t, observation in enumerate(observations, start=1):
        assert blank[t - 1] or (observation == t).all()
    # Independent draws: two blanks in a row come with probability 0.09.
    pairs = np.mean([one and two for one, two in itertools.pairwise(blank)])
    assert pairs == pytest.approx(0.09, abs=4 * np.sqrt(0.09 * 0.91 / (steps / 2)))


@pytest.mark.parametrize(("probability", "blank"), [(0.0, False), (1.0, True)])
def test_flicker_at_0_shows_all_and_at_1_shows_nothing_also_at_reset(probability: float, blank: bool) -> None:
    env = FlickeringObservation(gym.make("CartPole-v1"), probability)
    first, *steps = episode(env, [0, 1] * 4, seed=0)
    assert [not observation.any() for observation in [first, *(step[0] for step in steps)]] == [blank] * 9


def test_flicker_repeats_with_the_seed() -> None:
    def pattern(seed: int) -> list[bool]:
        env = FlickeringObservation(gym.make("sb3_ext/PendulumPixels-v0"))
        first, *steps = episode(env, [0] * 40, seed)
        return [bool(observation.any()) for observation in [first, *(step[0] for step in steps)]]

    assert pattern(0) == pattern(0)
    assert pattern(0) != pattern(1)


# ---- pendulum --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "torques"), [(5, [-2, -1, 0, 1, 2]), (2, [-2, 2]), (9, [-2 + 0.5 * i for i in range(9)])]
)
def test_torques_are_evenly_spaced_with_both_ends(n: int, torques: list[float]) -> None:
    env = DiscreteTorque(PendulumEnv(), n_torques=n)
    assert env.action_space == spaces.Discrete(n)
    for action, torque in enumerate(torques):
        np.testing.assert_array_equal(env.action(np.int64(action)), np.array([torque], np.float32))
        env.reset(seed=0)
        env.step(np.int64(action))
        assert env.unwrapped.last_u == torque  # type: ignore[attr-defined]


@pytest.mark.parametrize("n_torques", [5, None])
def test_pendulum_pixels_moves_and_pays_as_pendulum_v1(n_torques: int | None) -> None:
    pixels, plain = gym.make("sb3_ext/PendulumPixels-v0", n_torques=n_torques), gym.make("Pendulum-v1")
    picture, _ = pixels.reset(seed=11)
    plain.reset(seed=11)
    rng = np.random.default_rng(0)
    for _ in range(200):
        action = int(rng.integers(5))
        torque = np.array([action - 2.0], np.float32)
        picture, *ours = pixels.step(torque if n_torques is None else action)
        (cos, sin, _), *theirs = plain.step(torque)
        assert ours == theirs
        np.testing.assert_array_equal(pixels.unwrapped.pendulum.state, plain.unwrapped.state)  # type: ignore[attr-defined]
        # atan2 of rounded float32 is not the exact angle; a hundredth of a grey level at most decides a pixel
        difference = picture[:, :, 0].astype(int) - draw_pendulum(np.arctan2(sin, cos))
        assert np.abs(difference).max() <= 1


def test_pendulum_pixels_passes_reset_options_on() -> None:
    env = PendulumPixelsEnv()
    for seed in range(10):
        env.reset(seed=seed, options={"x_init": 0.01, "y_init": 0.0})
        assert abs(env.pendulum.state[0]) <= 0.01
        assert env.pendulum.state[1] == 0.0


def test_pendulum_picture_hides_the_velocity_and_shows_the_angle() -> None:
    def picture(theta: float, velocity: float) -> np.ndarray:
        env = PendulumPixelsEnv(render_mode="rgb_array")
        env.reset(seed=0)
        env.pendulum.state = np.array([theta, velocity])
        rendered = env.render()
        assert rendered is not None
        return rendered

    for theta in np.linspace(-3.0, 3.0, 13):
        np.testing.assert_array_equal(picture(theta, -8.0), picture(theta, 5.0))
        assert (picture(theta, 0.0) != picture(theta + 0.01, 0.0)).any()
    assert picture(0.0, 0.0).shape == (84, 84, 3)


def brute_force_picture(theta: float, subpixels: int = 8) -> np.ndarray:
    """Coverage counted by hard-edged samples: a rectangle, the bob's disc and the hub's disc."""
    samples = (np.arange(84 * subpixels) + 0.5) / subpixels - 42.0
    x, y = np.meshgrid(samples, samples)
    tip_x, tip_y = 30.0 * np.cos(theta + np.pi / 2), -30.0 * np.sin(theta + np.pi / 2)  # y down
    along, across = (x * tip_x + y * tip_y) / 30.0, (x * tip_y - y * tip_x) / 30.0
    inside = (np.abs(across) <= 3.0) & (along >= 0.0) & (along <= 30.0)
    inside |= np.hypot(x - tip_x, y - tip_y) <= 7.0
    inside |= np.hypot(x, y) <= 3.0
    grey: np.ndarray = 255.0 * inside.reshape(84, subpixels, 84, subpixels).mean(axis=(1, 3))
    return grey


@pytest.mark.parametrize("theta", [0.0, 0.3, np.pi / 2, 2.0, np.pi, -0.7, -np.pi / 2, -2.5])
def test_pendulum_picture_is_the_sampled_coverage_of_rod_and_bob(theta: float) -> None:
    difference = np.abs(draw_pendulum(theta) - brute_force_picture(theta))
    assert difference.max() < 50.0  # at edges only, a fifth of a pixel
    assert difference.mean() < 0.5


def test_pendulum_picture_points_where_gymnasium_draws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pygame's own imports
        pytest.importorskip("pygame")
    env = PendulumEnv(render_mode="rgb_array")
    env.reset(seed=0)
    for theta in [0.0, 0.8, 2.2, -1.0, -2.7]:
        env.state = np.array([theta, 0.0])
        drawn = env.render()
        assert drawn is not None
        directions = []
        for white in (draw_pendulum(theta).astype(float), 255.0 - np.asarray(drawn)[:, :, 1]):
            rows, columns = np.indices(white.shape)
            middle = (len(white) - 1) / 2
            directions.append(np.arctan2((white * (middle - columns)).sum(), (white * (middle - rows)).sum()))
        assert directions[0] == pytest.approx(theta, abs=0.01)
        assert directions[1] == pytest.approx(theta, abs=0.05)
    env.close()


def test_pendulum_picture_is_fast() -> None:
    fastest = np.inf
    for repeat in range(20):
        start = time.perf_counter()
        for i in range(50):
            draw_pendulum(repeat + i)
        fastest = min(fastest, (time.perf_counter() - start) / 50)
    assert fastest < 500e-6  # 25 microseconds on an idle core; this bound only catches a loop over pixels


# ---- previous action and reward --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-9, 9, (2,), np.float32),
        spaces.Box(0, 255, (40, 40, 3), np.uint8),
        spaces.Discrete(5),
        spaces.Dict(
            {"position": spaces.Box(0, 9, (2,), np.float32), "camera": spaces.Box(0, 255, (40, 40, 1), np.uint8)}
        ),
    ],
    ids=["vector", "image", "discrete", "dict"],
)
def test_previous_action_and_reward_arrive_also_in_the_terminal_observation(space: spaces.Space[Any]) -> None:
    venv = DummyVecEnv([lambda: PreviousActionReward(Monitor(CountingEnv(space, spaces.Discrete(3), length=3)))])
    names = set(space.spaces) if isinstance(space, spaces.Dict) else {"observation"}

    def check(observation: Any, t: int, one_hot: list[float], reward: float) -> None:
        assert set(observation) == names | {"previous_action", "previous_reward"}
        assert all((np.asarray(observation[name]) == t).all() for name in names)
        np.testing.assert_array_equal(np.ravel(observation["previous_action"]), one_hot)
        np.testing.assert_array_equal(np.ravel(observation["previous_reward"]), [reward])
        assert observation["previous_action"].dtype == observation["previous_reward"].dtype == np.float32

    check(venv.reset(), 0, [0, 0, 0], 0.0)
    for _ in range(2):  # nothing of the first episode is left in the second
        check(venv.step(np.array([2]))[0], 1, [0, 0, 1], 12.0)
        check(venv.step(np.array([0]))[0], 2, [1, 0, 0], 20.0)
        first_of_next, _, done, infos = venv.step(np.array([1]))
        assert done[0]
        check(infos[0]["terminal_observation"], 3, [0, 1, 0], 31.0)
        check(first_of_next, 0, [0, 0, 0], 0.0)
        assert infos[0]["episode"]["r"] == 12.0 + 20.0 + 31.0


def test_previous_action_counts_from_the_first_action() -> None:
    env = PreviousActionReward(CountingEnv(spaces.Box(0, 9, (1,), np.float32), spaces.Discrete(3, start=-1)))
    env.reset()
    np.testing.assert_array_equal(env.step(-1)[0]["previous_action"], [1, 0, 0])
    np.testing.assert_array_equal(env.step(1)[0]["previous_action"], [0, 0, 1])


def test_previous_action_reward_leaves_images_to_vec_transpose_image() -> None:
    venv = VecTransposeImage(DummyVecEnv([lambda: PreviousActionReward(PendulumPixelsEnv())]))
    assert isinstance(venv.observation_space, spaces.Dict)
    assert venv.observation_space["observation"] == spaces.Box(0, 255, (1, 84, 84), np.uint8)
    observation = venv.reset()
    assert isinstance(observation, dict)
    assert observation["observation"].shape == (1, 1, 84, 84)
    assert observation["previous_action"].shape == (1, 5)


def test_previous_action_reward_trains_and_evaluates_in_sb3() -> None:
    venv = make_vec_env("sb3_ext/MemoryChain-v0", n_envs=2, seed=0, wrapper_class=PreviousActionReward)
    model = PPO("MultiInputPolicy", venv, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu").learn(64)
    returns, lengths = evaluate_policy(model, venv, n_eval_episodes=4, return_episode_rewards=True)
    assert set(np.ravel(returns)) <= {-1.0, 1.0}
    assert lengths == [11] * 4


# ---- all wrappers ----------------------------------------------------------------------------------------------------


def test_wrappers_can_be_rebuilt_from_the_spec_as_json() -> None:
    env: gym.Env = DiscreteTorque(gym.make("Pendulum-v1"), n_torques=3)
    env = PreviousActionReward(FlickeringObservation(MaskObservation(env, [2], drop=True), probability=0.25))
    assert env.spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.observation_space == env.observation_space
    assert again.action_space == env.action_space == spaces.Discrete(3)
    assert again.get_wrapper_attr("probability") == 0.25
    np.testing.assert_equal(episode(env, [0, 2, 1] * 5, seed=7), episode(again, [0, 2, 1] * 5, seed=7))


def test_wrappers_can_be_named_in_an_rl_zoo3_yml() -> None:
    zoo = pytest.importorskip("rl_zoo3.utils")
    yaml = pytest.importorskip("yaml")
    text = """
    env_wrapper:
      - sb3_ext.envs.DiscreteTorque: {n_torques: 3}
      - sb3_ext.envs.MaskObservation: {indices: [2]}
      - sb3_ext.envs.FlickeringObservation: {probability: 0.1}
      - sb3_ext.envs.PreviousActionReward
    """
    wrap = zoo.get_wrapper_class(yaml.safe_load(text))
    venv = make_vec_env("Pendulum-v1", n_envs=2, seed=0, wrapper_class=wrap)
    assert venv.action_space == spaces.Discrete(3)
    observation = venv.reset()
    assert isinstance(observation, dict)
    assert {key: value.shape for key, value in observation.items()} == {
        "observation": (2, 3),
        "previous_action": (2, 3),
        "previous_reward": (2, 1),
    }


IMAGE = CountingEnv(spaces.Box(0, 255, (40, 40, 3), np.uint8), spaces.Discrete(2))
TORQUE_2D = CountingEnv(spaces.Box(0, 1, (2,), np.float32), spaces.Box(-1, 1, (2,), np.float32))
TORQUE_UNBOUNDED = CountingEnv(spaces.Box(0, 1, (2,), np.float32), spaces.Box(-np.inf, np.inf, (1,), np.float32))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MaskObservation(vector_env(), [4]), r"indices \[4\] must be in 0..3: the observation has 4 entries"),
        (lambda: MaskObservation(vector_env(), [-1]), r"indices \[-1\] must be in 0..3"),
        (lambda: MaskObservation(vector_env(), [1, 1]), r"indices \[1, 1\] name an entry twice"),
        (lambda: MaskObservation(vector_env(), []), r"non-empty list of whole numbers in 0..3, got \[\]"),
        (lambda: MaskObservation(vector_env(), [1.0]), r"whole numbers in 0..3, got \[1.0\]"),  # type: ignore[list-item]
        (lambda: MaskObservation(vector_env(), [True, False]), r"whole numbers in 0..3, got \[True, False\]"),
        (lambda: MaskObservation(vector_env(n=2), [0, 1], drop=True), r"all 2 entries .* use drop=False"),
        (lambda: MaskObservation(IMAGE, [0]), r"shape \(n,\), got \(40, 40, 3\): flatten it first"),
        (lambda: FlickeringObservation(vector_env(), 1.5), r"probability 1.5 must be in \[0, 1\]"),
        (lambda: FlickeringObservation(vector_env(), -0.1), r"probability -0.1 must be in \[0, 1\]"),
        (lambda: FlickeringObservation(PreviousActionReward(vector_env())), r"needs a Box observation space, got Dict"),
        (lambda: RepeatPreviousEnv(k=-1), r"k -1 must be 0 or more"),
        (lambda: RepeatPreviousEnv(k=4, length=4), r"length 4 must be greater than k 4"),
        (lambda: RepeatPreviousEnv(render_mode="human"), r"render_mode 'human' must be None, \"ansi\" or"),
        (lambda: MemoryChainEnv(length=0), r"length 0 must be 1 or more"),
        (lambda: MemoryChainEnv(render_mode="human"), r"render_mode 'human' must be None, \"ansi\" or"),
        (lambda: DiscreteTorque(PendulumEnv(), n_torques=1), r"n_torques 1 must be 2 or more"),
        (lambda: PendulumPixelsEnv(n_torques=1), r"n_torques 1 must be 2 or more"),
        (lambda: PendulumPixelsEnv(render_mode="human"), r"render_mode 'human' must be None or \"rgb_array\""),
        (lambda: DiscreteTorque(TORQUE_2D), r"bounded Box action space of shape \(1,\), got Box\(-1.0, 1.0, \(2,\)"),
        (lambda: DiscreteTorque(TORQUE_UNBOUNDED), r"bounded Box action space of shape \(1,\), got Box\(-inf"),
        (lambda: DiscreteTorque(vector_env()), r"bounded Box action space of shape \(1,\), got Discrete\(3\)"),
        (lambda: PreviousActionReward(PendulumEnv()), r"needs a Discrete action space, got Box"),
        (
            lambda: PreviousActionReward(PreviousActionReward(vector_env())),
            r"already has the keys \['previous_action', 'previous_reward'\]",
        ),
    ],
)
def test_wrong_input_is_refused_at_the_door_with_its_number(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
