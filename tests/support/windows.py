"""The dumb twin of the sequence replay: it knows lengths of trajectories and cuts windows out of them by a loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from support.checks import EverySampler
from support.lanes import Lanes, Trajectory
from support.places import (
    N_ACTIONS,
    SPACES,
    Parts,
    Place,
    discrete_action,
    numpy_parts,
    parts_of,
    reward_at,
)

from sb3_ext import nested
from sb3_ext.buffers import (
    Sampler,
    SequenceReplayBuffer,
    SequenceSamples,
)


class Geometry(NamedTuple):
    burn_in: int
    sequence_length: int
    n_steps: int
    period: int

    @property
    def cells(self) -> int:
        return self.burn_in + self.sequence_length + self.n_steps + 1


def state_at(place: Place) -> tuple[np.ndarray, ...]:
    """Two tensors of two layers each, [L, H] = [2, 3]: the state before the observation of this place is fed."""
    hidden = np.array([place, np.add(place, 1000)], dtype=np.float32)
    return hidden, -hidden - 0.5


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


class World(Lanes):
    """
    Random episodes, and the windows that a buffer must hold of them.

    :param geometry: of the windows; the others as in `Lanes`
    """

    def __init__(
        self,
        kind: str,
        n_envs: int,
        geometry: Geometry,
        lane_cells: int,
        seed: int,
        lengths: tuple[float, ...] = (1.2, 6.0, 60.0),
    ) -> None:
        super().__init__(kind, n_envs, lane_cells, seed, lengths=lengths)
        self.geometry = geometry
        self.made: dict[Place, Window] = {}

    def more(self, before: list[Place]) -> dict[str, Any]:
        """Recurrent states."""
        states = [state_at(place) for place in before]
        return {"states": tuple(th.as_tensor(np.stack([s[i] for s in states])) for i in range(2))}

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
            actions=np.array([discrete_action(place(t)) for t in steps[:m]]),
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
