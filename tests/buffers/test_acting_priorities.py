"""Initial priorities from the Q-values that were acted by, against loops over whole episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch as th
from support import transitions, windows
from support.blocks import BlockActor, assert_same_replay
from support.checks import EverySampler
from support.lanes import Trajectory
from support.places import Place, reward_at
from support.windows import SMALL, Geometry

from sb3_ext.buffers import ActedItems, BlockRecorder, Proportional, Sampler, SequenceReplayBuffer, Uniform
from sb3_ext.ops.priorities import acting_td, mix_priorities
from sb3_ext.ops.value_rescaling import IDENTITY, ValueRescaling

GAMMA, ETA = 0.9, 0.7


def q_values(place: Place) -> tuple[float, float]:
    """:return: of the action taken there and of the best one; not known in the first trajectory of each lane"""
    if place.trajectory == 0:
        return np.nan, np.nan
    best = np.float32(np.sin(place.lane + 10 * place.trajectory + 3.7 * place.step) * 5)
    return best - np.float32(place.step % 3), best


def priorities_of(items: ActedItems, n: int) -> th.Tensor:
    errors = acting_td(*items, gamma=GAMMA, n=n, transform=ValueRescaling())
    return mix_priorities(errors, items.mask[:, : errors.shape[1]], ETA)


def expected_error(trajectory: Trajectory, place: Place, n: int) -> float:
    """
    Of one step, from a trajectory as far as it has come. Where nothing has been done yet at the observation to
    bootstrap from, the best Q-value of the one before it stands in.
    """
    h, steps = ValueRescaling(), range(place.step, min(place.step + n, trajectory.n_steps))
    target = sum(GAMMA**i * reward_at(place._replace(step=step)) for i, step in enumerate(steps))
    after = steps[-1] + 1
    if not (trajectory.terminated and after == trajectory.n_steps):
        best = q_values(place._replace(step=min(after, trajectory.n_steps - 1)))[1]
        target += GAMMA ** len(steps) * h.invert(np.float64(best))
    return abs(float(h.apply(np.float64(target))) - q_values(place)[0])


@dataclass
class Noting(EverySampler):
    """Keeps the priorities that it is given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.given: dict[int, float] = {}

    def activate(self, leaves: np.ndarray) -> None:
        super().activate(leaves)
        for leaf in leaves.tolist():
            self.given.pop(leaf, None)

    def update(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        super().update(leaves, priorities)
        assert len(set(leaves.tolist())) == len(leaves)
        self.given |= dict(zip(leaves.tolist(), priorities.tolist(), strict=True))


def maker(geometry: Geometry, sampler: Callable[[], Sampler]) -> Callable[[int, int], SequenceReplayBuffer]:
    return lambda n_lanes, cells: windows.make_buffer("vector", n_lanes, geometry, cells, sampler())


def play(world: Any, actor: BlockActor, n_steps: int) -> None:
    for _ in range(n_steps):
        places = [Place(lane, world.current(lane).number, world.current(lane).n_steps) for lane in actor.lanes]
        actor.recorder.saw(*np.array([q_values(place) for place in places], dtype=np.float32).T)
        actor.add(world.transition())


@pytest.mark.parametrize("seed", range(6))
def test_priorities_of_windows(seed: int) -> None:
    geometry = [SMALL, Geometry(3, 6, 4, 2), Geometry(0, 4, 1, 4)][seed % 3]
    world = windows.World("vector", 2, geometry, 80, seed, lengths=(3.0, 25.0))
    make = maker(geometry, Noting)
    learner = make(2, 80)
    actor = BlockActor(make, range(2), 15, lambda items: priorities_of(items, geometry.n_steps))
    rng, n_known = np.random.default_rng(seed), 0
    for _ in range(15):
        play(world, actor, int(rng.integers(1, 16)))
        learner.add_block(actor.take())
        expected = world.windows()
        if not expected:
            continue
        samples = learner.sample(1)
        assert isinstance(learner.sampler, Noting)
        for leaf, place in zip(
            samples.handle.leaves.tolist(), windows.places_of(samples, world, expected), strict=True
        ):
            trajectory = world.lanes[place.lane].trajectories[place.trajectory]
            steps = sorted(world.trained(trajectory, place.step))
            errors = [expected_error(trajectory, place._replace(step=step), geometry.n_steps) for step in steps]
            priority = ETA * np.max(errors) + (1 - ETA) * np.mean(errors)
            assert learner.sampler.given.get(leaf, np.nan) == pytest.approx(priority, rel=1e-4, nan_ok=True)
            n_known += leaf in learner.sampler.given
    assert n_known > 50


@pytest.mark.parametrize(("seed", "n_steps"), [(0, 1), (1, 3), (2, 5)])
def test_priorities_of_transitions(seed: int, n_steps: int) -> None:
    """
    Also of frame stacks. An item that bootstraps from the newest observation of its block was completed before anything
    was done there: its priority is that of when the block was taken.
    """
    world = transitions.World("stack", 2, n_steps, 90, seed, n_frames=4, lengths=(3.0, 25.0))
    of_lanes = {n: transitions.World("stack", n, n_steps, 90, n_frames=4) for n in (1, 2)}

    def make(n_lanes: int, lane_cells: int) -> Any:
        of_lanes[n_lanes].lane_cells = lane_cells
        return transitions.make_buffer(of_lanes[n_lanes], Noting())

    learner = make(2, 90)
    actor = BlockActor(make, range(2), 15, lambda items: priorities_of(items, n_steps))
    rng = np.random.default_rng(seed)
    first_seen: dict[Place, float] = {}
    for _ in range(15):
        play(world, actor, int(rng.integers(1, 16)))
        learner.add_block(actor.take())
        expected = world.items()
        samples = learner.sample(1)
        for leaf, place in zip(samples.handle.leaves.tolist(), transitions.places_of(samples, expected), strict=True):
            trajectory = world.lanes[place.lane].trajectories[place.trajectory]
            priority = first_seen.setdefault(place, expected_error(trajectory, place, n_steps))
            assert learner.sampler.given.get(leaf, np.nan) == pytest.approx(priority, rel=1e-4, nan_ok=True)
    assert np.isfinite(list(first_seen.values())).sum() > 100
    assert np.isnan(list(first_seen.values())).any()


def test_what_is_not_known_keeps_the_highest_priority() -> None:
    """Steps before `saw` was ever called, and those of the warm-up."""
    world = windows.World("vector", 1, SMALL, 80, 0)
    make = maker(SMALL, lambda: Proportional(alpha=1.0))
    learner, actor = make(1, 80), BlockActor(make, range(1), 40, lambda items: priorities_of(items, SMALL.n_steps))
    for step in range(40):
        if step >= 10:
            known = step >= 20
            actor.recorder.saw(np.full(1, 0.5 if known else np.nan), np.full(1, 0.5 if known else np.nan))
        actor.add(world.transition({}))
    block = actor.take()
    assert block.priorities is not None
    # Windows t0 = 0, 2, 4, ... of 4 trained steps: those from t0 = 20 on are known.
    assert np.isnan(block.priorities).tolist() == [t0 < 20 for t0 in range(0, 36, 2)]
    learner.add_block(block)
    masses = learner.sampler.masses(np.flatnonzero(learner._active))
    np.testing.assert_allclose(np.sort(masses), np.sort(np.where(np.isnan(block.priorities), 1.0, block.priorities)))


def test_a_sampler_that_reads_none_is_told_none() -> None:
    world = windows.World("vector", 1, SMALL, 80, 0)
    make = maker(SMALL, Uniform)
    learner, other = make(1, 80), make(1, 80)
    actor = BlockActor(make, range(1), 20, lambda items: items.mask[:, 0])
    play(world, actor, 20)
    block = actor.take()
    learner.add_block(block)
    other.add_block(block._replace(priorities=None))
    assert_same_replay(learner, other)


def test_wrong_q_values_and_priorities_are_refused() -> None:
    recorder = BlockRecorder(windows.make_buffer("vector", 2, SMALL, 50), 0)
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(2,\), the recorder has 2 lanes"):
        recorder.saw(np.zeros(3), np.zeros(2))
    world = windows.World("vector", 1, SMALL, 80, 0)
    make = maker(SMALL, EverySampler)
    actor = BlockActor(make, range(1), 20, lambda items: -1 - items.mask[:, 0])
    play(world, actor, 20)
    with pytest.raises(ValueError, match=r"block of lanes \[0\] has priorities .* finite and >= 0"):
        make(1, 80).add_block(actor.take())


def test_a_ring_that_holds_the_block_and_not_its_windows_is_refused() -> None:
    """Q-values of a window lie in cells before the block, too."""
    world = windows.World("vector", 1, SMALL, 80, 0)
    for cells, fits in ((24, True), (14, False)):
        buffer = windows.make_buffer("vector", 1, SMALL, cells)
        recorder = BlockRecorder(buffer, 0, lambda items: items.mask[:, 0])
        for step in range(22):
            buffer.add(**world.transition({}))
            if step == 9:
                recorder.take()
        if fits:
            recorder.take()
        else:
            with pytest.raises(ValueError, match="needs the last 17 cells of its lane, its ring holds 14: take blocks"):
                recorder.take()
        world.cut()


@pytest.mark.parametrize("transform", [IDENTITY, ValueRescaling()])
@pytest.mark.parametrize("n", [1, 3, 9])
def test_values_that_fit_have_no_error(transform: Any, n: int) -> None:
    """Reward 1 for ever, Q = h(1 / (1 - gamma)) everywhere; a termination leaves what is still to come without it."""
    length, trained = 12, 8
    q = transform.apply(th.full((1, length + 1), 1 / (1 - GAMMA), dtype=th.float64))
    ones, zeros = th.ones(1, length, dtype=th.float64), th.zeros(1, length, dtype=th.float64)
    errors = acting_td(q[:, :trained], q, ones, zeros, ones, GAMMA, n, transform)
    np.testing.assert_allclose(errors, np.zeros((1, trained)), atol=1e-9)
    mask, terminated = ones.clone(), zeros.clone()
    mask[0, 5:], terminated[0, 4] = 0, 1
    q[0, 5:] = np.nan  # nothing of it is needed
    errors = acting_td(q[:, :trained], q, ones * mask, terminated, mask, GAMMA, n, transform)
    left = [
        sum(GAMMA**i for i in range(min(n, 5 - t))) + (GAMMA**n / (1 - GAMMA) if t + n < 5 else 0) for t in range(5)
    ]
    expected = [abs(transform.apply(np.float64(x)) - transform.apply(np.float64(1 / (1 - GAMMA)))) for x in left]
    np.testing.assert_allclose(errors, [[*expected, 0, 0, 0]], atol=1e-9)


def test_a_recorder_names_the_lanes_of_its_learner_in_errors() -> None:
    world = windows.World("vector", 2, SMALL, 50, 0)
    buffer = windows.make_buffer("vector", 2, SMALL, 50)
    BlockRecorder(buffer, 6)
    transition = world.transition({})
    transition["reward"] = np.array([1.0, np.nan])
    with pytest.raises(ValueError, match="reward of env 7 at step 0"):
        buffer.add(**transition)
    transition["reward"] = np.ones(2)
    buffer.add(**transition)
    with pytest.raises(ValueError, match="the observation of env 6 is not the next_obs"):
        buffer.add(**transition)
