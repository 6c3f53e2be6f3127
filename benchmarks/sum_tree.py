"""
The sum tree and the sampler on it, beside those of other libraries: draw 64 leaves, then update these 64, at a
capacity of 2^17.

    python benchmarks/sum_tree.py

Draws are stratified. "Tree" is find and set alone; "sampler" adds importance weights, the priority exponent and the
checks. Peers take part where they are installed: Tianshou (segment tree in numba), cpprb (its whole prioritized
buffer, over items of one float) and torchrl.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from common import COLORS, Bound, Table, hardware, in_turns, panels, parse, parser, print_rows, save, verdict

from sb3_ext.buffers.samplers import Proportional
from sb3_ext.buffers.sum_tree import Backend, SumTree

CAPACITY = 2**17
BATCH = 64
NAMES = {
    "tree_numpy": "SumTree, NumPy",
    "tree_numba": "SumTree, numba",
    "tree_tianshou": "Tianshou tree, numba",
    "tree_torchrl": "torchrl tree, C++",
    "sampler_numpy": "Proportional, NumPy",
    "sampler_numba": "Proportional, numba",
    "sampler_cpprb": "cpprb buffer, C++",
    "sampler_torchrl": "torchrl sampler, C++",
}
BOUNDS_US = {"tree_numpy": 75.0, "tree_numba": 10.0}

Work = Callable[[], object]


class Priorities:
    """A few hundred batches of new priorities, handed out in turn, so that making them costs nothing."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.initial = rng.random(CAPACITY) + 1e-3
        self.batches = rng.random((256, BATCH)) + 1e-3
        self.turn = 0

    def __call__(self) -> np.ndarray:
        self.turn = (self.turn + 1) % len(self.batches)
        batch: np.ndarray = self.batches[self.turn]
        return batch


def strata() -> np.ndarray:
    return (np.arange(BATCH) + np.random.random(BATCH)) / BATCH


def our_tree(new: Priorities, backend: Backend) -> Work:
    tree = SumTree(CAPACITY, backend)
    tree.set(np.arange(CAPACITY), new.initial)
    return lambda: tree.set(tree.find(strata()), new())


def our_sampler(new: Priorities, backend: Backend) -> Work:
    sampler = Proportional(backend=backend)
    sampler.resize(CAPACITY)
    sampler.activate(np.arange(CAPACITY))
    sampler.update(np.arange(CAPACITY), new.initial)
    return lambda: sampler.update(sampler.draw(BATCH).leaves, new())


def tianshou_tree(new: Priorities) -> Work:
    tree = importlib.import_module("tianshou.data.utils.segtree").SegmentTree(CAPACITY)
    tree[np.arange(CAPACITY)] = new.initial

    def work() -> None:
        tree[tree.get_prefix_sum_idx(strata() * tree.reduce())] = new()

    return work


def cpprb_buffer(new: Priorities) -> Work:
    buffer = importlib.import_module("cpprb").PrioritizedReplayBuffer(CAPACITY, {"x": {"shape": 1}}, alpha=0.9)
    buffer.add(x=np.zeros((CAPACITY, 1), dtype=np.float32), priorities=new.initial)
    return lambda: buffer.update_priorities(buffer.sample(BATCH, beta=0.6)["indexes"], new())


def torchrl_tree(new: Priorities) -> Work:
    tree = importlib.import_module("torchrl._torchrl").SumSegmentTreeFp64(CAPACITY)
    tree[np.arange(CAPACITY)] = new.initial

    def work() -> None:
        total = tree.query(0, CAPACITY)
        tree[tree.scan_lower_bound(strata() * total)] = new()

    return work


def torchrl_sampler(new: Priorities) -> Work:
    data = importlib.import_module("torchrl.data")
    storage = data.LazyTensorStorage(CAPACITY)
    buffer = data.ReplayBuffer(storage=storage, sampler=data.PrioritizedSampler(CAPACITY, 0.9, 0.6), batch_size=BATCH)
    buffer.extend(th.zeros(CAPACITY, 1))
    sampler = buffer.sampler
    sampler.update_priority(th.arange(CAPACITY), th.as_tensor(new.initial, dtype=th.float32))

    def work() -> None:
        index, _ = sampler.sample(storage, BATCH)
        sampler.update_priority(th.as_tensor(index), th.as_tensor(new(), dtype=th.float32))

    return work


