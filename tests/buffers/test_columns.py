"""
Columns of a replay beside action, reward and termination: every value tells the place that it was added at, and so does
the observation that it is drawn with.
"""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from support.checks import EverySampler

from sb3_ext import R2D2, Rainbow
from sb3_ext.buffers import Column, LaneReplayBuffer, PrioritizedReplayBuffer, SequenceReplayBuffer

N_FRAMES = 3
WINDOWS = {"burn_in": 3, "sequence_length": 4, "n_steps": 2, "period": 2}
COLUMNS = {"log_prob": Column(), "pair": Column((2,), np.int16), "flag": Column(dtype=bool)}


def values(lane: np.ndarray, episode: np.ndarray, step: np.ndarray) -> dict[str, np.ndarray]:
    """What the columns hold at these places, of any shape."""
    return {
        "log_prob": (-(lane + 0.25 * episode + 0.001 * step)).astype(np.float32),
        "pair": np.stack((episode, 10 * lane + step % 10), axis=-1).astype(np.int16),
        "flag": (episode + step) % 3 == 0,
    }


class World:
    """Lanes of random episodes. An observation is its own place (lane, episode, step), or a stack of pictures of it."""

    def __init__(self, n_envs: int, stacked: bool, seed: int) -> None:
        self.n_envs, self.stacked, self.rng = n_envs, stacked, np.random.default_rng(seed)
        self.episode, self.step = np.zeros(n_envs, dtype=int), np.zeros(n_envs, dtype=int)
        shape = (N_FRAMES, 3, 5)
        self.space = spaces.Box(0, 255, shape, np.uint8) if stacked else spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def observations(self, step: np.ndarray) -> np.ndarray:
        place = np.stack((np.arange(self.n_envs), self.episode, step), axis=-1)  # [E, 3]
        if not self.stacked:
            return place.astype(np.float32)
        frames = np.zeros((self.n_envs, *(self.space.shape or ())), dtype=np.uint8)
        for age in range(N_FRAMES):
            place[:, 2] = np.maximum(step - age, 0)
            frames[:, -1 - age, :, 0] = place
        return frames

    def places(self, observations: th.Tensor) -> tuple[np.ndarray, ...]:
        """The inverse of `observations`."""
        x = observations.numpy()
        x = x[..., -1, :, 0] if self.stacked else x
        return tuple(x.astype(int)[..., i] for i in range(3))

    def transition(self) -> dict[str, Any]:
        over = self.rng.random(self.n_envs) < np.array([0.03, 0.2, 0.6])[self.episode % 3]
        timeout = self.rng.random(self.n_envs) < 0.5
        given = {
            "obs": self.observations(self.step),
            "next_obs": self.observations(self.step + 1),
            "action": np.zeros(self.n_envs),
            "reward": np.ones(self.n_envs),
            "done": over,
            "infos": [{"TimeLimit.truncated": bool(x)} for x in timeout],
            "extras": values(np.arange(self.n_envs), self.episode, self.step),
        }
        self.step = np.where(over, 0, self.step + 1)
        self.episode = self.episode + over
        return given


def make(cls: type[LaneReplayBuffer], world: World, **keywords: Any) -> LaneReplayBuffer:
    """40 cells a lane."""
    how: dict[str, Any] = WINDOWS
    if cls is PrioritizedReplayBuffer:
        how = {"n_steps": 2, "gamma": 0.9, "optimize_memory_usage": world.stacked}
    given: dict[str, Any] = {
        "n_envs": world.n_envs,
        "device": "cpu",
        "sampler": EverySampler(),
        "columns": COLUMNS,
        **how,
        **keywords,
    }
    return cls(40 * world.n_envs, world.space, spaces.Discrete(2), **given)


def assert_extras(buffer: LaneReplayBuffer, world: World) -> int:
    """
    All that can be drawn holds the values of its places.

    :return: how much it is
    """
    if buffer.n_drawable == 0:
        return 0
    samples: Any = buffer.sample(1)
    drawn, mask = samples.observations, np.ones(buffer.n_drawable, dtype=bool)
    if isinstance(buffer, SequenceReplayBuffer):
        drawn, mask = drawn[:, :-1], samples.mask.numpy().astype(bool)
        assert (mask.sum(axis=1) >= 1).all()
    expected = values(*world.places(drawn))
    assert list(samples.extras) == list(COLUMNS)
    for name, x in expected.items():
        found = samples.extras[name].numpy()
        assert found.dtype == COLUMNS[name].dtype and found.shape == x.shape
        np.testing.assert_array_equal(found[mask], x[mask])
        assert not found[~mask].any()
    return int(mask.sum())


CASES = [
    (PrioritizedReplayBuffer, 1, False), (PrioritizedReplayBuffer, 3, False), (PrioritizedReplayBuffer, 1, True),
    (PrioritizedReplayBuffer, 3, True), (SequenceReplayBuffer, 1, False), (SequenceReplayBuffer, 3, False),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "n_envs", "stacked"), CASES)
def test_every_value_stays_with_its_transition(cls: type[LaneReplayBuffer], n_envs: int, stacked: bool) -> None:
    """Over random episodes, far beyond the ring's end, with cuts, and through a file in the middle."""
    world = World(n_envs, stacked, seed=n_envs + stacked)
    buffer = make(cls, world)
    n_checked = 0
    for i in range(250):
        buffer.add(**world.transition())
        if i % 60 == 59:
            buffer.cut()
            world.step[:] = 0
            world.episode += 1
        if i == 130:
            buffer = pickle.loads(pickle.dumps(buffer))
        n_checked += assert_extras(buffer, world)
    assert n_checked > 3000 * n_envs


