"""A training with one actor in this process, in lockstep, is the training without actors, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, VecTransposeImage
from support.actors import assert_same_training, inline, logged, train
from support.q_models import make_env, make_rainbow, make_rainbowr
from support.worlds import PARTS, TaggedEnv, TaggedPictures

from sb3_ext import R2D2
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.networks.heads import C51
from sb3_ext.ops import exploration
from sb3_ext.ops.exploration import Boltzmann, epsilon_greedy, epsilon_ladder

Make = Callable[[VecEnv], DeepQLearning]


def cart_poles(n: int) -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(gym.make("CartPole-v1"))] * n)


class SeededSpace(gym.Env):
    """Observations of a space, drawn by the environment's own generator; reward large, episodes of 9 steps."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(3)
        self.episode = 0

    def _obs(self) -> Any:
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.episode = 0, self.episode + 1
        return self._obs(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        over = self.t == 9
        odd = self.episode % 2 == 1
        return self._obs(), 100.0 * int(action), over and not odd, over and odd, {"is_success": odd}


def dicts(n: int) -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(SeededSpace(spaces.Dict({k: PARTS[k] for k in ("discrete", "box")})))] * n)


def pictures(n: int) -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(TaggedPictures())] * n)


def stacks(n: int) -> DummyVecEnv:
    class ChannelsFirst(TaggedPictures):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = spaces.Box(0, 255, (36, 36), np.uint8)

        def _obs(self) -> np.ndarray:
            return super()._obs()[..., 0]

    return DummyVecEnv([lambda: Monitor(FrameStackObservation(ChannelsFirst(), 3))] * n)


def r2d2(env: VecEnv, policy: str = "MlpLstmPolicy", **kwargs: Any) -> R2D2:
    settings: dict[str, Any] = dict(
        burn_in=4, sequence_length=6, period=3, n_steps=2, batch_size=8, learning_starts=10, seed=0, device="cpu",
        buffer_size=4000, policy_kwargs=dict(lstm_hidden_size=16), train_freq=4, learning_rate=1e-3,
    )  # fmt: skip
    return R2D2(policy, env, **{**settings, **kwargs})


def rainbow(env: VecEnv, policy: str = "MlpPolicy", **kwargs: Any) -> DeepQLearning:
    return make_rainbow(env=env, policy=policy, **{"train_freq": 4, **kwargs})


CASES: dict[str, tuple[Callable[[int], VecEnv], Make]] = {
    "r2d2": (cart_poles, lambda env: r2d2(env)),
    "r2d2 without stored states": (cart_poles, lambda env: r2d2(env, state_init="zero", burn_in=0)),
    "r2d2, noisy c51": (cart_poles, lambda env: r2d2(env, head=C51(n_atoms=11, noise=0.5), gradient_steps=2)),
    "r2d2, as many updates as steps": (make_env, lambda env: r2d2(env, gradient_steps=-1, train_freq=1)),
    "r2d2, ranks, boltzmann": (make_env, lambda env: r2d2(env, sampler="rank", exploration=Boltzmann(1.0, 0.1))),
    "rainbowr": (make_env, lambda env: make_rainbowr(env=env)),
    "rainbow": (cart_poles, lambda env: rainbow(env)),
    "rainbow, every step": (make_env, lambda env: rainbow(env, train_freq=1)),
    "rainbow, ladder": (cart_poles, lambda env: rainbow(env, exploration="epsilon_ladder", head="scalar")),
    "large rewards, dict": (dicts, lambda env: rainbow(env, "MultiInputPolicy", normalize_reward=True)),
    "recurrent, dict": (dicts, lambda env: r2d2(env, "MultiInputLstmPolicy")),
}


@pytest.mark.parametrize("name", CASES)
def test_one_actor_makes_of_a_training_what_it_is_without(name: str) -> None:
    envs, make = CASES[name]
    plain, other = make(envs(4)), make(inline(envs))
    told = [logged(model) for model in (plain, other)]
    train((plain, other), 400, log_interval=5)
    assert_same_training(plain, other)
    assert len(told[0]) > 3 and told[0] == told[1]


@pytest.mark.parametrize("norm_reward", [True, False])
@pytest.mark.parametrize("make", [r2d2, rainbow])
def test_statistics_are_those_of_one_process(make: Any, norm_reward: bool) -> None:
    """With train_freq=1; with more, actors normalise by the statistics that they had when the order began."""
    plain = make(VecNormalize(cart_poles(4), norm_reward=norm_reward), train_freq=1)
    other = make(VecNormalize(inline(cart_poles), norm_reward=norm_reward), train_freq=1)
    train((plain, other), 240)
    assert_same_training(plain, other)


def test_statistics_of_dicts() -> None:
    plain, other = (
        rainbow(VecNormalize(env, norm_obs_keys=["box"]), "MultiInputPolicy", train_freq=1)
        for env in (dicts(4), inline(dicts))
    )
    train((plain, other), 160)
    assert_same_training(plain, other)


