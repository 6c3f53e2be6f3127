"""Numbers of tables by second formulas, and what is written of them."""

from __future__ import annotations

import csv
import io
import itertools
import statistics
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from rliable.library import get_interval_estimates
from rliable.metrics import aggregate_iqm, probability_of_improvement

from sb3_ext.viz.bootstrap import Estimate, improvement, interquartile_mean, seeded
from sb3_ext.viz.result_files import read_results
from sb3_ext.viz.score_table import Reference, Row, Run, rows_of
from sb3_ext.viz.table_text import as_csv, as_latex, as_markdown, columns_of, notes_of

A = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]
B = [5.0, 3.0, 5.0, 8.0, 9.0]


def runs_of(scores: dict[tuple[str, str], list[float]]) -> list[Run]:
    return [Run(*key, f"run {i}", score, 100, 2.0) for key, x in scores.items() for i, score in enumerate(x)]


# ---------------------------------------------------------------------------------------------------------- numbers


def test_numbers_are_those_of_a_second_formula() -> None:
    (row,) = rows_of(runs_of({("T", "a"): A}), {})
    assert row.mean == pytest.approx(statistics.fmean(A)) and row.deviation == pytest.approx(statistics.stdev(A))
    assert row.iqm is not None and row.iqm.value == statistics.fmean(sorted(A)[2:6])
    assert (row.n_runs, row.steps, row.cpu_seconds) == (8, 100, 2.0)
    assert row.normalised is None and row.better is None


@pytest.mark.parametrize("n", range(1, 10))
def test_the_interquartile_mean_is_rliables(n: int) -> None:
    rng = np.random.default_rng(n)
    tasks = [rng.normal(size=n), rng.normal(size=n)]
    assert interquartile_mean(tasks, n_bootstrap=2).value == pytest.approx(aggregate_iqm(np.stack(tasks, axis=1)))


def test_the_interval_holds_95_of_100_of_all_resamplings() -> None:
    """Of four runs there are 4^4 of them, which are all gone through."""
    scores = [0.0, 1.0, 5.0, 20.0]
    every = sorted(statistics.fmean(sorted(drawn)[1:3]) for drawn in itertools.product(scores, repeat=4))
    found = interquartile_mean([np.array(scores)], n_bootstrap=20_000)
    assert found.low is not None and found.high is not None
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(every, [0.025, 0.975])), abs=0.6)
    assert interquartile_mean([np.array(scores)]) == interquartile_mean([np.array(scores)]), "seeded"


def test_runs_are_drawn_anew_within_each_task() -> None:
    tasks = [np.array([0.0, 1.0, 2.0, 3.0]), np.array([100.0, 101.0, 102.0, 103.0])]
    found = interquartile_mean(tasks)
    with seeded(0):
        _, intervals = get_interval_estimates(
            {"": np.stack(tasks, axis=1)}, lambda x: np.array([aggregate_iqm(x)]), reps=4000
        )
    assert (found.low, found.high) == pytest.approx(tuple(intervals[""][:, 0]), abs=1.0)


def test_the_probability_of_improvement_is_that_of_all_pairs() -> None:
    wins = sum(Fraction(2 * (x > y) + (x == y), 2) for x in A for y in B)
    found = improvement([np.array(A)], [np.array(B)], n_bootstrap=500)
    assert found.value == pytest.approx(float(wins / (len(A) * len(B))))
    columns = np.array(A)[:, None], np.array(B)[:, None]
    assert found.value == pytest.approx(probability_of_improvement(*columns))
    assert found.low is not None and found.high is not None and 0 <= found.low < found.value < found.high <= 1
    other = improvement([np.array(B)], [np.array(A)], n_bootstrap=500)
    assert other.value == pytest.approx(1 - found.value)


def test_normalised_scores_are_of_each_tasks_own_reference() -> None:
    scores = {("T", "a"): A, ("T", "b"): B, ("U", "a"): [10.0, 20.0], ("U", "b"): [30.0, 20.0]}
    references = {"T": Reference(1.0, 5.0), "U": Reference(10.0, 30.0)}
    rows = rows_of(runs_of(scores), references, versus="b")
    assert [(row.task, row.algorithm, row.n_runs) for row in rows] == [
        ("T", "a", 8),
        ("T", "b", 5),
        ("U", "a", 2),
        ("U", "b", 2),
        ("all 2 tasks", "a", 10),
        ("all 2 tasks", "b", 7),
    ]
    shares = sorted([(x - 1) / 4 for x in A] + [(x - 10) / 20 for x in (10, 20)])
    assert rows[4].normalised is not None and rows[4].normalised.value == pytest.approx(statistics.fmean(shares[2:8]))
    assert rows[4].mean is None, "returns of different tasks have no mean"
    assert rows[0].normalised is not None and rows[0].iqm is not None
    for share, score in zip(rows[0].normalised, rows[0].iqm, strict=True):
        assert share == pytest.approx((score - 1) / 4)  # type: ignore[operator]  # two runs and more have an interval
    better = [row.better for row in rows]
    assert better[1] is None and better[3] is None and better[5] is None
    assert better[0] is not None and better[2] is not None and better[4] is not None
    assert better[2].value == pytest.approx(1 / 8), "one pair of four is even"
    assert better[4].value == pytest.approx((better[0].value + better[2].value) / 2)


