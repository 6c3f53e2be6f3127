"""
The sequence replay against its dumb twin, which knows lengths of trajectories and cuts windows out of them by a loop.

Every number that goes in tells where it comes from (lane, trajectory, step), so no window can mix two places unseen.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from support.checks import EverySampler

from sb3_ext import nested
from sb3_ext.buffers import (
    GreedyPriority,
    Proportional,
    RankBased,
    Sampler,
    SequenceReplayBuffer,
    SequenceSamples,
    Uniform,
    WindowHandle,
)

N_ACTIONS = 7
Parts = dict[str, np.ndarray]


class Geometry(NamedTuple):
    burn_in: int
    sequence_length: int
    n_steps: int
    period: int

    @property
    def cells(self) -> int:
        return self.burn_in + self.sequence_length + self.n_steps + 1


# ---------------------------------------------------------------------- observations that say where they come from


class Place(NamedTuple):
    lane: int
    trajectory: int
    step: int


def as_vector(place: Place) -> np.ndarray:
    return np.array(place, dtype=np.float32)


def as_image(place: Place) -> np.ndarray:
    lane, trajectory, step = place
    digits = [lane, trajectory // 256, trajectory % 256, step // 256, step % 256, 9]
    return np.array(digits, dtype=np.uint8).reshape(1, 2, 3)


def as_number(place: Place) -> np.ndarray:
    return np.array([place.lane + 8 * (place.step + 4096 * place.trajectory)])


VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (1, 2, 3), np.uint8)
NUMBER = spaces.Discrete(2**40)
WRITERS = {"vector": as_vector, "image": as_image, "number": as_number}
SPACES: dict[str, spaces.Space[Any]] = {
    "vector": VECTOR,
    "image": IMAGE,
    "number": NUMBER,
    "dict": spaces.Dict({"vector": VECTOR, "image": IMAGE, "number": NUMBER}),
}


def parts_of(kind: str, place: Place) -> Parts:
    """:return: one stored observation, per key ("" where the space is no Dict)"""
    if kind == "dict":
        return {key: write(place) for key, write in WRITERS.items()}
    return {"": WRITERS[kind](place)}


def from_vec_env(kind: str, places: list[Place]) -> Any:
    """:return: observations as a VecEnv returns them: [E, ...], a dict of such, [E] for Discrete"""
    stacked = {key: np.stack([parts_of(kind, place)[key] for place in places]) for key in parts_of(kind, places[0])}
    for key, space in SPACES["dict"].spaces.items() if kind == "dict" else [("", SPACES[kind])]:  # type: ignore[attr-defined]
        if isinstance(space, spaces.Discrete):
            stacked[key] = stacked[key].reshape(len(places))
    return stacked if kind == "dict" else stacked[""]


def state_at(place: Place) -> tuple[np.ndarray, ...]:
    """Two tensors of two layers each, [L, H] = [2, 3]: the state before the observation of this place is fed."""
    hidden = np.array([place, np.add(place, 1000)], dtype=np.float32)
    return hidden, -hidden - 0.5


def action_at(place: Place) -> int:
    return (place.lane + 3 * place.trajectory + 5 * place.step) % N_ACTIONS


def reward_at(place: Place) -> float:
    return 1.0 + place.lane + 0.25 * place.step + 100.0 * place.trajectory


# ---------------------------------------------------------------------- the dumb twin


@dataclass
class Trajectory:
    number: int
    first_cell: int
    """position of its first observation on the lane's tape"""
    n_steps: int = 0
    closed: bool = False
    terminated: bool = False


@dataclass
class Lane:
    n_cells: int = 0
    """observations written so far: the ring holds the last of them"""
    trajectories: list[Trajectory] = field(default_factory=list)


class Window(NamedTuple):
    """What the buffer must return for one window, arrays without the batch axis."""

    burn_in_observations: Parts
    observations: Parts
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    mask: np.ndarray
    burn_in_length: int
    states: tuple[np.ndarray, ...]


