"""Which curves `plot_train` would draw: written by hand, episodes of ten steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from sb3_ext.errors import UserError
from sb3_ext.zoo.runs.drawn import check_curves, check_runs


def write_run(runs: Path, name: str, *n_episodes: int, column: str = "") -> None:
    """:param n_episodes: of each of its environments"""
    (runs / name).mkdir(parents=True)
    for env, n in enumerate(n_episodes):
        rows = [f"1.0,10,{t}{',1' if column else ''}" for t in range(n)]
        header = f'#{{"t_start": 0.0, "env_id": "None"}}\nr,l,t{column and "," + column}\n'
        (runs / name / f"{env}.monitor.csv").write_text("\n".join([header.rstrip(), *rows, ""]))


def test_runs_that_are_too_short_beside_one_that_is_not_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, "A-v0_1", 3, 2)
    write_run(tmp_path, "A-v0_2", 4)
    (tmp_path / "A-v0_3").mkdir()
    check_curves(tmp_path, ["A-v0"], "reward", 5, None)
    assert capsys.readouterr().out == "A-v0_2 is not drawn: it has 4 episodes, and a point is the mean of 5 (-w)\n"
    check_curves(tmp_path, ["A-v0"], "length", 4, 50)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("envs", "shown", "window", "max_steps", "line"),
    [
        (
            ["A-v0"],
            "reward",
            6,
            None,
            r"of 6 episodes, and A-v0_1, the longest run of A-v0, has 5: take fewer with -w 5",
        ),
        (["A-v0"], "reward", 5, 49, "the longest run of A-v0, has 4: take fewer with -w 4"),
        (["A-v0"], "reward", 1, 9, "noted the reward of an episode in its first 9 steps"),
        (["A-v0"], "success", 1, None, "noted the success of an episode$"),
        (["B-v0", "A-v0"], "success", 1, None, "no run of A-v0 noted the success"),
        (["A-v1"], "reward", 1, None, "no run of A-v1 in"),
    ],
)
def test_what_would_be_empty_axes_is_refused(
    envs: list[str], shown: str, window: int, max_steps: int | None, line: str, tmp_path: Path
) -> None:
    write_run(tmp_path, "A-v0_1", 3, 2)
    write_run(tmp_path, "B-v0_1", 9, column="is_success")
    with pytest.raises(UserError, match=line):  # noqa: PT012 - the one or the other
        check_runs(tmp_path, envs)
        check_curves(tmp_path, envs, shown, window, max_steps)