def contestants(seed: int) -> dict[str, Work]:
    """:return: who takes part; says who does not, and why"""
    new = Priorities(seed)
    makers: dict[str, tuple[str | None, Callable[[], Work]]] = {
        "tree_numpy": (None, lambda: our_tree(new, "numpy")),
        "tree_numba": ("numba", lambda: our_tree(new, "numba")),
        "tree_tianshou": ("tianshou", lambda: tianshou_tree(new)),
        "tree_torchrl": ("torchrl", lambda: torchrl_tree(new)),
        "sampler_numpy": (None, lambda: our_sampler(new, "numpy")),
        "sampler_numba": ("numba", lambda: our_sampler(new, "numba")),
        "sampler_cpprb": ("cpprb", lambda: cpprb_buffer(new)),
        "sampler_torchrl": ("torchrl", lambda: torchrl_sampler(new)),
    }
    found: dict[str, Work] = {}
    for name, (package, make) in makers.items():
        if package is not None and importlib.util.find_spec(package) is None:
            print(f"{NAMES[name]}: not installed")
            continue
        try:
            found[name] = make()
            found[name]()
        except Exception as error:  # a peer that does not load here must not end the run
            if name in ("tree_numpy", "tree_numba"):
                raise
            print(f"{NAMES[name]}: does not run here: {str(error).splitlines()[0][:90]}")
            found.pop(name, None)
    return found


def versions() -> str:
    """:return: versions of what takes part and is installed"""
    known = [name for name in ("numba", "tianshou", "cpprb", "torchrl") if importlib.util.find_spec(name) is not None]
    return " ".join(f"{name}={importlib.metadata.version(name)}" for name in known)


def run(seed: int, rounds: int) -> dict[str, Any]:
    """:return: one row: microseconds per draw and update, everyone timed in turns"""
    np.random.seed(seed)
    seconds = in_turns(contestants(seed), rounds, calls=1000)
    return {
        "seed": seed,
        "versions": versions(),
        **{name: round(float(np.median(s)) * 1e6, 2) for name, s in seconds.items()},
    }


def report(table: Table) -> int:
    """Print the table. :return: exit status"""
    print(
        f"\ndraw {BATCH} + update {BATCH} at capacity 2^17, CPU microseconds, median of {len(table.rows)}; {hardware()}"
    )
    medians = {name: table.median(name) for name in NAMES}
    rows = [
        (
            label,
            "not installed" if np.isnan(medians[name]) else medians[name],
            f"{BOUNDS_US[name]:g}" if name in BOUNDS_US else "",
        )
        for name, label in NAMES.items()
    ]
    print_rows(("", "us", "bound"), rows)
    if table.rows:
        print("peers and compilers:", table.rows[-1]["versions"])
    return verdict([Bound(NAMES[name], medians[name], at_most=limit, unit=" us") for name, limit in BOUNDS_US.items()])


def plot(table: Table) -> None:
    """Draw docs/images/sum_tree.png."""
    names = [name for name in NAMES if not np.isnan(table.median(name))][::-1]
    figure, (axis,) = panels(1, width=6.4, height=0.4 * len(names) + 1)
    medians = [table.median(name) for name in names]
    axis.barh([NAMES[name] for name in names], medians, color=[_color(name) for name in names])
    for i, (name, value) in enumerate(zip(names, medians, strict=True)):
        bound = BOUNDS_US.get(name, 0.0)
        axis.text(bound if 0 < bound - value < 8 else value, i, f" {value:.1f}", va="center")
        if name in BOUNDS_US:
            axis.plot([bound] * 2, [i - 0.45, i + 0.45], color="black", linewidth=1.5)
    axis.plot([], [], color="black", linewidth=1.5, label="bound")
    axis.grid(False, axis="y")
    axis.margins(x=0.12)
    axis.set(xlabel="CPU microseconds", title=f"draw {BATCH} + update {BATCH} of 2^17 leaves (blue: ours)")
    axis.legend(loc="lower right")
    save(figure, "sum_tree")


def _color(name: str) -> str:
    return COLORS[0] if name.endswith(("numpy", "numba")) else COLORS[4]


def main() -> None:
    args = parse(parser(__doc__, seeds=5))
    table = Table("sum_tree", ("seed", "versions", *NAMES), key=("seed",), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        if not table.has(seed=seed):
            table.add(run(seed, rounds=3 if args.quick else 11))
    status = report(table)
    if not args.quick:
        plot(table)
    sys.exit(status)


if __name__ == "__main__":
    main()