def test_no_row_is_made_of_all_tasks_where_one_is_missing() -> None:
    scores = {("T", "a"): A, ("T", "b"): B, ("U", "a"): B}
    everywhere = {"T": Reference(0, 1), "U": Reference(0, 1)}
    assert [row.algorithm for row in rows_of(runs_of(scores), everywhere)][3:] == ["a"]
    assert len(rows_of(runs_of(scores), {"T": Reference(0, 1)}, versus="b")) == 3


def test_a_single_run_has_no_interval() -> None:
    (one, two) = rows_of(runs_of({("T", "a"): [7.0], ("T", "b"): [1.0, 2.0]}), {}, versus="b")
    assert one.iqm == Estimate(7.0) and one.deviation is None and one.better == Estimate(1.0)
    assert two.iqm is not None and two.iqm.low is not None


@pytest.mark.parametrize(
    ("runs", "references", "versus", "message"),
    [
        ([], {}, None, "no number to write"),
        ([Run("T", "a", "logs/a/T_1", np.nan)], {}, None, "logs/a/T_1: score nan must be finite"),
        ([Run("T", "a", "x", 1.0)], {"T": Reference(2, 2)}, None, "expert 2 must be above random 2"),
        ([Run("T", "a", "x", 1.0)], {}, "b", "no run is of 'b', to compare with; there are a"),
    ],
    ids=["none", "nan", "reference", "versus"],
)
def test_no_number_without_a_run(
    runs: list[Run], references: dict[str, Reference], versus: str | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rows_of(runs, references, versus)


# ------------------------------------------------------------------------------------------------------------- text

ROWS = [
    Row("a|b_1", "50 % & more", 3, 1000, 123.456, 12.3456, Estimate(120.0, 110.06, 130.0), 9.87),
    Row("a|b_1", "x", 1, 1000, -0.5, None, Estimate(-0.5)),
]


def test_markdown_has_a_dash_where_nothing_is_known() -> None:
    head, line, first, second, *notes = as_markdown(columns_of(ROWS), notes_of(ROWS, {})).splitlines()
    assert (
        head == "| env | algorithm | runs | env steps | mean | standard deviation | interquartile mean | CPU seconds |"
    )
    assert line.count("---:") == 6
    assert first == r"| a\|b_1 | 50 % & more | 3 | 1000 | 123.5 | 12.35 | 120.0 [110.1, 130.0] | 9.870 |"
    assert second == r"| a\|b_1 | x | 1 | 1000 | -0.500 | - | -0.500 [-, no interval] | - |"
    assert "One run has neither deviation nor interval." in notes and "standard deviation (n - 1)" in notes[1]


def test_single_runs_have_a_dash_for_their_deviation() -> None:
    head, _, row, *_ = as_markdown(columns_of(ROWS[1:]), []).splitlines()
    assert "standard deviation" in head and "CPU seconds" not in head
    assert row.split(" | ")[5] == "-"


def test_latex_is_escaped() -> None:
    text = as_latex(columns_of(ROWS), ["95 %"])
    assert r"a|b\_1 & 50 \% \& more & 3 & 1000 & 123.5 & 12.35 & 120.0 [110.1, 130.0] & 9.870 \\" in text
    assert r"\caption{95 \%}" in text and r"\begin{tabular}{llrrrrrr}" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2


def test_csv_has_a_number_a_cell() -> None:
    first, second = csv.DictReader(io.StringIO(as_csv(columns_of(ROWS), [])))
    assert first["env"] == "a|b_1" and float(first["mean"]) == 123.456
    assert (first["interquartile_mean_low"], first["interquartile_mean_high"]) == ("110.06", "130.0")
    assert second["standard_deviation"] == second["interquartile_mean_low"] == second["CPU_seconds"] == ""


# ---------------------------------------------------------------------------------------------------- files of runs

HEAD = "task,agent,change,seed,env_steps,final_mean,cpu_seconds\n"


def test_lines_of_a_file_are_runs(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"{HEAD}T,a,none,0,10,1.5,3\nT,a,none,1,12,nan,3\nT,a,none,2,12,,3\nT,a,less,3,11,2.5,\n")
    runs, notes = read_results(path)
    assert runs[0] == Run("T", "a", f"{path}: seed 0", 1.5, 10, 3.0)
    assert [run.score for run in runs] == [1.5, 2.5] and runs[1].cpu_seconds is None
    assert [note.partition(": ")[2] for note in notes] == [
        "T, a, seed 1: final_mean 'nan'; the run is left out",
        "T, a, seed 2: final_mean ''; the run is left out",
        "runs of a on T have 10 to 11 steps, and each counts at its own end",
    ]
    runs, _ = read_results(path, by=("change",), label="new", score="env_steps")
    assert [run.algorithm for run in runs] == ["new a, change=none"] * 3 + ["new a, change=less"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line of results"),
        (HEAD, "no line of results"),
        ("task,agent,seed\nT,a,0\n", "no column final_mean among task, agent, seed; --score names"),
        ("task,seed,final_mean\nT,0,1\n", "no column agent, algo, algorithm, method; --by names"),
        (f"{HEAD}T,a,x,0,1,1,1\nT,a,y,0,1,2,1\n", "two lines of T, a, seed 0; `--by COLUMN` .* differ in change"),
        (f"{HEAD}T,a,x,0,1,1,1\nT,a,x,0,1,1,1\n", "two lines of T, a, seed 0$"),
    ],
)
def test_a_file_that_is_no_table_of_runs_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_results(tmp_path / "x.csv")
    assert "x.csv: " in str(error.value)