@pytest.mark.parametrize("order", ["bare", "transposed after", "transposed before"])
def test_pictures(order: str) -> None:
    def wrapped(env: VecEnv) -> VecEnv:
        if order == "bare":
            return env
        if order == "transposed after":  # by SB3
            return VecNormalize(env, norm_obs=False)
        return VecNormalize(VecTransposeImage(env), norm_reward=False)

    plain, other = (
        r2d2(wrapped(env), "CnnLstmPolicy", train_freq=1, learning_starts=90, gradient_steps=1, batch_size=2,
             policy_kwargs=dict(lstm_hidden_size=8, normalize_images=order != "transposed before"))
        for env in (pictures(2), inline(pictures, 1, 2))
    )  # fmt: skip
    train((plain, other), 100)
    assert_same_training(plain, other)


@pytest.mark.parametrize("once", [True, False])
def test_stacks_of_frames(once: bool) -> None:
    plain, other = (
        rainbow(env, "CnnPolicy", optimize_memory_usage=once, learning_starts=90, batch_size=2) for env in
        (stacks(2), inline(stacks, 1, 2))
    )  # fmt: skip
    train((plain, other), 100)
    assert_same_training(plain, other)


def test_two_trainings_and_one_that_goes_on() -> None:
    """The second one resets, without seeding; the third one cuts the trajectories and goes on with the episodes."""
    plain, other = (r2d2(env) for env in (cart_poles(4), inline(cart_poles)))
    train((plain, other), 200)
    train((plain, other), 100)
    train((plain, other), 100, reset_num_timesteps=False)
    assert_same_training(plain, other)


@pytest.mark.parametrize("norm", [True, False])
def test_two_actors_are_the_same_twice(norm: bool) -> None:
    def trained(seed: int) -> DeepQLearning:
        env: VecEnv = inline(cart_poles, 2, 2)
        return r2d2(VecNormalize(env) if norm else env, seed=seed).learn(300)

    first, second, third = trained(0), trained(0), trained(1)
    assert_same_training(first, second)
    assert first.replay_buffer is not None and third.replay_buffer is not None
    cells = [model.replay_buffer._cells.observations[""][:8] for model in (first, third) if model.replay_buffer]
    assert (cells[0] != cells[1]).any()


def test_actors_act_by_generators_of_their_own() -> None:
    """Two actors in the same environments do not do the same, and the learner draws as if they did nothing."""

    def same_episodes(n: int) -> DummyVecEnv:
        return DummyVecEnv([lambda: Monitor(TaggedEnv(0, lengths=(40,)))] * n)

    model = r2d2(inline(same_episodes, 2, 1), learning_starts=1000)
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    model.learn(80)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]
    assert model.replay_buffer is not None
    actions = model.replay_buffer._cells.columns["action"].reshape(2, -1)[:, :40]
    assert 5 < (actions[0] != actions[1]).sum() < 40


def test_every_environment_keeps_its_rung_of_the_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of three actors has one environment only, whose epsilon is that among all."""
    met: list[list[float]] = []

    def noted(greedy: np.ndarray, epsilon: np.ndarray, n_actions: int) -> np.ndarray:
        met.append(epsilon.tolist())
        return epsilon_greedy(greedy, epsilon, n_actions)

    monkeypatch.setattr(exploration, "epsilon_greedy", noted)
    r2d2(inline(make_env, 3, 1)).learn(60)
    assert {tuple(x) for x in met} == {(x,) for x in epsilon_ladder(3).tolist()}


class DrawsOnce(gym.Env):
    """Each reset draws a number, which is noted; an environment fails in its seventh step, once."""

    has_failed = False
    drawn: ClassVar[list[float]] = []

    def __init__(self) -> None:
        self.observation_space, self.action_space = spaces.Box(-1, 1, (1,), np.float32), spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        DrawsOnce.drawn.append(self.np_random.random())
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        if self.t == 7 and not DrawsOnce.has_failed:
            DrawsOnce.has_failed = True
            raise OSError("once")
        return np.zeros(1, np.float32), 0.0, self.t == 9, False, {}


def test_no_two_trainings_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where an actor has been started anew, which seeds its environments, nor where all of them have."""
    monkeypatch.setattr(DrawsOnce, "has_failed", False)
    monkeypatch.setattr(DrawsOnce, "drawn", [])
    envs = inline(lambda n: DummyVecEnv([lambda: Monitor(DrawsOnce())] * n), 2, 1)
    model = r2d2(envs, learning_starts=1000)
    actions = []
    for _ in range(3):
        model.learn(80)
        assert model.replay_buffer is not None
        cells = model.replay_buffer._cells.columns["action"].reshape(2, -1)
        actions.append(cells[:, model.replay_buffer.size() - 40 : model.replay_buffer.size()].tobytes())
        if len(actions) == 2:
            envs.close()
    assert DrawsOnce.has_failed and len(set(DrawsOnce.drawn)) == len(DrawsOnce.drawn)
    assert len(set(actions)) == 3
