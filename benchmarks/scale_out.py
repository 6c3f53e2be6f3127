"""
R2D2 with its environments in one process and with actors: speed, lag, faults, memory.

    python benchmarks/scale_out.py                              # every panel, rows that are missing
    python benchmarks/scale_out.py --panels throughput faults   # only these

throughput  CPU seconds of learner and actors per env step, steps per second, lag beside its bound
ingest      what storing a transition takes: step by step, and as blocks
faults      from SIGKILL of an actor to its successor's first block; whether the other goes on
memory      of an actor's process and of the learner's
simulation  256 actors by arithmetic, with the product's own rule of pacing
gpu         Pong, 14 actors of 8 environments, learner on a GPU; says so where there is none

Conditions take turns. CPU seconds hold on a busy machine too, what a clock measured does not: each row says the load
of the machine. Learning at equal updates per step: benchmarks/scale_out_learning.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import scale_out_faults as faults
import scale_out_gpu as gpu
import scale_out_ingest as ingest
import scale_out_throughput as throughput
from common import Bound, Table, hardware, panels, parse, parser, print_rows, save, verdict
from processes import load_average
from scale_out_runs import CONDITIONS
from scale_out_simulation import CASES, Row, simulate


@dataclass(frozen=True)
class Panel:
    """A table of its own, results/scale_out_<name>.csv."""

    columns: tuple[str, ...]
    key: tuple[str, ...]
    measure: Callable[[Table, int, bool], None]
    """table, repeats, quick"""
    report: Callable[[Table], list[Bound]]


SIMULATION = ("case", "weights", *Row._fields, "load")


def measure_simulation(table: Table, repeats: int, quick: bool) -> None:
    """Add the rows that are missing: actors with the newest weights (processes), or those of their order (Ray)."""
    for weights in ("newest", "sent"):
        for name, case in CASES.items():
            if not table.has(case=name, weights=weights):
                course = (5.0, 5.0) if quick else (120.0, 60.0)
                row = simulate(replace(case, newest=weights == "newest"), *course)
                lags = "/".join(f"{lag:.0f}" for lag in row.lag_updates)
                told = {
                    field: f"{value:.0f}" if value >= 100 else f"{value:.3g}"
                    for field, value in row._asdict().items()
                    if field != "lag_updates"
                }
                table.add({"case": name, "weights": weights, **told, "lag_updates": lags, "load": load_average()})


def report_simulation(table: Table) -> list[Bound]:
    """Print the table. :return: what always holds"""
    columns = SIMULATION[2:-1]
    print_rows(("case", "weights", *columns), [tuple(row[name] for name in SIMULATION[:-1]) for row in table.rows])
    share = max(float(row["off_ratio"]) / float(row["window"]) for row in table.rows)
    return [Bound("simulation: transitions off the ratio, as a share of W", share, at_most=1.0)]


PANELS = {
    "throughput": Panel(throughput.COLUMNS, throughput.KEY, throughput.measure, throughput.report),
    "ingest": Panel(ingest.COLUMNS, ingest.KEY, ingest.measure, ingest.report),
    "faults": Panel(faults.FAULTS, faults.FAULTS_KEY, faults.measure_faults, faults.report_faults),
    "memory": Panel(faults.MEMORY, faults.MEMORY_KEY, faults.measure_memory, faults.report_memory),
    "simulation": Panel(SIMULATION, ("case", "weights"), measure_simulation, report_simulation),
    "gpu": Panel(gpu.COLUMNS, gpu.KEY, gpu.measure, gpu.report),
}


def plot(table: Table) -> None:
    """Draw docs/images/scale_out.png: CPU per env step, and who spends it on what."""
    figure, axes = panels(len(throughput.CASES), width=3.4, height=3.0)
    for axis, (name, case) in zip(axes, throughput.CASES.items(), strict=True):
        for x, condition in enumerate(CONDITIONS):
            where = {"case": name, "condition": condition}
            learner, updates, actors = (
                table.median(f"{part}_ms", **where) for part in ("learner", "updates", "actors")
            )
            bottom = 0.0
            for label, height, color in (
                ("updates", updates, "#0072b2"),
                ("learner, all else", learner - updates, "#56b4e9"),
                ("actors", actors, "#e69f00"),
            ):
                axis.bar(x, height, bottom=bottom, color=color, label=label if x == 0 else None)
                bottom += height
        axis.set(title=case.label)
        axis.set_xticks(range(len(CONDITIONS)), [known.label for known in CONDITIONS.values()], rotation=30, ha="right")
    axes[0].set_ylabel("CPU ms per env step")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save(figure, "scale_out")


def main() -> int:
    arguments = parser(__doc__, seeds=3)
    arguments.add_argument("--panels", nargs="+", choices=PANELS, default=list(PANELS), help="only these")
    args = parse(arguments)
    bounds: list[Bound] = []
    for name in args.panels:
        panel = PANELS[name]
        table = Table(f"scale_out_{name}", panel.columns, panel.key, saved=not args.quick, fresh=args.fresh)
        panel.measure(table, args.seeds, args.quick)
        print(f"\n{name}; {hardware()}")
        bounds += panel.report(table)
        if name == "throughput" and not args.quick:
            plot(table)
    return verdict(bounds)


if __name__ == "__main__":
    raise SystemExit(main())
