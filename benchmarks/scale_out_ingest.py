"""Panel of scale_out.py: what storing a transition takes the learner, step by step and in blocks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from common import Bound, Table, print_rows
from gymnasium import spaces
from processes import load_average

from sb3_ext import nested
from sb3_ext.buffers import PrioritizedReplayBuffer, SequenceReplayBuffer
from sb3_ext.buffers.lanes import LaneReplayBuffer
from sb3_ext.buffers.recorder import BlockRecorder

COLUMNS = ("world", "lanes", "chunk", "repeat", "add_us", "block_us", "take_us", "bytes", "load")
KEY = ("world", "lanes", "chunk", "repeat")
EPISODE = 500


@dataclass(frozen=True)
class World:
    """What is stored."""

    label: str
    space: spaces.Box
    hidden: int
    windows: tuple[int, int, int]
    """burn-in, trained steps, period"""
    cells: int
    """of a lane"""
    at_most: float | None
    """us per transition with one lane and 80 steps"""

    @property
    def stacks(self) -> bool:
        """Rainbow's transitions, whose frames are stored once; else windows"""
        return self.space.shape[0] == 4 and len(self.space.shape) == 3


WORLDS = {
    "vector": World("4 floats, H 64, 40+80+5", spaces.Box(-9, 9, (4,), np.float32), 64, (40, 80, 40), 8_000, 8.0),
    "atari": World("84x84, H 512, 40+80+5", spaces.Box(0, 255, (1, 84, 84), np.uint8), 512, (40, 80, 40), 2_000, 12.0),
    "frames": World("Rainbow, 4x84x84", spaces.Box(0, 255, (4, 84, 84), np.uint8), 0, (0, 1, 1), 2_000, 12.0),
    "pole": World("4 floats, H 64, 10+10+5", spaces.Box(-9, 9, (4,), np.float32), 64, (10, 10, 5), 8_000, None),
}
CASES = (
    ("vector", 1, 16),
    ("vector", 1, 80),
    ("atari", 1, 16),
    ("atari", 1, 80),
    ("frames", 1, 16),
    ("frames", 1, 80),
    ("pole", 8, 16),
)


def replay_of(world: World, lanes: int, cells: int) -> LaneReplayBuffer:
    """:return: empty"""
    if world.stacks:
        return PrioritizedReplayBuffer(
            cells * lanes,
            world.space,
            spaces.Discrete(2),
            "cpu",
            lanes,
            optimize_memory_usage=True,
            n_steps=3,
            gamma=0.99,
        )
    burn_in, length, period = world.windows
    geometry: dict[str, Any] = {"burn_in": burn_in, "sequence_length": length, "n_steps": 5, "period": period}
    return SequenceReplayBuffer(cells * lanes, world.space, spaces.Discrete(2), "cpu", lanes, **geometry)


def steps_of(world: World, lanes: int, seed: int) -> Iterator[dict[str, Any]]:
    """:return: keywords of `add`, for ever; every lane's episodes take `EPISODE` steps, and end at different times"""
    rng = np.random.default_rng(seed)
    shape = (64, lanes, *((1, 84, 84) if world.stacks else world.space.shape))
    noise = (rng.integers(0, 256, shape) if world.space.dtype == np.uint8 else rng.normal(size=shape)).astype(
        world.space.dtype
    )
    state = tuple(th.zeros(lanes, 1, world.hidden) for _ in range(2))
    infos: list[dict[str, Any]] = [{} for _ in range(lanes)]
    offsets = 31 * np.arange(lanes)

    def seen(t: int) -> np.ndarray:
        """:return: [E, ...] observations"""
        return np.concatenate([noise[(t - age) % 64] for age in (3, 2, 1, 0)], 1) if world.stacks else noise[t % 64]

    for t in itertools.count():
        step = {
            "obs": seen(t),
            "next_obs": seen(t + 1),
            "action": np.zeros(lanes, np.int64),
            "reward": np.ones(lanes, np.float32),
            "done": (t + offsets) % EPISODE == EPISODE - 1,
            "infos": infos,
        }
        yield step if world.stacks else {**step, "states": state}


def run(name: str, lanes: int, chunk: int, repeat: int, quick: bool) -> dict[str, object]:
    """By turns, one block at a time; what is measured begins when the rings have been filled once. :return: one row"""
    world = WORLDS[name]
    blocks = world.cells // chunk if not quick else 40
    by_add, by_block = (replay_of(world, lanes, world.cells) for _ in range(2))
    small = replay_of(world, lanes, by_block.recorder_cells(chunk))
    recorder, steps = BlockRecorder(small, 0), steps_of(world, lanes, repeat)
    seconds, n_bytes = np.zeros(3), 0
    for i in range(2 * blocks):
        stretch = [next(steps) for _ in range(chunk)]
        marks = [time.process_time()]
        for step in stretch:
            by_add.add(**step)
        marks.append(time.process_time())
        for step in stretch:
            small.add(**step)
        between = time.process_time()
        block = recorder.take()
        marks.append(time.process_time())
        by_block.add_block(block)
        marks.append(time.process_time())
        if i >= blocks:
            seconds += marks[1] - marks[0], marks[2] - between, marks[3] - marks[2]
            n_bytes += sum(leaf.nbytes for leaf in nested.leaves(block._asdict()) if isinstance(leaf, np.ndarray))
    transitions = blocks * chunk * lanes
    add_us, take_us, block_us = 1e6 * seconds / transitions
    return {
        "world": name,
        "lanes": lanes,
        "chunk": chunk,
        "repeat": repeat,
        "add_us": round(add_us, 2),
        "block_us": round(block_us, 2),
        "take_us": round(take_us, 2),
        "bytes": round(n_bytes / transitions, 1),
        "load": load_average(),
    }


def measure(table: Table, repeats: int, quick: bool) -> None:
    """Add the rows that are missing."""
    for repeat in range(repeats):
        for world, lanes, chunk in CASES:
            if not table.has(world=world, lanes=lanes, chunk=chunk, repeat=repeat):
                table.add(run(world, lanes, chunk, repeat, quick))


def report(table: Table) -> list[Bound]:
    """Print the table. :return: what was to be reached"""
    rows: list[tuple[object, ...]] = []
    bounds: list[Bound] = []
    for name, lanes, chunk in CASES:
        world, where = WORLDS[name], {"world": name, "lanes": lanes, "chunk": chunk}
        add, block, take, size = (table.median(x, **where) for x in ("add_us", "block_us", "take_us", "bytes"))
        rows.append((world.label, f"E {lanes}, K {chunk}", add, block, take, add / block, round(size)))
        if world.at_most is not None and chunk == 80:
            bounds.append(Bound(f"a transition in a block, {world.label}", block, at_most=world.at_most, unit=" us"))
            bounds.append(Bound(f"storing step by step to blocks, {world.label}", add / block, at_least=10))
    print_rows(("CPU us per transition", "", "add", "add_block", "actor's take", "ratio", "bytes"), rows)
    return bounds
