"""The dumb twin of the transition replay: it sums the rewards of whole episodes in a loop."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples
from support.checks import EverySampler
from support.lanes import Lanes, Trajectory
from support.places import (
    CHANNELS,
    N_ACTIONS,
    SPACES,
    Parts,
    Place,
    box_action,
    discrete_action,
    numpy_parts,
    parts_of,
    reward_at,
)

from sb3_ext.buffers import (
    PrioritizedReplayBuffer,
    PrioritizedSamples,
    Sampler,
)

GAMMA = 0.9


class Item(NamedTuple):
    """What the buffer must return for one transition, without the batch axis."""

    observation: Parts
    action: np.ndarray
    next_observation: Parts
    done: float
    reward: float
    discount: float


class World(Lanes):
    """
    Random episodes, and the n-step transitions that a buffer must hold of them.

    :param n_steps: n; the others as in `Lanes`
    """

    def __init__(
        self,
        kind: str,
        n_envs: int,
        n_steps: int,
        lane_cells: int,
        seed: int = 0,
        n_frames: int = 1,
        box_actions: bool = False,
        lengths: tuple[float, ...] = (1.3, 6.0, 40.0),
    ) -> None:
        super().__init__(kind, n_envs, lane_cells, seed, n_frames, lengths)
        self.n_steps = n_steps
        self.action = box_action if box_actions else discrete_action

    def items(self) -> dict[Place, Item]:
        """All items that can be drawn now, by the place of their observation."""
        items = {}
        for e, lane in enumerate(self.lanes):
            for trajectory in lane.trajectories[-self.lane_cells :]:
                for step in range(trajectory.n_steps):
                    complete = trajectory.closed or step + self.n_steps <= trajectory.n_steps
                    # The oldest frame of the observation is its number's cell, counted from the trajectory's first.
                    intact = trajectory.first_cell + step >= lane.n_cells - self.lane_cells
                    if complete and intact:
                        items[Place(e, trajectory.number, step)] = self.item(
                            trajectory, Place(e, trajectory.number, step)
                        )
        return items

    def item(self, trajectory: Trajectory, place: Place) -> Item:
        total, discount, step = 0.0, 1.0, place.step
        while step < trajectory.n_steps and step < place.step + self.n_steps:
            total += discount * reward_at(place._replace(step=step))
            discount *= GAMMA
            step += 1
        return Item(
            parts_of(self.kind, place),
            self.action(place),
            parts_of(self.kind, place._replace(step=step)),
            float(trajectory.terminated and step == trajectory.n_steps),
            total,
            discount,
        )


def make_buffer(world: World, sampler: Sampler | None = None, **kwargs: Any) -> PrioritizedReplayBuffer:
    actions: spaces.Space[Any] = spaces.Discrete(N_ACTIONS)
    if world.action is box_action:
        actions = spaces.Box(-10, 10, (2,), np.float32)
    keywords: dict[str, Any] = {"n_steps": world.n_steps, "gamma": GAMMA, **kwargs}
    if world.n_frames > 1:
        keywords |= {"optimize_memory_usage": True, "frame_channels": CHANNELS.get(world.kind, 1)}
    return PrioritizedReplayBuffer(
        world.lane_cells * world.n_envs,
        SPACES[world.kind],
        actions,
        "cpu",
        n_envs=world.n_envs,
        sampler=EverySampler() if sampler is None else sampler,
        **keywords,
    )


def places_of(samples: PrioritizedSamples, known: dict[Place, Item]) -> list[Place]:
    """Which item each row is, read from its observation."""
    by_bytes = {b"".join(x.tobytes() for x in item.observation.values()): place for place, item in known.items()}
    found = numpy_parts(samples.observations)
    keys = list(next(iter(known.values())).observation)
    return [by_bytes[b"".join(found[key][row].tobytes() for key in keys)] for row in range(len(samples.weights))]


def assert_holds(buffer: PrioritizedReplayBuffer, world: World) -> None:
    """The buffer's items are exactly the world's: none missing, none too many, every field of every one equal."""
    expected = world.items()
    assert buffer.n_drawable == len(expected)
    if not expected:
        with pytest.raises(ValueError, match="nothing can be drawn yet"):
            buffer.sample(1)
        return
    samples = buffer.sample(len(expected))
    places = places_of(samples, expected)
    assert sorted(places) == sorted(expected)
    assert_equal(samples, [expected[place] for place in places])


def assert_equal(samples: PrioritizedSamples, items: list[Item]) -> None:
    for name in ("observation", "next_observation"):
        for key, x in numpy_parts(getattr(samples, f"{name}s")).items():
            one_by_one = np.stack([getattr(item, name)[key] for item in items])
            assert x.dtype == one_by_one.dtype
            np.testing.assert_array_equal(x, one_by_one)
    np.testing.assert_array_equal(samples.actions.numpy(), np.stack([item.action for item in items]))
    assert samples.actions.dtype in (th.int64, th.float32)
    assert samples.discounts is not None
    for tensor, values in (
        (samples.dones, [item.done for item in items]),
        (samples.rewards, [item.reward for item in items]),
        (samples.discounts, [item.discount for item in items]),
    ):
        assert (tensor.shape, tensor.dtype) == ((len(items), 1), th.float32)
        np.testing.assert_allclose(tensor.numpy()[:, 0], values, rtol=1e-6)


def as_numpy(samples: ReplayBufferSamples | DictReplayBufferSamples | PrioritizedSamples) -> dict[str, np.ndarray]:
    arrays = {f"obs {key}": x for key, x in numpy_parts(samples.observations).items()}
    arrays |= {f"next {key}": x for key, x in numpy_parts(samples.next_observations).items()}
    return arrays | {name: getattr(samples, name).numpy() for name in ("actions", "dones", "rewards")}


def assert_same_samples(one: PrioritizedSamples, other: PrioritizedSamples, leaves: bool = True) -> None:
    a, b = as_numpy(one), as_numpy(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    np.testing.assert_array_equal(one.weights.numpy(), other.weights.numpy())
    assert one.discounts is not None
    assert other.discounts is not None
    np.testing.assert_array_equal(one.discounts.numpy(), other.discounts.numpy())
    if leaves:
        np.testing.assert_array_equal(one.handle.leaves, other.handle.leaves)
        np.testing.assert_array_equal(one.handle.generations, other.handle.generations)


def played(
    length: int, end: str | None, n_steps: int = 3, lane_cells: int = 50, kind: str = "vector", **kwargs: Any
) -> PrioritizedReplayBuffer:
    """One lane with one episode of this length; observation [0, 0, step], reward 1 + step / 4."""
    world = World(kind, 1, n_steps, lane_cells)
    buffer = make_buffer(world, **kwargs)
    for step in range(length):
        buffer.add(**world.transition({0: end} if end is not None and step == length - 1 else {}))
    return buffer