class World:
    """
    Random episodes on several lanes, and the windows that a buffer must hold of them.

    :param lane_cells: length of a lane's ring
    :param lengths: mean length of the episodes, drawn anew for each stretch of time
    """

    def __init__(
        self,
        kind: str,
        n_envs: int,
        geometry: Geometry,
        lane_cells: int,
        seed: int,
        lengths: tuple[float, ...] = (1.2, 6, 60),
    ) -> None:
        self.kind, self.n_envs, self.geometry, self.lane_cells, self.lengths = (
            kind,
            n_envs,
            geometry,
            lane_cells,
            lengths,
        )
        self.rng = np.random.default_rng(seed)
        self.lanes = [Lane() for _ in range(n_envs)]
        self.mean_length = lengths[0]
        self.made: dict[Place, Window] = {}

    def current(self, lane: int) -> Trajectory:
        """The lane's open trajectory; a new one where there is none."""
        trajectories = self.lanes[lane].trajectories
        if not trajectories or trajectories[-1].closed:
            trajectories.append(Trajectory(len(trajectories), self.lanes[lane].n_cells))
            self.lanes[lane].n_cells += 1
        return trajectories[-1]

    def transition(self, ends: dict[int, str] | None = None) -> dict[str, Any]:
        """
        One step of every lane.

        :param ends: lane -> "terminated" or "truncated"; None = at random
        :return: arguments of ``add``
        """
        if ends is None:
            if self.rng.random() < 0.02:
                self.mean_length = float(self.rng.choice(self.lengths))
            ends = {
                lane: str(self.rng.choice(["terminated", "truncated"]))
                for lane in range(self.n_envs)
                if self.rng.random() < 1 / self.mean_length
            }
        before, after, infos = [], [], []
        for lane in range(self.n_envs):
            trajectory = self.current(lane)
            before.append(Place(lane, trajectory.number, trajectory.n_steps))
            after.append(Place(lane, trajectory.number, trajectory.n_steps + 1))
            trajectory.n_steps += 1
            self.lanes[lane].n_cells += 1
            trajectory.closed = lane in ends
            trajectory.terminated = ends.get(lane) == "terminated"
            infos.append({"TimeLimit.truncated": ends[lane] == "truncated"} if lane in ends else {})
        states = [state_at(place) for place in before]
        return {
            "obs": from_vec_env(self.kind, before),
            "next_obs": from_vec_env(self.kind, after),
            "action": np.array([action_at(place) for place in before]),
            "reward": np.array([reward_at(place) for place in before]),
            "done": np.array([lane in ends for lane in range(self.n_envs)]),
            "infos": infos,
            "states": tuple(th.as_tensor(np.stack([s[i] for s in states])) for i in range(2)),
        }

    def cut(self) -> None:
        for lane in self.lanes:
            if lane.trajectories:
                lane.trajectories[-1].closed = True

    def trained(self, trajectory: Trajectory, t0: int) -> set[int]:
        return {t for t in range(t0, t0 + self.geometry.sequence_length) if t < trajectory.n_steps}

    def windows(self) -> dict[Place, Window]:
        """All windows that can be drawn now, by the place of their first trained step."""
        return {
            Place(lane, trajectory.number, t0): self.window(lane, trajectory, t0)
            for lane in range(self.n_envs)
            for trajectory in self.lanes[lane].trajectories[-self.lane_cells :]
            for t0 in self.beginnings(lane, trajectory)
        }

    def beginnings(self, lane: int, trajectory: Trajectory) -> Iterator[int]:
        burn_in, m, n, period = self.geometry
        seen: set[int] = set()
        for t0 in range(0, trajectory.n_steps, period):
            whole = t0 + m + n <= trajectory.n_steps
            ended_and_new = trajectory.closed and not self.trained(trajectory, t0) <= seen
            seen |= self.trained(trajectory, t0)
            first_cell = trajectory.first_cell + max(t0 - burn_in, 0)
            still_there = first_cell >= self.lanes[lane].n_cells - self.lane_cells
            if (whole or ended_and_new) and still_there:
                yield t0

    def window(self, lane: int, trajectory: Trajectory, t0: int) -> Window:
        key = Place(lane, trajectory.number, t0)
        if key not in self.made:  # a window that can be drawn never changes
            self.made[key] = self.make_window(lane, trajectory, t0)
        return self.made[key]

    def make_window(self, lane: int, trajectory: Trajectory, t0: int) -> Window:
        burn_in, m, n, _ = self.geometry

        def place(step: int) -> Place:
            return Place(lane, trajectory.number, step)

        def stack(steps: list[int]) -> Parts:
            written = [parts_of(self.kind, place(step)) for step in steps]
            shapes = parts_of(self.kind, place(0))
            return {
                key: np.array([w[key] for w in written], dtype=x.dtype).reshape(-1, *x.shape)
                for key, x in shapes.items()
            }

        b = min(burn_in, t0)
        last = min(trajectory.n_steps, t0 + m + n)
        steps = list(range(t0, t0 + m + n))
        real = [t < last for t in steps]
        ends = [trajectory.terminated and t == trajectory.n_steps - 1 for t in steps]
        return Window(
            burn_in_observations=stack([max(t, t0 - b) for t in range(t0 - burn_in, t0)]),
            observations=stack([min(t, last) for t in range(t0, t0 + m + n + 1)]),
            actions=np.array([[action_at(place(t))] for t in steps[:m]]),
            rewards=np.array(
                [reward_at(place(t)) if r else 0.0 for t, r in zip(steps, real, strict=True)], dtype=np.float32
            ),
            terminated=np.array(ends, dtype=np.float32),
            mask=np.array(real, dtype=np.float32),
            burn_in_length=b,
            states=state_at(place(t0 - b)),
        )


def make_buffer(
    kind: str, n_envs: int, geometry: Geometry, lane_cells: int, sampler: Sampler | None = None, **kwargs: Any
) -> SequenceReplayBuffer:
    return SequenceReplayBuffer(
        lane_cells * n_envs,
        SPACES[kind],
        spaces.Discrete(N_ACTIONS),
        "cpu",
        n_envs=n_envs,
        sampler=EverySampler() if sampler is None else sampler,
        **geometry._asdict(),
        **kwargs,
    )


def numpy_parts(observations: Any) -> Parts:
    parts = observations if isinstance(observations, dict) else {"": observations}
    return {key: x.numpy() for key, x in parts.items()}


def row_bytes(parts: Parts, row: int, column: int) -> bytes:
    return b"".join(parts[key][row, column].tobytes() for key in sorted(parts))


def places_of(samples: SequenceSamples, world: World, known: dict[Place, Window]) -> list[Place]:
    """Which window each row is, read from its first trained observation."""
    by_bytes = {row_bytes({k: x[None] for k, x in w.observations.items()}, 0, 0): place for place, w in known.items()}
    first = numpy_parts(samples.observations)
    return [by_bytes[row_bytes(first, row, 0)] for row in range(len(samples.mask))]


def assert_holds(buffer: SequenceReplayBuffer, world: World) -> None:
    """The buffer's windows are exactly the world's: none missing, none too many, every field of every one equal."""
    expected = world.windows()
    assert buffer.n_drawable == len(expected)
    if not expected:
        with pytest.raises(ValueError, match="nothing can be drawn yet"):
            buffer.sample(1)
        return
    samples = buffer.sample(len(expected))
    places = places_of(samples, world, expected)
    assert sorted(places) == sorted(expected)
    assert_equal(samples, [expected[place] for place in places], world.geometry)


