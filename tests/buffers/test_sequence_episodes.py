"""The sequence replay against its dumb twin, over random episodes and trap by trap."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from support.checks import EverySampler
from support.places import (
    Place,
)
from support.windows import (
    SMALL,
    Geometry,
    World,
    assert_holds,
    by_beginning,
    make_buffer,
    places_of,
    played,
)

from sb3_ext.buffers import (
    SequenceReplayBuffer,
    WindowHandle,
)

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


def test_trap_09_states_are_told_apart_by_their_keys() -> None:
    """Not by their order, which may be another one after a reset."""
    buffer, world = make_buffer("vector", 1, SMALL, 100), World("vector", 1, SMALL, 100, 0)
    for step in range(12):
        names = ("above", "below") if step % 3 else ("below", "above")
        signs = {"above": 1.0, "below": -1.0}
        buffer.add(**{**world.transition({}), "states": {name: th.full((1, 2), signs[name]) for name in names}})
    drawn = buffer.sample(16).states
    assert isinstance(drawn, dict)
    assert (drawn["above"] == 1).all() and (drawn["below"] == -1).all()


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
