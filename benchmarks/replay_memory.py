"""
What the replay keeps for one step: cells per transition for long and short episodes, and bytes, counted and as the
process grows.

    python benchmarks/replay_memory.py

The buffer is filled until it wraps. "Aligned" is what the same episodes would take if each began at a multiple of
`period` cells, which would make a window's leaf its cell number divided by `period`. A copy of an observation is one
stored cell; SB3's `ReplayBuffer` keeps two of each.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from common import COLORS, Bound, Table, hardware, panels, parse, parser, plain_ticks, print_rows, save, verdict
from gymnasium import spaces

from sb3_ext.buffers.samplers import Proportional
from sb3_ext.buffers.sequence import SequenceReplayBuffer

N_ENVS = 16
LENGTHS = (1000, 200, 50, 20, 5)  # mean steps of an episode
VECTOR = spaces.Box(-np.inf, np.inf, (4,), np.float32)
ATARI = spaces.Box(0, 255, (1, 84, 84), np.uint8)
COLUMNS = (
    "case",
    "seed",
    "transitions",
    "cells_per_transition",
    "aligned_cells_per_transition",
    "windows_per_transition",
    "observation_bytes",
    "bytes_per_transition",
    "rss_bytes_per_transition",
)


def episode_lengths(rng: np.random.Generator, mean: int) -> Callable[[], int]:
    """Lengths from half to one and a half times the mean, so that episodes of different lanes do not end together."""
    return lambda: int(rng.integers(max(mean // 2, 1), mean + mean // 2 + 1))


def fill(space: spaces.Box, mean_length: int, cells: int, hidden: int, seed: int) -> dict[str, Any]:
    """
    Fill a buffer one and a half times.

    :param space: of one observation
    :param mean_length: steps of an episode
    :param cells: capacity
    :param hidden: H of the stored LSTM state
    :return: what was counted
    """
    rng = np.random.default_rng(seed)
    draw_length = episode_lengths(rng, mean_length)
    noise = [_observations(space, rng) for _ in range(8)]  # adding is what is measured, not drawing
    states = (th.zeros(N_ENVS, 1, hidden), th.zeros(N_ENVS, 1, hidden))
    sampler = Proportional()
    sampler.resize(1)
    sampler.activate(np.array([0]))  # loads numba, where it is installed, before memory is looked at
    before = _resident_bytes()
    buffer = SequenceReplayBuffer(cells, space, spaces.Discrete(6), device="cpu", n_envs=N_ENVS)
    size = buffer.buffer_size
    ends = np.array([draw_length() for _ in range(N_ENVS)])
    step = np.zeros(N_ENVS, dtype=int)
    added, cells_used, finished = 0, 0, []
    obs = noise[0]
    n_adds = int(1.5 * size)
    for i in range(n_adds):
        next_obs = noise[(i + 1) % len(noise)]
        done = step + 1 >= ends
        infos = [{"TimeLimit.truncated": False}] * N_ENVS
        buffer.add(obs, next_obs, np.zeros(N_ENVS, dtype=int), np.ones(N_ENVS), done, infos, states=states)
        step += 1
        added += N_ENVS
        cells_used += N_ENVS
        for lane in np.flatnonzero(done):
            finished.append(int(step[lane]))
            cells_used += 1  # the true final observation
            step[lane], ends[lane] = 0, draw_length()
        obs = next_obs
    grown = _resident_bytes() - before
    # A full buffer holds `size` cells of each lane, hence this many transitions.
    kept = N_ENVS * size * added / cells_used
    aligned = sum(-(-(n + 1) // buffer.period) * buffer.period for n in finished) / sum(finished)
    return {
        "transitions": round(kept),
        "cells_per_transition": round(cells_used / added, 4),
        "aligned_cells_per_transition": round(aligned, 4),
        "windows_per_transition": round(buffer.n_drawable / kept, 5),
        "observation_bytes": int(np.prod(space.shape)) * space.dtype.itemsize,
        "bytes_per_transition": round(array_bytes(buffer) / kept, 1),
        "rss_bytes_per_transition": round(grown / kept, 1),
    }


def _observations(space: spaces.Box, rng: np.random.Generator) -> np.ndarray:
    shape = (N_ENVS, *space.shape)
    if space.dtype == np.uint8:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.normal(size=shape).astype(np.float32)


def array_bytes(root: object) -> int:
    """:return: bytes of all arrays that can be reached from ``root``, each once, views not counted"""
    seen: set[int] = set()
    stack, total = [root], 0
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            if item.base is None:
                total += item.nbytes
            else:
                stack.append(item.base)
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(x for x in item if not isinstance(x, int | float))
        elif type(item).__module__.startswith("sb3_ext"):
            stack.extend(vars(item).values())
    return total


def _resident_bytes() -> int:
    """Resident memory of this process, 0 where the system does not tell."""
    statm = pathlib.Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def cases(quick: bool) -> dict[str, tuple[spaces.Box, int, int, int]]:
    """:return: arguments of `fill` by name of the case: space, mean length, cells, H"""
    vector = {f"vector_{n}": (VECTOR, n, 2**15 if quick else 2**17, 64) for n in LENGTHS}
    return {**vector, "atari_1000": (ATARI, 1000, 2**15, 512)}


def run(case: str, seed: int, quick: bool) -> dict[str, Any]:
    """:return: one row, from a process of its own, whose memory holds nothing else"""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return {"case": case, "seed": seed, **pool.apply(fill, (*cases(quick)[case], seed))}


def report(table: Table) -> int:
    """Print the table. :return: exit status"""
    print(f"\n{N_ENVS} lanes, 40 + 80 + 5, period 40, filled until it wraps; {hardware()}")
    names = [name for name in cases(False) if table.has(case=name)]
    columns = COLUMNS[3:]
    print_rows(
        ("case", "cells/step", "aligned", "windows/step", "obs bytes", "bytes/step", "RSS/step"),
        [(name, *(f"{table.median(column, case=name):.4g}" for column in columns)) for name in names],
    )
    for name, label in (("atari_1000", "Atari, 84x84x1, H 512"), ("vector_1000", "4 floats, H 64")):
        total, observation = (
            table.median("bytes_per_transition", case=name),
            table.median("observation_bytes", case=name),
        )
        print(f"{label}: {total:.0f} bytes a step, {total / observation:.3f} times the observation")
    return verdict(
        [
            Bound(
                "copies of an observation, long episodes, 4 floats",
                table.median("cells_per_transition", case="vector_1000"),
                at_most=1.03,
            ),
            Bound(
                "copies of an observation, long episodes, Atari",
                table.median("cells_per_transition", case="atari_1000"),
                at_most=1.03,
            ),
        ]
    )


def plot(table: Table) -> None:
    """Draw docs/images/replay_memory.png."""
    figure, (cells, share) = panels(2, width=4.2)
    x = np.arange(len(LENGTHS))
    for i, (column, label) in enumerate(
        (("cells_per_transition", "descriptors (ours)"), ("aligned_cells_per_transition", "aligned to the period"))
    ):
        heights = [table.median(column, case=f"vector_{n}") for n in LENGTHS]
        bars = cells.bar(x + (i - 0.5) * 0.4, heights, 0.4, color=COLORS[i], label=label)
        cells.bar_label(bars, fmt="%.2f", fontsize=7)
    cells.set_xticks(x, [str(n) for n in LENGTHS])
    cells.set(xlabel="steps of an episode (mean)", ylabel="cells per transition", title="cells", yscale="log")
    plain_ticks(cells.yaxis)
    cells.minorticks_off()
    cells.legend(loc="upper left")
    for i, case in enumerate(("vector_1000", "atari_1000")):
        observation = table.median("observation_bytes", case=case)
        total = table.median("bytes_per_transition", case=case)
        copies = table.median("cells_per_transition", case=case)
        share.bar(i, copies, 0.5, color=COLORS[0], label="observations" if i == 0 else None)
        share.bar(
            i,
            total / observation - copies,
            0.5,
            bottom=copies,
            color=COLORS[5],
            label="state, action, reward, tree" if i == 0 else None,
        )
        share.text(i, total / observation, f"{total:.0f} bytes", ha="center", va="bottom")
    share.set_xticks([0, 1], ["4 floats, H 64", "Atari, H 512"])
    share.set(ylabel="bytes per step / bytes of an observation", title="bytes, episodes of 1000 steps")
    share.margins(y=0.12)
    share.grid(False, axis="x")
    share.legend(loc="upper right")
    save(figure, "replay_memory")


def main() -> None:
    args = parse(parser(__doc__, seeds=3))
    table = Table("replay_memory", COLUMNS, key=("case", "seed"), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for case in cases(args.quick):
            if not table.has(case=case, seed=seed):
                table.add(run(case, seed, args.quick))
    status = report(table)
    if not args.quick:
        plot(table)
    sys.exit(status)


if __name__ == "__main__":
    main()