def assert_equal(samples: SequenceSamples, windows: list[Window], geometry: Geometry) -> None:
    for name in ("burn_in_observations", "observations"):
        found = numpy_parts(getattr(samples, name))
        for key, x in found.items():
            one_by_one = [getattr(w, name)[key] for w in windows]
            assert x.dtype == one_by_one[0].dtype
            np.testing.assert_array_equal(x, np.stack(one_by_one))
    for name in ("rewards", "terminated", "mask"):
        found_array = getattr(samples, name).numpy()
        assert found_array.dtype == np.float32
        np.testing.assert_array_equal(found_array, np.stack([getattr(w, name) for w in windows]))
    actions, trained = samples.actions.numpy(), samples.mask.numpy()[:, : geometry.sequence_length] > 0
    assert actions.dtype == np.int64
    np.testing.assert_array_equal(actions[trained], np.stack([w.actions for w in windows])[trained])
    assert ((actions >= 0) & (actions < N_ACTIONS)).all()  # padding can be gathered with
    assert samples.burn_in_lengths.tolist() == [w.burn_in_length for w in windows]
    assert samples.states is not None
    for i, states in enumerate(nested.leaves(samples.states)):
        np.testing.assert_array_equal(states.numpy(), np.stack([w.states[i] for w in windows]))


# ---------------------------------------------------------------------- random episodes, every window checked

CASES = [
    # l, m, n, period; n_envs; lane in windows (None: exactly one); observations; adds
    (Geometry(4, 8, 3, 4), 1, 6.0, "vector", 1500),
    (Geometry(4, 8, 3, 4), 3, 2.5, "dict", 700),
    (Geometry(5, 8, 2, 4), 2, 4.0, "image", 900),  # l no multiple of period
    (Geometry(3, 6, 1, 2), 4, 3.0, "number", 700),
    (Geometry(0, 6, 2, 3), 2, 4.0, "vector", 900),  # no burn-in
    (Geometry(3, 4, 9, 2), 2, 3.0, "vector", 900),  # n > m
    (Geometry(2, 3, 2, 1), 2, 4.0, "number", 800),  # a window at every step
    (Geometry(7, 5, 2, 5), 1, 3.5, "dict", 900),  # no overlap
    (Geometry(10, 4, 1, 2), 2, 3.0, "image", 700),  # l > m
    (Geometry(4, 8, 3, 4), 2, None, "vector", 1000),  # a full window lives for one step
    (Geometry(0, 1, 1, 1), 3, None, "vector", 700),  # the smallest there is
    (Geometry(3, 2, 1, 1), 1, None, "number", 1000),
    (Geometry(1, 6, 4, 6), 4, 1.3, "vector", 600),
]


@pytest.mark.parametrize(("geometry", "n_envs", "size", "kind", "n_adds"), CASES)
def test_every_window_equals_its_episode(
    geometry: Geometry, n_envs: int, size: float | None, kind: str, n_adds: int
) -> None:
    """
    Random episodes (length 1 upwards), terminations, truncations and cuts, the ring wrapping around many times. In
    between the buffer is pickled, refuses bad input, and gets priorities of windows that are gone.
    """
    lane_cells = geometry.cells if size is None else int(size * geometry.cells)
    world = World(kind, n_envs, geometry, lane_cells, seed=n_adds + geometry.cells)
    buffer = make_buffer(kind, n_envs, geometry, lane_cells)
    rng = np.random.default_rng(n_adds)
    handle: WindowHandle | None = None
    handle_places: list[Place] = []
    for i in range(n_adds):
        buffer.add(**world.transition())
        if rng.random() < 0.01:
            world.cut()
            buffer.cut()
        if i % 100 == 50:
            buffer = pickle.loads(pickle.dumps(buffer))
        if i % 100 == 70 and any(not lane.trajectories[-1].closed for lane in world.lanes):
            stranger = World(kind, n_envs, geometry, lane_cells, seed=0)
            stranger.transition({})
            with pytest.raises(ValueError, match="is not the next_obs that was added before"):
                buffer.add(**stranger.transition({}))
        if size is None or rng.random() < 0.3:
            assert_holds(buffer, world)
        if i % 20 == 0 and buffer.n_drawable:
            samples = buffer.sample(1)
            handle, handle_places = samples.handle, places_of(samples, world, world.windows())
        if i % 20 == 9 and handle is not None:
            buffer.update_priorities(handle, np.full(len(handle.leaves), 5.0))
            left = [leaf for leaf, place in zip(handle.leaves, handle_places, strict=True) if place in world.windows()]
            assert isinstance(buffer.sampler, EverySampler)
            assert buffer.sampler.updated == left
    assert_holds(buffer, world)
    assert min(lane.n_cells for lane in world.lanes) > 10 * lane_cells


def test_many_short_episodes_find_room_for_their_windows() -> None:
    """A window for each episode of one step: far more windows than cells / period."""
    geometry = Geometry(2, 24, 1, 24)
    world, buffer = World("vector", 2, geometry, 300, 0, lengths=(1.0,)), make_buffer("vector", 2, geometry, 300)
    for i in range(400):
        buffer.add(**world.transition())
        if i % 20 == 0:
            assert_holds(buffer, world)
    assert buffer.n_drawable == 300
    world.mean_length, world.lengths = 50.0, (50.0,)
    for i in range(400):
        buffer.add(**world.transition())
        if i % 20 == 0:
            assert_holds(buffer, world)


