"""
Columns of a replay beside action, reward and termination: a value tells the place that it was added at, and so does the
observation that it is drawn with.
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
from support.lanes import Lanes
from support.places import N_ACTIONS, N_FRAMES, SPACES, Place

from sb3_ext import R2D2, TD3, Rainbow
from sb3_ext.buffers import Column, LaneReplayBuffer, PrioritizedReplayBuffer, SequenceReplayBuffer

WINDOWS = {"burn_in": 3, "sequence_length": 4, "n_steps": 2, "period": 2}
COLUMNS = {"log_prob": Column(), "pair": Column((2,), np.int16), "flag": Column(dtype=bool)}


def values(lane: np.ndarray, episode: np.ndarray, step: np.ndarray) -> dict[str, np.ndarray]:
    """What the columns hold at these places, of any shape."""
    return {
        "log_prob": (-(lane + 0.25 * episode + 0.001 * step)).astype(np.float32),
        "pair": np.stack((episode, 10 * lane + step % 10), axis=-1).astype(np.int16),
        "flag": (episode + step) % 3 == 0,
    }


class World(Lanes):
    """Lanes of random episodes of vectors, or of stacks of frames."""

    def more(self, before: list[Place]) -> dict[str, Any]:
        return {"extras": values(*np.array(before).T)}

    @property
    def stacked(self) -> bool:
        return self.n_frames > 1

    def places(self, observations: th.Tensor) -> tuple[np.ndarray, ...]:
        """:return: lanes, episodes and steps that observations tell"""
        x = observations.numpy().astype(int)
        if not self.stacked:
            return x[..., 0], x[..., 1], x[..., 2]
        digits = np.moveaxis(x[..., -1, :, :].reshape(*x.shape[:-3], 6), -1, 0)
        return digits[0], 256 * digits[1] + digits[2], 256 * digits[3] + digits[4] - 9


def world_of(n_envs: int, stacked: bool = False, seed: int = 0) -> World:
    """40 cells a lane."""
    return World("stack" if stacked else "vector", n_envs, 40, seed, n_frames=N_FRAMES["stack"] if stacked else 1)


def make(cls: type[LaneReplayBuffer], world: World, **keywords: Any) -> LaneReplayBuffer:
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
    return cls(world.lane_cells * world.n_envs, SPACES[world.kind], spaces.Discrete(N_ACTIONS), **given)


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
    world = world_of(n_envs, stacked, seed=n_envs)
    buffer = make(cls, world)
    n_checked = 0
    for i in range(250):
        buffer.add(**world.transition())
        if i % 60 == 59:
            buffer.cut()
            world.cut()
        if i == 130:
            buffer = pickle.loads(pickle.dumps(buffer))
        n_checked += assert_extras(buffer, world)
    assert n_checked > 2000 * n_envs


def test_tensors_and_wider_numbers_are_taken() -> None:
    world = world_of(2)
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
    world = world_of(2)
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
    world = world_of(1)
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
            make(cls, world_of(1), columns=columns)


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


class TellingTD3(StepsTold, TD3):
    pass


def test_td3_takes_a_replay_that_has_columns() -> None:
    env = gym.make("Pendulum-v1")
    model = TellingTD3(
        "MlpPolicy", env, learning_starts=20, replay_buffer_kwargs={"columns": {"told": Column()}}, seed=0, device="cpu"
    )
    model.learn(40)
    assert isinstance(model.replay_buffer, PrioritizedReplayBuffer) and model._n_updates > 0
    batch: Any = model.replay_buffer.sample(8)
    th.testing.assert_close(batch.extras["told"], batch.observations.sum(dim=-1))
