"""
How the cost grows: an update with batch, window length, hidden size and replay capacity, and collection with the
number of environments.

    python benchmarks/scaling.py

Each panel changes one size and keeps the others (B 64, 40 + 80 + 5, H 64, 2^16 cells, 4 floats, 1 thread). The slope
is the exponent of the fit cost ~ size^slope. Work grows linearly with batch, window length and environments, at most
quadratically with H; capacity may cost only the tree's logarithm, which is a slope of log(20 / 14) / log(2^20 / 2^14)
= 0.09 here. Gathering reads the same number of bytes at any capacity, from caches while the replay fits into them and
from memory afterwards: its slope is the machine's, is printed, and has no bound.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from acting import collect_r2d2
from common import (
    Bound,
    Table,
    hardware,
    in_turns,
    log_log_slope,
    panels,
    parse,
    parser,
    plain_ticks,
    print_rows,
    save,
    verdict,
)
from r2d2_update import BATCH, VECTOR, filled_model

from sb3_ext import R2D2
from sb3_ext.buffers import SequenceReplayBuffer, WindowHandle

Work = Callable[[], object]


class Panel(NamedTuple):
    """One size that is changed."""

    label: str
    sizes: tuple[int, ...]
    steepest: float | None
    """bound of the slope, None where there is none"""
    make: Callable[[int, int], Work]
    """from size and seed to what is timed"""
    calls: int = 1


def update(model: R2D2, batch_size: int = BATCH) -> Work:
    return lambda: model.train(1, batch_size)


def filled_buffer(cells: int, seed: int) -> tuple[SequenceReplayBuffer, Iterator[WindowHandle]]:
    """:return: the replay and batches drawn from all over it, without end"""
    buffer = filled_model(VECTOR, 64, cells=cells, n_envs=64, seed=seed).replay_buffer
    assert buffer is not None
    return buffer, itertools.cycle([buffer.sample(BATCH).handle for _ in range(512)])


def tree_alone(cells: int, seed: int) -> Work:
    """Draw windows, and write priorities of others, drawn before."""
    buffer, handles = filled_buffer(cells, seed)
    priorities = np.random.default_rng(seed).random(BATCH)

    def work() -> None:
        buffer.sampler.draw(BATCH)
        buffer.update_priorities(next(handles), priorities)

    return work


def gather_alone(cells: int, seed: int) -> Work:
    """Copy windows into a batch."""
    buffer, handles = filled_buffer(cells, seed)
    return lambda: buffer._get_samples(next(handles).leaves)


def collection(n_envs: int, seed: int) -> Work:
    """Collect 2048 steps over all environments."""
    return collect_r2d2(seed, n_envs, 2048 // n_envs)


PANELS = {
    "batch": Panel(
        "batch size B", (16, 32, 64, 128, 256), 1.05, lambda x, seed: update(filled_model(VECTOR, 64, seed=seed), x)
    ),
    "window": Panel(
        "window l + m (m = 2 l)",
        (30, 60, 120, 240, 480),
        1.05,
        lambda x, seed: update(filled_model(VECTOR, 64, burn_in=x // 3, sequence_length=2 * x // 3, seed=seed)),
    ),
    "hidden": Panel(
        "hidden size H", (32, 64, 128, 256, 512), 2.0, lambda x, seed: update(filled_model(VECTOR, x, seed=seed))
    ),
    "capacity": Panel(
        "capacity in cells",
        tuple(2**k for k in range(14, 21)),
        0.09,
        lambda x, seed: update(filled_model(VECTOR, 64, cells=x, n_envs=64, seed=seed)),
    ),
    "tree": Panel(
        "capacity in cells: draw and priorities", tuple(2**k for k in range(14, 21)), 0.09, tree_alone, calls=100
    ),
    "gather": Panel("capacity in cells: gather", tuple(2**k for k in range(14, 21)), None, gather_alone, calls=50),
    "n_envs": Panel("environments", (1, 2, 4, 8, 16, 32, 64), 1.0, collection),
}
QUICK = {
    "batch": (16, 32),
    "window": (30, 60),
    "hidden": (32, 64),
    "capacity": (2**14, 2**15),
    "tree": (2**14, 2**15),
    "gather": (2**14, 2**15),
    "n_envs": (4, 16),
}


def run(name: str, sizes: tuple[int, ...], seed: int, rounds: int) -> list[dict[str, object]]:
    """:return: rows of one panel and seed; its sizes take turns"""
    panel = PANELS[name]
    seconds = in_turns({str(size): panel.make(size, seed) for size in sizes}, rounds, panel.calls)
    return [
        {"panel": name, "size": size, "seed": seed, "ms": round(float(np.median(seconds[str(size)])) * 1e3, 5)}
        for size in sizes
    ]


def cost(table: Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """:return: sizes and milliseconds of a panel; for environments, of one step of all of them"""
    sizes = np.array(sorted({int(row["size"]) for row in table.rows if row["panel"] == name}))
    ms = np.array([table.median("ms", panel=name, size=size) for size in sizes])
    return sizes, ms * sizes / 2048 if name == "n_envs" else ms


def report(table: Table) -> int:
    """Print the table. :return: exit status"""
    print(f"\nmilliseconds of CPU, medians; {hardware()}")
    bounds = []
    for name, panel in PANELS.items():
        sizes, ms = cost(table, name)
        if len(sizes) < 2:
            continue
        unit = "ms per step of all" if name == "n_envs" else "ms"
        print_rows((panel.label, *map(str, sizes)), [(unit, *ms.tolist())])
        if name == "n_envs":
            print_rows(
                ("", *map(str, sizes)),
                [("env steps per CPU-s", *(f"{1e3 * n / x:.0f}" for n, x in zip(sizes, ms, strict=True)))],
            )
        slope = log_log_slope(sizes, ms)
        if panel.steepest is None:
            print(f"slope over {panel.label}: {slope:.3f} (no bound)")
        else:
            bounds.append(Bound(f"slope over {panel.label}", slope, at_most=panel.steepest))
    return verdict(bounds)


def plot(table: Table) -> None:
    """Draw docs/images/scaling.png."""
    figure, axes = panels(len(PANELS), width=3.2, height=2.8, columns=4)
    for axis, (name, panel) in zip(axes, PANELS.items(), strict=True):
        sizes, ms = cost(table, name)
        slope = log_log_slope(sizes, ms)
        fit = np.exp(np.polyval(np.polyfit(np.log(sizes), np.log(ms), 1), np.log(sizes)))
        axis.loglog(sizes, fit, color="0.7", linewidth=1.2, label=f"slope {slope:.2f}".replace("-0.00", "0.00"))
        axis.loglog(sizes, ms, "o-", markersize=4)
        if sizes[0] >= 2**14:
            axis.set_xticks(sizes[::2], [f"$2^{{{int(np.log2(size))}}}$" for size in sizes[::2]])
            middle = float(
                np.exp(np.log(ms).mean())
            )  # the same number of decades in all three, so that flat looks flat
            axis.set_ylim(middle / 6, middle * 6)
        else:
            axis.set_xticks(sizes, [str(size) for size in sizes])
        plain_ticks(axis.yaxis)
        axis.minorticks_off()
        title = {"tree": "draw and priorities", "gather": "gather", "n_envs": "one step of all environments"}
        axis.set(xlabel=panel.label.split(":")[0], title=title.get(name, "one update"))
        axis.legend(loc="upper left")
    for axis in axes[::4]:
        axis.set_ylabel("CPU milliseconds")
    save(figure, "scaling")


def main() -> None:
    args = parse(parser(__doc__, seeds=3))
    columns = ("panel", "size", "seed", "ms")
    table = Table("scaling", columns, key=("panel", "size", "seed"), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        for name, panel in PANELS.items():
            sizes = QUICK[name] if args.quick else panel.sizes
            if not all(table.has(panel=name, size=size, seed=seed) for size in sizes):
                for row in run(name, sizes, seed, rounds=2 if args.quick else 7):
                    table.add(row)
    status = report(table)
    if not args.quick:
        plot(table)
    sys.exit(status)


if __name__ == "__main__":
    main()