def test_the_random_episodes_are_many_and_varied() -> None:
    assert sum(case[-1] for case in CASES) >= 10_000
    world = World("vector", 4, CASES[0][0], 100, seed=0)
    for _ in range(2000):
        world.transition()
    lengths = [t.n_steps for lane in world.lanes for t in lane.trajectories if t.closed]
    ends = [t.terminated for lane in world.lanes for t in lane.trajectories if t.closed]
    assert lengths.count(1) > 100
    assert max(lengths) > 100
    assert 0.4 < np.mean(ends) < 0.6


# ---------------------------------------------------------------------- the traps, one by one, small enough to read

SMALL = Geometry(burn_in=2, sequence_length=4, n_steps=2, period=2)


def played(
    length: int, end: str | None = "terminated", geometry: Geometry = SMALL, lane_cells: int = 100
) -> SequenceReplayBuffer:
    """One lane with one episode of this length; observation [0, 0, step]."""
    buffer, world = make_buffer("vector", 1, geometry, lane_cells), World("vector", 1, geometry, lane_cells, 0)
    for step in range(length):
        buffer.add(**world.transition({0: end} if end is not None and step == length - 1 else {}))
    return buffer


def by_beginning(buffer: SequenceReplayBuffer) -> dict[int, dict[str, Any]]:
    """t0 -> the fields of its window, observations as plain step numbers."""
    samples = buffer.sample(1)
    assert isinstance(samples.observations, th.Tensor)
    assert isinstance(samples.burn_in_observations, th.Tensor)
    hidden = next(nested.leaves(samples.states))
    return {
        int(samples.observations[row, 0, 2]): {
            "burn_in": samples.burn_in_observations[row, :, 2].int().tolist(),
            "burn_in_length": int(samples.burn_in_lengths[row]),
            "steps": samples.observations[row, :, 2].int().tolist(),
            "mask": samples.mask[row].int().tolist(),
            "terminated": samples.terminated[row].int().tolist(),
            "rewards": samples.rewards[row].tolist(),
            "state_step": int(hidden[row, 0, 2]),
        }
        for row in range(len(samples.mask))
    }


def test_trap_03_only_a_termination_is_a_termination() -> None:
    assert by_beginning(played(3, "terminated"))[0]["terminated"] == [0, 0, 1, 0, 0, 0]
    assert by_beginning(played(3, "truncated"))[0]["terminated"] == [0, 0, 0, 0, 0, 0]
    cut = played(3, None)
    cut.cut()
    assert by_beginning(cut)[0]["terminated"] == [0, 0, 0, 0, 0, 0]


def test_without_timeout_handling_every_end_is_a_termination() -> None:
    buffer = make_buffer("vector", 1, SMALL, 100, handle_timeout_termination=False)
    buffer.add(**World("vector", 1, SMALL, 100, 0).transition({0: "truncated"}))
    assert by_beginning(buffer)[0]["terminated"][0] == 1


def test_trap_09_the_state_is_the_one_before_the_first_cell() -> None:
    windows = by_beginning(played(12))
    assert {t0: w["state_step"] for t0, w in windows.items()} == {0: 0, 2: 0, 4: 2, 6: 4, 8: 6}
    for t0, window in windows.items():  # where the first real column is, there the state belongs
        columns = window["burn_in"][SMALL.burn_in - window["burn_in_length"] :] + window["steps"]
        assert columns[0] == window["state_step"] == t0 - window["burn_in_length"]