def test_tensors_and_wider_numbers_are_taken() -> None:
    world = World(2, False, seed=0)
    buffer = make(PrioritizedReplayBuffer, world)
    for i in range(20):
        given = world.transition()
        extras = given["extras"]
        extras["log_prob"] = th.tensor(extras["log_prob"], requires_grad=True) if i % 2 else extras["log_prob"].tolist()
        extras["pair"] = th.tensor(extras["pair"], dtype=th.int64)
        buffer.add(**given)
    assert assert_extras(buffer, world) > 10


@pytest.mark.parametrize("cls", [PrioritizedReplayBuffer, SequenceReplayBuffer])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"log_prob": None}, r"column 'log_prob' has no value: give extras=\{'log_prob': ...\} to every add"),
        ({"logprob": np.zeros(2)}, r"extras has 'logprob', and the replay no such column \(log_prob, pair, flag\)"),
        ({"pair": np.zeros(2)}, r"column 'pair' was given shape \(2,\), its own and n_envs ask for \(2, 2\)"),
        ({"pair": np.zeros((2, 2))}, "column 'pair' was given float64, which its int16 cannot hold"),
        (
            {"log_prob": np.array([0.0, np.nan])},
            r"column 'log_prob' of env 1 at step . of its episode is not finite \(nan\)",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_named_and_nothing_is_stored(
    cls: type[LaneReplayBuffer], change: dict[str, Any], told: str
) -> None:
    world = World(2, False, seed=0)
    buffer = make(cls, world)
    for _ in range(5):
        buffer.add(**world.transition())
    before, given = pickle.dumps(buffer), world.transition()
    extras = {name: x for name, x in {**given["extras"], **change}.items() if x is not None}
    with pytest.raises(ValueError, match=f"^{told}"):
        buffer.add(**{**given, "extras": extras})
    assert pickle.dumps(buffer) == before
    buffer.add(**given)


def test_extras_without_columns_and_columns_without_extras() -> None:
    world = World(1, False, seed=0)
    bare, given = make(PrioritizedReplayBuffer, world, columns={}), world.transition()
    with pytest.raises(ValueError, match=r"extras has 'log_prob', and the replay no such column \(none\)"):
        bare.add(**given)
    del given["extras"]
    bare.add(**given)
    with pytest.raises(ValueError, match="column 'log_prob' has no value"):
        make(PrioritizedReplayBuffer, world).add(**given)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"reward": Column()}, "column 'reward' is there already: columns are those beside action, reward, terminated"),
        ({"log_prob": np.float32}, r"column 'log_prob' is <class .*>: give a Column\(shape, dtype\)"),
    ],
)
def test_impossible_columns(columns: dict[str, Any], told: str) -> None:
    for cls in (PrioritizedReplayBuffer, SequenceReplayBuffer):
        with pytest.raises(ValueError, match=told):
            make(cls, World(1, False, 0), columns=columns)


def test_what_a_column_can_be() -> None:
    given: list[tuple[tuple[Any, ...], str]] = [
        ((3,), r"the shape 3 of a column must be a tuple of integers, \(\) for one number"),
        (((2, -1),), r"the shape \(2, -1\) of a column"),
        (((), "U3"), "the dtype <U3 of a column must be one of numbers or bool"),
    ]
    for arguments, told in given:
        with pytest.raises(ValueError, match=told):
            Column(*arguments)
    assert Column((), "float32") == Column() != Column((1,))


# ---------------------------------------------------------------------- from an algorithm


class Walk(gym.Env[Any, Any]):
    """The observation is (episode, step), each a small number; episodes take 1, 2, ... 7 steps."""

    observation_space = spaces.Box(-100, 100, (2,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)
    episode = 0

    def _obs(self) -> np.ndarray:
        return np.array([self.episode, self.t], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._obs(), 1.0, self.t > self.episode % 7, False, {}


def walks(normalized: bool) -> VecEnv:
    env = DummyVecEnv([Walk] * 2)
    return VecNormalize(env, norm_obs=False, norm_reward=False) if normalized else env


class StepsTold:
    """Mixed into an algorithm: what it stores besides."""

    _last_obs: Any

    def _more_to_store(self) -> dict[str, Any]:
        more: dict[str, Any] = super()._more_to_store()  # type: ignore[misc]
        return {**more, "extras": {"told": self._last_obs.sum(axis=1)}}


class TellingR2D2(StepsTold, R2D2):
    pass


class TellingRainbow(StepsTold, Rainbow):
    pass


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("cls", [TellingR2D2, TellingRainbow])
def test_an_algorithm_fills_a_column(cls: type[TellingR2D2] | type[TellingRainbow], normalized: bool) -> None:
    recurrent = issubclass(cls, R2D2)
    keywords: dict[str, Any] = {"burn_in": 2, "sequence_length": 4, "period": 2} if recurrent else {}
    model = cls(
        "MlpLstmPolicy" if recurrent else "MlpPolicy",
        walks(normalized),
        buffer_size=400,
        learning_starts=60,
        batch_size=4,
        train_freq=20,
        replay_buffer_kwargs={"columns": {"told": Column()}},
        seed=0,
        device="cpu",
        **keywords,
    )
    model.learn(160)
    assert model.replay_buffer is not None and model._n_updates > 0
    batch: Any = model.replay_buffer.sample(32)
    told = batch.extras["told"]
    if recurrent:
        assert (told == batch.observations[:, :-1].sum(dim=-1) * batch.mask).all() and told.any()
    else:
        assert (told == batch.observations.sum(dim=-1)).all() and len(set(told.tolist())) > 5
