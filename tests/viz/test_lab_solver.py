"""The maze lab's own answers, in a browser: they are the planner's, step by step."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from support.browser import CHROMIUM
from support.lab_pages import SOLVE, LabPage, mdp_of, random_maze

from sb3_ext.planning import Solution, backup, evaluate, policy_iteration

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


def solved(page: LabPage, mazes: list[dict[str, Any]]) -> Any:  # Any: of each maze, by both methods
    return page.do(f"({SOLVE})({json.dumps(mazes)})")


def test_values_and_q_are_the_planners_on_a_hundred_mazes(page: LabPage) -> None:
    rng = np.random.default_rng(15)
    mazes = [random_maze(rng, i) for i in range(100)]
    compared, worst = 0, 0.0
    for maze, (by_values, by_policies) in zip(mazes, solved(page, mazes), strict=True):
        assert by_policies["done"] and (by_values["done"] or by_values["n"] == 10_000), maze
        free = np.array(maze["cells"]) == 0.0
        methods = [by_policies, by_values] if by_values["done"] else [by_policies]
        found = [(np.array(x["v"], float), np.array(x["q"], float).reshape(-1, 4)) for x in methods]
        expected = planned(maze)
        for v, q in found:
            if expected is None:
                np.testing.assert_array_equal(np.isinf(v), grows(maze))
                assert set(v[np.isinf(v)]) == {np.sign(maze["reward"]) * np.inf}
            else:
                worst = max(worst, np.abs(v - expected.v).max(), np.abs(q[free] - expected.q[free]).max())
                compared += 1
        finite = np.isfinite(found[0][0])
        np.testing.assert_array_equal(np.isfinite(found[-1][0]), finite)
        np.testing.assert_allclose(found[0][0][finite], found[-1][0][finite], rtol=0, atol=1e-9)
    assert compared >= 170 and worst <= 1e-9


def planned(maze: dict[str, Any]) -> Solution | None:
    """:return: of the planner, or None where there are no numbers, as may be with gamma 1"""
    try:
        return policy_iteration(mdp_of(maze))
    except ValueError:
        assert maze["gamma"] == 1.0
        return None


def grows(maze: dict[str, Any]) -> np.ndarray:
    """:return: [S] bool: where the best return of 1 000 steps is another one than of 500"""
    mdp, v = mdp_of(maze), np.zeros(len(maze["cells"]))
    returns = [v := backup(mdp, v).max(axis=1) for _ in range(1_000)]
    return np.asarray(np.abs(returns[-1] - returns[499]) > 1.0)


def test_each_sweep_is_a_backup_and_each_policy_is_evaluated(page: LabPage) -> None:
    maze = {**random_maze(np.random.default_rng(0), 3), "gamma": 0.9}
    sweeps, q, policies, tables = page.do(
        f"""(() => {{
            const rules = new Rules({json.dumps(maze)});
            const sweeps = new ValueIteration(rules), policies = new PolicyIteration(rules);
            const found = [[], [], [], []];
            for (let n = 0; n < 5; n++) {{
                sweeps.step();
                found[0].push([...sweeps.v]);
                found[1].push([...sweeps.q]);
            }}
            while (policies.step()) {{
                found[2].push([...policies.v]);
                found[3].push([...policies.entries[policies.n - 1].policy]);
            }}
            return found;
        }})()"""
    )
    mdp = mdp_of(maze)
    free = np.array(maze["cells"]) == 0.0
    v = np.zeros(len(free))
    for shown_v, shown_q in zip(sweeps, q, strict=True):
        expected = backup(mdp, v)
        v = expected.max(axis=1)
        np.testing.assert_allclose(shown_v, v, atol=1e-12)
        np.testing.assert_allclose(np.reshape(shown_q, (-1, 4)), expected, atol=1e-12)
    assert len(policies) >= 3 and np.array_equal(np.reshape(tables[0], (-1, 4))[free], np.full((free.sum(), 4), 0.25))
    for shown_v, table in zip(policies, tables, strict=True):
        policy = np.where(free[:, None], np.reshape(table, (-1, 4)), 0.25)
        np.testing.assert_allclose(shown_v, evaluate(mdp, policy), atol=1e-11)
    start = maze["start"]
    worth = np.array(policies)[:, start]
    assert (np.diff(worth) >= -1e-12).all()


@pytest.mark.parametrize("method", ["ValueIteration", "PolicyIteration"])
def test_steps_back_and_to_the_end_see_the_same_numbers(page: LabPage, method: str) -> None:
    forth, back, end, n = page.do(
        f"""(() => {{
            const rules = new Rules({{...preset("Lake"), prob: 0.5, gamma: 0.97, reward: -0.01}});
            const one = new {method}(rules), other = new {method}(rules);
            const shown = (s) => [s.n, s.change, s.changes.length, [...s.v], [...s.q]];
            const forth = [shown(one)], back = [];
            while (one.step()) forth.push(shown(one));
            other.end();
            for (let n = one.n; n >= 0; n--) {{ one.goTo(n); back.push(shown(one)); }}
            return [forth, back.reverse(), shown(other), other.n];
        }})()"""
    )
    assert forth == back and forth[-1] == end
    assert n > 140 if method == "ValueIteration" else 2 < n < 20  # past two of the sweeps that are kept


def test_policy_iteration_ends_on_ties(page: LabPage) -> None:
    # An open square has two best actions in most cells, and with no ends all actions tie everywhere.
    squares = [
        {"rows": n, "columns": n, "cells": [end, *[0] * (n * n - 1)], "start": 1, "prob": p, "gamma": g, "reward": r}
        for n in (2, 5, 6)
        for end in (1, 0)
        for p in (1.0, 1 / 3)
        for g in (0.9, 1.0)
        for r in (-0.04, 0.0)
    ]
    for maze, (by_values, by_policies) in zip(squares, solved(page, squares), strict=True):
        assert by_policies["done"] and by_policies["n"] < 20, maze
        v, expected = (np.array(found["v"], float) for found in (by_policies, by_values))
        np.testing.assert_allclose(v, expected, rtol=0, atol=1e-9)


def test_a_policy_that_never_ends_is_minus_infinity_and_one_that_may_stay_is_free(page: LabPage) -> None:
    def worth(maze: dict[str, Any], action: int) -> list[Any]:
        policy = np.eye(4)[[action] * len(maze["cells"])].ravel().tolist()
        found: list[Any] = page.do(f"[...new Rules({json.dumps(maze)}).evaluate({policy})].map(String)")
        return found

    row = {"rows": 1, "columns": 4, "cells": [0, 0, 0, 1], "start": 0, "prob": 1.0, "gamma": 1.0, "reward": -0.5}
    assert worth(row, 0) == ["-Infinity"] * 3 + ["0"]
    assert worth(row, 2) == ["0", "0.5", "1", "0"]
    assert worth({**row, "reward": 0}, 0) == ["0"] * 4
    assert worth({**row, "reward": 0.5}, 0) == ["Infinity"] * 3 + ["0"]
    # Who slips to the end in the long run ends surely, however slowly.
    slips = {**row, "rows": 2, "columns": 2, "cells": [0, 0, 0, 1], "prob": 0.9, "reward": 0}
    assert [round(float(x), 12) for x in worth(slips, 2)] == [1, 1, 1, 0]