def test_trap_10_the_first_steps_are_trained_with_a_short_burn_in() -> None:
    geometry = Geometry(burn_in=5, sequence_length=4, n_steps=1, period=2)
    windows = by_beginning(played(20, geometry=geometry))
    assert {t0: w["burn_in_length"] for t0, w in windows.items()} == {
        0: 0,
        2: 2,
        4: 4,
        **dict.fromkeys(range(6, 17, 2), 5),
    }
    assert windows[2]["burn_in"][-2:] == [0, 1]
    assert windows[2]["mask"] == [1] * 5
    assert windows[6]["burn_in"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("length", range(1, 16))
@pytest.mark.parametrize("geometry", [SMALL, Geometry(5, 4, 1, 4), Geometry(0, 3, 6, 1)])
def test_trap_10_every_step_of_every_episode_is_trained(length: int, geometry: Geometry) -> None:
    windows = by_beginning(played(length, geometry=geometry))
    trained = set()
    for window in windows.values():
        columns = range(geometry.sequence_length)
        trained |= {window["steps"][column] for column in columns if window["mask"][column]}
    assert trained == set(range(length))


def test_a_tail_window_that_trains_nothing_new_is_not_kept() -> None:
    # Steps 0..3 are trained by t0 = 0, 4 and 5 by t0 = 2: only with step 6 there is something left for t0 = 4.
    assert [sorted(by_beginning(played(length))) for length in (1, 4, 5, 6, 7, 8, 9)] == [
        [0], [0], [0, 2], [0, 2], [0, 2, 4], [0, 2, 4], [0, 2, 4, 6]
    ]  # fmt: skip


def test_trap_11_padding_is_masked_and_has_no_reward() -> None:
    window = by_beginning(played(3))[0]
    assert window["mask"] == [1, 1, 1, 0, 0, 0]
    assert window["rewards"] == [1.0, 1.25, 1.5, 0.0, 0.0, 0.0]
    assert window["steps"] == [0, 1, 2, 3, 3, 3, 3]  # repeats the final observation


def test_trap_13_every_observation_is_stored_once() -> None:
    """n steps take n + 1 cells, and a file hardly more bytes than they, though windows overlap 20 times."""
    space = spaces.Box(0, 255, (1, 84, 84), np.uint8)
    buffer = SequenceReplayBuffer(
        260,
        space,
        spaces.Discrete(2),
        "cpu",
        burn_in=10,
        sequence_length=20,
        n_steps=3,
        period=1,
        sampler=EverySampler(),
    )
    rng = np.random.default_rng(0)
    empty = len(pickle.dumps(buffer))  # mostly the bounds of the observation space
    images = rng.integers(0, 256, size=(251, 1, *space.shape), dtype=np.uint8)
    for t in range(250):
        ended = np.array([t == 249])
        buffer.add(images[t], images[t + 1], np.zeros(1), np.zeros(1), ended, [{}])
    assert buffer.size() == 251
    assert buffer.n_drawable > 220
    assert len(pickle.dumps(buffer)) - empty < 1.03 * images.nbytes


@pytest.mark.parametrize("lengths", [[5], [1, 1, 1], [4, 2, 9]])
def test_trap_13_cells_in_use(lengths: list[int]) -> None:
    buffer, world = make_buffer("vector", 2, SMALL, 100), World("vector", 2, SMALL, 100, 0)
    assert buffer.size() == 0
    for length in lengths:
        for step in range(length):
            buffer.add(**world.transition({0: "terminated"} if step == length - 1 else {}))
    # The second lane, one long episode, has fewer cells in use than the first.
    assert buffer.size() == sum(lengths) + len(lengths) if len(lengths) > 1 else sum(lengths) + 1
    for _ in range(200):
        buffer.add(**world.transition({}))
    assert buffer.size() == 100


def test_trap_14_a_window_goes_before_its_first_cell_is_overwritten() -> None:
    """Cells for one window and no more: it can be drawn after exactly one step."""
    geometry = Geometry(2, 4, 2, 4)
    world, buffer = World("vector", 1, geometry, 9, 0), make_buffer("vector", 1, geometry, 9)
    drawable = []
    for step in range(1, 30):
        buffer.add(**world.transition({}))
        if buffer.n_drawable:
            drawable.append((step, *by_beginning(buffer)))
    # t0 = 0 (7 cells, complete with step 6) lives until step 8 writes a tenth cell; t0 = 4 (cells 2..10) for one step.
    assert drawable == [(6, 0), (7, 0), (8, 0), (10, 4), (14, 8), (18, 12), (22, 16), (26, 20)]


def test_trap_15_n_more_steps_follow_the_trained_ones() -> None:
    window = by_beginning(played(12))[2]
    assert window["steps"] == [2, 3, 4, 5, 6, 7, 8]
    assert len(window["rewards"]) == SMALL.sequence_length + SMALL.n_steps


@pytest.mark.parametrize("end", ["truncated", "terminated"])
def test_trap_16_the_true_final_observation_is_stored(end: str) -> None:
    """The episode after it begins with another observation, which must not be taken for the final one."""
    world, buffer = World("vector", 1, SMALL, 100, 0), make_buffer("vector", 1, SMALL, 100)
    for step in range(5):
        buffer.add(**world.transition({0: end} if step == 4 else {}))
    for _ in range(3):
        buffer.add(**world.transition({}))
    samples = buffer.sample(1)
    assert isinstance(samples.observations, th.Tensor)
    for row in range(len(samples.mask)):
        n_real = int(samples.mask[row].sum())
        assert samples.observations[row, n_real].tolist() == [0, 0, 5]


# ---------------------------------------------------------------------- late priorities


def lane_of_short_episodes(sampler: Sampler) -> tuple[SequenceReplayBuffer, World]:
    world, buffer = World("vector", 1, SMALL, 24, 0), make_buffer("vector", 1, SMALL, 24, sampler)
    for _ in range(6):
        play(buffer, world, 3)
    return buffer, world


def proportional(buffer: SequenceReplayBuffer) -> Proportional:
    assert isinstance(buffer.sampler, Proportional)
    return buffer.sampler


def play(buffer: SequenceReplayBuffer, world: World, length: int) -> None:
    for step in range(length):
        buffer.add(**world.transition({0: "terminated"} if step == length - 1 else {}))


def test_late_priorities_do_not_revive_overwritten_windows() -> None:
    set_random_seed(0)
    buffer, world = lane_of_short_episodes(Proportional(alpha=1.0, backend="numpy"))
    sampler = proportional(buffer)
    handle = buffer.sample(64).handle
    assert len(set(handle.leaves.tolist())) == 6
    for _ in range(8):  # all six are overwritten, their leaves serve other windows
        play(buffer, world, 3)
    before = sampler.masses(np.arange(64))
    buffer.update_priorities(handle, np.full(64, 1000.0))
    np.testing.assert_array_equal(sampler.masses(np.arange(64)), before)
    assert sampler.max_priority == 1.0
    fresh = buffer.sample(64).handle
    buffer.update_priorities(fresh, np.full(64, 3.0))
    assert set(sampler.masses(fresh.leaves).tolist()) == {3.0}


def test_priorities_of_windows_of_which_some_are_gone() -> None:
    set_random_seed(0)
    buffer, world = lane_of_short_episodes(Proportional(alpha=1.0, backend="numpy"))
    sampler = proportional(buffer)
    samples = buffer.sample(64)
    assert isinstance(samples.observations, th.Tensor)
    trajectories = samples.observations[:, 0, 1].numpy()
    play(buffer, world, 3)  # overwrites the first episode
    buffer.update_priorities(samples.handle, 10.0 + trajectories)
    later = buffer.sample(64)
    assert isinstance(later.observations, th.Tensor)
    number = later.observations[:, 0, 1].numpy()
    assert set(number.tolist()) == {1, 2, 3, 4, 5, 6}
    # The newest window came in at the highest priority of its time, 1.
    np.testing.assert_array_equal(sampler.masses(later.handle.leaves), np.where(number < 6, 10.0 + number, 1.0))


def test_priorities_from_before_a_reset_are_dropped() -> None:
    set_random_seed(0)
    buffer, _ = lane_of_short_episodes(Proportional(alpha=1.0, backend="numpy"))
    sampler = proportional(buffer)
    handle = buffer.sample(64).handle
    buffer.reset()
    buffer.update_priorities(handle, np.full(64, 1000.0))
    world = World("vector", 1, SMALL, 24, 0)
    buffer.add(**world.transition({}))  # leaves are in use again, but no window is complete
    buffer.update_priorities(handle, np.full(64, 1000.0))
    assert buffer.n_drawable == 0
    assert not sampler.masses(np.arange(64)).any()


# ---------------------------------------------------------------------- reset, files


def test_reset_forgets_everything() -> None:
    geometry = Geometry(2, 4, 2, 2)
    buffer = make_buffer("vector", 2, geometry, 30)
    for seed in range(3):
        world = World("vector", 2, geometry, 30, seed)
        for _ in range(40 + 50 * seed):
            buffer.add(**world.transition())
        assert_holds(buffer, world)
        buffer.reset()
        assert (buffer.size(), buffer.n_drawable) == (0, 0)
        with pytest.raises(ValueError, match="nothing can be drawn yet"):
            buffer.sample(1)


def test_reset_of_an_empty_buffer_and_a_change_of_states() -> None:
    buffer = make_buffer("vector", 1, SMALL, 30)
    buffer.reset()
    world = World("vector", 1, SMALL, 30, 0)
    buffer.add(**world.transition({0: "terminated"}))
    assert buffer.state_shapes == ((2, 3), (2, 3))
    buffer.reset()
    buffer.add(**{**World("vector", 1, SMALL, 30, 0).transition({0: "terminated"}), "states": None})
    assert [buffer.state_shapes, buffer.sample(1).states] == [None, None]


def assert_same_samples(one: SequenceSamples, other: SequenceSamples) -> None:
    for a, b in zip(one, other, strict=True):
        if isinstance(a, dict):
            assert isinstance(b, dict)
            for key in a:
                assert th.equal(a[key], b[key])
        elif isinstance(a, tuple):
            assert isinstance(b, tuple)
            for x, y in zip(a, b, strict=True):
                assert np.array_equal(np.asarray(x), np.asarray(y))
        else:
            assert isinstance(a, th.Tensor)
            assert isinstance(b, th.Tensor)
            assert th.equal(a, b)


@pytest.mark.parametrize("n_adds", [0, 7, 40, 300])
@pytest.mark.parametrize("sampler", [Proportional, Uniform, RankBased, GreedyPriority])
def test_a_reloaded_buffer_goes_on_as_if_nothing_had_happened(n_adds: int, sampler: type[Sampler]) -> None:
    """Pickled in the middle of a trajectory, before and after the ring is full, with priorities set in between."""
    geometry, n_envs = Geometry(3, 6, 2, 3), 2
    world = World("dict", n_envs, geometry, 50, seed=n_adds, lengths=(20,))
    buffer = make_buffer("dict", n_envs, geometry, 50, sampler())
    for _ in range(n_adds):
        buffer.add(**world.transition())
    if n_adds:
        buffer.add(**world.transition({}))
    copy: SequenceReplayBuffer = pickle.loads(pickle.dumps(buffer))
    stream = [world.transition() for _ in range(120)]
    results: list[list[SequenceSamples]] = []
    for each in (buffer, copy):
        set_random_seed(1)
        results.append([])
        for i, transition in enumerate(stream):
            each.add(**transition)
            if i % 10 == 0 and each.n_drawable:
                samples = each.sample(8, progress_remaining=0.5)
                each.update_priorities(samples.handle, np.random.default_rng(i).exponential(size=8))
                results[-1].append(samples)
        assert each.size() == buffer.size()
    assert len(results[0]) > 5
    for one, other in zip(*results, strict=True):
        assert_same_samples(one, other)


def test_a_file_holds_only_cells_that_were_written() -> None:
    buffer, world = make_buffer("vector", 1, SMALL, 200_000), World("vector", 1, SMALL, 200_000, 0)
    for _ in range(20):
        buffer.add(**world.transition({}))
    assert len(pickle.dumps(make_buffer("vector", 1, SMALL, 200_000))) < 20_000
    copy: SequenceReplayBuffer = pickle.loads(pickle.dumps(buffer))
    assert copy.size() == 21
    for _ in range(30):
        copy.add(**world.transition())
    assert_holds(copy, world)


def test_memory_is_taken_at_the_first_add() -> None:
    """A terabyte of cells, which no machine of ours has."""
    huge = make_buffer("image", 1, SMALL, 10**12)
    assert (huge.size(), huge.n_drawable) == (0, 0)


# ---------------------------------------------------------------------- what comes out


class Blank(gym.Env[Any, Any]):
    """Only its spaces matter."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(N_ACTIONS)


def test_vec_normalize_is_applied_when_sampling() -> None:
    """Cells stay raw: newer statistics give other samples of the same windows. Padding has reward 0 all the same."""
    buffer = played(7)
    env = VecNormalize(DummyVecEnv([lambda: Blank(VECTOR)]), clip_obs=1e9, clip_reward=1e9)
    raw = buffer.sample(1)
    for mean, var in ((0.0, 1.0), (3.0, 4.0)):
        statistics: Any = env.obs_rms  # SB3 declares it a dict
        statistics.mean, statistics.var = np.full(3, mean), np.full(3, var)
        env.ret_rms.var = np.array(var * 25)
        samples = buffer.sample(1, env)
        for name in ("observations", "burn_in_observations"):
            expected = (getattr(raw, name).numpy() - mean) / np.sqrt(var + env.epsilon)
            np.testing.assert_allclose(getattr(samples, name).numpy(), expected, rtol=1e-5, atol=1e-6)
            assert getattr(samples, name).dtype == th.float32
        np.testing.assert_allclose(samples.rewards.numpy(), raw.rewards.numpy() / np.sqrt(25 * var), rtol=1e-5)
        for name in ("mask", "terminated", "actions", "burn_in_lengths"):
            assert th.equal(getattr(samples, name), getattr(raw, name))
    assert th.equal(buffer.sample(1).rewards, raw.rewards)


def test_vec_normalize_of_some_keys() -> None:
    space = spaces.Dict({"vector": VECTOR, "image": IMAGE})
    world = World("dict", 1, SMALL, 50, 0)
    buffer = SequenceReplayBuffer(
        50, space, spaces.Discrete(N_ACTIONS), "cpu", sampler=EverySampler(), **SMALL._asdict()
    )
    for step in range(6):
        buffer.add(**world.transition({0: "truncated"} if step == 5 else {}))
    env = VecNormalize(DummyVecEnv([lambda: Blank(space)]), norm_obs_keys=["vector"], clip_obs=1e9)
    env.obs_rms["vector"].mean = np.full(3, 2.0)
    raw, samples = buffer.sample(1), buffer.sample(1, env)
    assert isinstance(raw.observations, dict)
    assert isinstance(samples.observations, dict)
    expected = (raw.observations["vector"].numpy() - 2.0) / np.sqrt(1 + env.epsilon)
    np.testing.assert_allclose(samples.observations["vector"].numpy(), expected, rtol=1e-5)
    assert th.equal(samples.observations["image"], raw.observations["image"])
    assert samples.observations["image"].dtype == th.uint8


def test_float64_observations_become_float32() -> None:
    """Also where the number has no exact float32: the next observation is still recognised as the one given before."""
    space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    buffer = SequenceReplayBuffer(50, space, spaces.Discrete(2), "cpu", sampler=EverySampler(), **SMALL._asdict())
    observations = np.random.default_rng(0).normal(size=(8, 1, 2))
    for t in range(7):
        end = np.array([t == 6])
        buffer.add(observations[t], observations[t + 1], np.zeros(1), np.array([t], dtype=np.int64), end, [{}])
    samples = buffer.sample(1)
    assert isinstance(samples.observations, th.Tensor)
    assert samples.observations.dtype == th.float32
    assert samples.rewards.dtype == th.float32
    np.testing.assert_array_equal(samples.observations[0, :, 0].numpy(), observations[:7, 0, 0].astype(np.float32))


def test_what_was_added_and_what_was_drawn_are_copies() -> None:
    """A VecEnv may write into its arrays, a caller into a batch: the cells do not change."""
    buffer, world = make_buffer("vector", 1, SMALL, 50), World("vector", 1, SMALL, 50, 0)
    for step in range(6):
        given = world.transition({0: "terminated"} if step == 5 else {})
        buffer.add(**given)
        for x in (given["obs"], given["next_obs"], given["reward"], *given["states"]):
            x += 1000
    assert_holds(buffer, world)
    samples = buffer.sample(1)
    assert isinstance(samples.observations, th.Tensor)
    states = list(nested.leaves(samples.states))
    for tensor in (samples.observations, samples.rewards, *states, samples.burn_in_lengths, samples.mask):
        tensor += 1000
    samples.handle.generations[:] = -7
    assert_holds(buffer, world)


def test_importance_weights_come_with_the_sample() -> None:
    set_random_seed(0)
    buffer, _ = lane_of_short_episodes(Proportional(alpha=1.0, beta=0.5, beta_final=1.0))
    handle = buffer.sample(64).handle
    buffer.update_priorities(handle, 1.0 + handle.leaves % 4)
    for progress_remaining, beta in ((1.0, 0.5), (0.0, 1.0)):
        samples = buffer.sample(32, progress_remaining=progress_remaining)
        raw = (1.0 + samples.handle.leaves % 4) ** -beta
        np.testing.assert_allclose(samples.weights.numpy(), raw / raw.max(), rtol=1e-6)


def test_burn_in_offsets_are_the_lengths_that_occur() -> None:
    for geometry in (SMALL, Geometry(5, 4, 1, 2), Geometry(0, 4, 1, 2), Geometry(7, 3, 1, 1), Geometry(3, 8, 1, 8)):
        buffer = played(40, geometry=geometry)
        assert buffer.burn_in_offsets == tuple(sorted({w["burn_in_length"] for w in by_beginning(buffer).values()}))


# ---------------------------------------------------------------------- bad input


def bad(transition: dict[str, Any], name: str, lane: int, value: float) -> dict[str, Any]:
    changed = {key: x.copy() if isinstance(x, np.ndarray) else x for key, x in transition.items()}
    changed[name][lane] = value
    return changed


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("name", "word"), [("obs", "observation"), ("next_obs", "observation"), ("reward", "reward")])
def test_nan_names_env_and_step_and_nothing_is_stored(name: str, word: str, value: float) -> None:
    world, buffer = World("vector", 3, SMALL, 30, 0), make_buffer("vector", 3, SMALL, 30)
    for _ in range(5):
        buffer.add(**world.transition({1: "terminated"} if world.current(1).n_steps == 1 else {}))
    before = pickle.dumps(buffer)
    good = world.transition({})
    with pytest.raises(
        ValueError, match=rf"^{word} of env 1 at step 1 of its episode is not finite \({value}\)"
    ) as error:
        buffer.add(**bad(good, name, 1, value))
    assert "\n" not in str(error.value)
    assert pickle.dumps(buffer) == before
    buffer.add(**good)
    for _ in range(50):
        buffer.add(**world.transition())
    assert_holds(buffer, world)


def test_nan_in_the_first_observation_and_in_a_dict() -> None:
    world, buffer = World("dict", 2, SMALL, 30, 0), make_buffer("dict", 2, SMALL, 30)
    good = world.transition({})
    broken = {**good, "obs": bad(good["obs"], "vector", 0, float("nan"))}
    with pytest.raises(ValueError, match="observation 'vector' of env 0 at step 0"):
        buffer.add(**broken)
    assert buffer.size() == 0


def test_an_observation_that_does_not_continue_is_refused_until_cut() -> None:
    world, buffer = World("vector", 2, SMALL, 30, 0), make_buffer("vector", 2, SMALL, 30)
    for _ in range(3):
        buffer.add(**world.transition({}))
    world.cut()  # the twin starts anew, the buffer was not told
    restart = world.transition({})
    before = pickle.dumps(buffer)
    with pytest.raises(
        ValueError, match=r"observation of env 0 is not the next_obs that was added before.*Call cut\(\)"
    ):
        buffer.add(**restart)
    assert pickle.dumps(buffer) == before
    buffer.cut()
    buffer.add(**restart)
    for _ in range(50):
        buffer.add(**world.transition())
    assert_holds(buffer, world)


def test_an_observation_of_another_shape_is_refused() -> None:
    """Channels last where the space has channels first: as many numbers, in another order."""
    space = spaces.Box(0, 255, (3, 4, 5), np.uint8)
    buffer = SequenceReplayBuffer(50, space, spaces.Discrete(2), "cpu", sampler=EverySampler(), **SMALL._asdict())
    images = np.zeros((1, 4, 5, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"\(1, 4, 5, 3\).*\(1, 3, 4, 5\)"):
        buffer.add(images, images, np.zeros(1), np.zeros(1), np.array([False]), [{}])
    assert buffer.size() == 0


@pytest.mark.parametrize("name", ["action", "reward", "obs", "next_obs"])
def test_arrays_of_another_number_of_environments_are_refused(name: str) -> None:
    world, buffer = World("vector", 2, SMALL, 30, 0), make_buffer("vector", 2, SMALL, 30)
    for _ in range(3):
        buffer.add(**world.transition({}))
    before, good = pickle.dumps(buffer), world.transition({})
    with pytest.raises(ValueError, match="shape"):
        buffer.add(**{**good, name: np.repeat(good[name], 2, axis=0)})
    assert pickle.dumps(buffer) == before
    buffer.add(**good)
    assert_holds(buffer, world)


def test_states_of_another_shape_are_refused() -> None:
    buffer, world = make_buffer("vector", 2, SMALL, 80), World("vector", 2, SMALL, 80, 0)

    def refused(transition: dict[str, Any], states: Any, stored: str) -> None:
        with pytest.raises(ValueError, match=rf"recurrent states have shapes .* where {re.escape(stored)} are stored"):
            buffer.add(**{**transition, "states": states})

    one, other = world.transition({}), world.transition({})
    refused(one, th.zeros(3, 2, 3), "(2, 2, 3)")
    refused(one, th.zeros(()), "(2,)")
    refused(one, {"a": th.zeros(2, 4), "b": th.zeros(1)}, "{'a': (2, 4), 'b': (2,)}")
    buffer.add(**one)
    for states in (other["states"][:1], tuple(s[:, :1] for s in other["states"]), dict(enumerate(other["states"]))):
        refused(other, states, "((2, 2, 3), (2, 2, 3))")
    buffer.add(**other)


@pytest.mark.parametrize("first", [True, False])
def test_states_are_given_always_or_never(first: bool) -> None:
    world, buffer = World("vector", 1, SMALL, 30, 0), make_buffer("vector", 1, SMALL, 30)
    transition = world.transition({})
    buffer.add(**transition if first else {**transition, "states": None})
    before, transition = pickle.dumps(buffer), world.transition({})
    with pytest.raises(ValueError, match="states must be given at every add or never"):
        buffer.add(**{**transition, "states": None} if first else transition)
    assert pickle.dumps(buffer) == before


@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_lane_must_hold_one_window(n_envs: int) -> None:
    cells = SMALL.cells
    world, buffer = World("vector", n_envs, SMALL, cells - 1, 0), make_buffer("vector", n_envs, SMALL, cells - 1)
    message = f"gives {cells - 1} cells to each of {n_envs} .* needs {cells} .* set buffer_size >= {cells * n_envs}"
    with pytest.raises(ValueError, match=message):
        buffer.check_size()
    with pytest.raises(ValueError, match=message):
        buffer.add(**world.transition({}))
    make_buffer("vector", n_envs, SMALL, cells).check_size()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"period": 3}, "period 3 must divide sequence_length 4"),
        ({"period": 8}, "period 8 must divide sequence_length 4"),
        ({"period": 0}, "period 0 must be an integer >= 1"),
        ({"burn_in": -1}, "burn_in -1 must be an integer >= 0"),
        ({"sequence_length": 0}, "sequence_length 0 must be an integer >= 1"),
        ({"n_steps": 0}, "n_steps 0 must be an integer >= 1"),
        ({"n_steps": 1.5}, "n_steps 1.5 must be an integer >= 1"),
        ({"burn_in": 2.0}, "burn_in 2.0 must be an integer >= 0"),
        ({"period": float("nan")}, "period nan must be an integer >= 1"),
    ],
)
def test_geometry_errors_name_the_number(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make_buffer("vector", 1, SMALL._replace(**changes), 100)
