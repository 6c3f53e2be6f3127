"""What the page's server answers equals what planning finds, and whatever it is sent is answered in one line."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import DQN, PPO

from sb3_ext import R2D2, QLearning, Rainbow
from sb3_ext.envs.grid_world import GridWorldEnv
from sb3_ext.planning import PlannerPolicy, TabularMDP, evaluate, policy_table, q_table, solve
from sb3_ext.viz import lab_answers
from sb3_ext.viz.lab import Lab, ShownModel, ShownReward

GRID: list[list[float]] = [[0, 0, 0, 1], [0, 9, 0, -1], [0, 0, 0, 0]]
ASKED: dict[str, Any] = {"grid": GRID, "plan": "value", "prob": 0.8, "gamma": 0.9}


def body(**changed: object) -> bytes:
    return json.dumps({**ASKED, **changed}).encode()


def random_grid(rng: np.random.Generator) -> list[list[float]]:
    grid = rng.choice([0.0, 0.0, 0.0, 9.0, 1.0, -1.0], size=rng.integers(2, 7, 2))
    grid[-1, 0] = 0.0
    drawn: list[list[float]] = grid.tolist()
    return drawn


@pytest.mark.parametrize("plan", ["value", "policy"])
def test_a_plan_ends_at_the_best_values(plan: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(25):
        grid, prob, gamma = random_grid(rng), float(rng.uniform(0.4, 1.0)), float(rng.uniform(0.5, 0.97))
        answer = lab_answers.plan(body(grid=grid, plan=plan, prob=prob, gamma=gamma))
        best = solve(TabularMDP.from_env(GridWorldEnv(grid, prob), gamma))
        last = np.array(answer["log"][-1])
        assert last.shape == np.shape(grid) and answer["converged"]
        assert len(answer["log"]) == answer["n_sweeps"]
        assert np.abs(last.ravel() - best.v).max() <= answer["bound"] + 1e-10 <= 1e-7
        np.testing.assert_allclose(answer["q"], best.q, atol=1e-7)
        chosen = np.take_along_axis(best.q, np.array(answer["policy"])[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(chosen, best.v, atol=1e-7)  # one of the best, where several are


def test_each_sweep_is_one_look_ahead() -> None:
    """By definition, over the environment's own table, without the planner."""
    log = np.array(lab_answers.plan(body())["log"]).reshape(-1, 12)
    table = GridWorldEnv(GRID).P
    v = np.zeros(12)
    for seen in log[:10]:
        v = np.array(
            [
                max(sum(p * (r + 0.9 * v[to] * (not end)) for p, to, r, end in table[s][a]) for a in range(4))
                for s in range(12)
            ]
        )
        np.testing.assert_allclose(seen, v, atol=1e-12)


def test_each_policy_is_evaluated_and_none_is_worse_than_the_one_before() -> None:
    log = np.array(lab_answers.plan(body(plan="policy"))["log"]).reshape(-1, 12)
    assert len(log) > 2 and (np.diff(log, axis=0) >= -1e-12).all()
    mdp = TabularMDP.from_env(GridWorldEnv(GRID), 0.9)
    np.testing.assert_allclose(log[0], evaluate(mdp, mdp.reward.argmax(axis=1)), atol=1e-12)


def test_sweeps_and_numbers_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"grid": [[0, 0], [1, 0]], "prob": 0.0, "gamma": 1.0 - 1e-9, "default_reward": 1.0}
    answer = lab_answers.plan(body(**slow))
    assert len(answer["log"]) == answer["n_sweeps"] == lab_answers.MOST_SWEEPS == 10_000 and not answer["converged"]
    monkeypatch.setattr(lab_answers, "MOST_NUMBERS", 400)
    assert len(lab_answers.plan(body(**slow))["log"]) == 100


DEEP = b"[" * 200_000
NONE = "it must be a finite number"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", "the body is not JSON: Expecting value"),
        (b"\xff\xfe\xfd", "the body is not JSON: "),
        (DEEP, "the body is not JSON: maximum recursion depth exceeded"),
        (b'{"grid": ' + DEEP, "the body is not JSON: maximum recursion depth exceeded"),
        (b"[1, 2]", "the body must be a JSON object, not a list"),
        (b"null", "the body must be a JSON object, not null"),
        (b'"' + b"x" * 1000 + b'"', 'the body must be a JSON object, not "xxx'),
        (b"{}", "the body has no 'gamma': it must have gamma, grid, plan, prob"),
        (body(path="/etc/passwd"), 'unknown key "path": there are default_reward, gamma, grid, plan, prob'),
        (body(**{"\ud800": 1}), r'unknown key "\\ud800": there are'),
        (body().replace(b"0.9", b"NaN"), "the body is not JSON: NaN is no number of JSON"),
        (body().replace(b"0.9", b"1e400"), f"gamma is Infinity: {NONE}"),
        (body().replace(b"0.9", b"9" * 100_000), f"gamma is Infinity: {NONE}"),
        (body(gamma=1.01), "gamma 1.01 must lie in"),
        (body(gamma="0.9"), f'gamma is "0.9": {NONE}'),
        (body(gamma=None), f"gamma is null: {NONE}"),
        (body(gamma=True), f"gamma is true: {NONE}"),
        (body(prob=[0.8]), f"prob is a list: {NONE}"),
        (body(prob=1.2), r"move_prob 1.2 must lie in \[0, 1\]"),
        (body(plan="best"), 'plan "best" must be "value" or "policy"'),
        (body(plan={}), 'plan an object must be "value" or "policy"'),
        (body(default_reward=-1e7), r"default_reward -1e\+07 must lie within"),
        (body(default_reward="x"), f'default_reward is "x": {NONE}'),
        (body(grid=7), "grid must be a list of rows, each a list of numbers"),
        (body(grid=["...+"]), "grid must be a list of rows, each a list of numbers"),
        (body(grid={"0": []}), "grid must be a list of rows, each a list of numbers"),
        (body(grid=[[0, [0]]]), rf"cell \(0, 1\) is a list: {NONE}"),
        (body(grid=[[0, "9"]]), rf'cell \(0, 1\) is "9": {NONE}'),
        (body(grid=[[0, False]]), rf"cell \(0, 1\) is false: {NONE}"),
        (body(grid=[[0, 1e300]]), r"cell \(0, 1\) is 1e\+300: it must lie within \+-1e\+06"),
        (body(grid=[[0, 1], [0]]), "row 1 of the grid has 1 cells, row 0 has 2"),
        (body(grid=[]), "the grid has no free cell"),
        (body(grid=[[], []]), "the grid has no free cell"),
        (body(grid=[[9, 9]]), "the grid has no free cell"),
        (body(grid=[[0] * 1000] * 1000), "grid has 1000000 cells: the server takes at most 2500"),
        (
            body(grid=[[0] * 50] * 50, plan="policy"),
            "policy iteration takes at most 1500 cells here, the grid has 2500",
        ),
        (body(grid=[[0, 0]], gamma=1), "with gamma 1 no policy ends from 2 states"),
    ],
    ids=lambda x: repr(x)[:30],
)
def test_what_is_no_question_is_refused_in_one_line(text: bytes, line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}") as caught:
        lab_answers.plan(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


# ---------------------------------------------------------------------- what a model does


def shown(model: Any, **settings: Any) -> ShownModel:  # Any: models of many kinds
    return ShownModel(model, type(model).__name__.lower(), 0.9, **settings)


def asked_policy(model: ShownModel, **changed: object) -> dict[str, Any]:
    return lab_answers.policy(json.dumps({"grid": GRID, "prob": 0.8, **changed}).encode(), model)


def test_models_of_many_kinds_are_shown() -> None:
    env = GridWorldEnv(GRID)
    mdp = TabularMDP.from_env(env, 0.9)
    ppo = PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu", seed=0)
    dqn = DQN("MlpPolicy", env, buffer_size=10, device="cpu", seed=0)
    rainbow = Rainbow("MlpPolicy", env, buffer_size=10, device="cpu", seed=0)
    table = QLearning("TablePolicy", env, seed=0).learn(200)
    for model in (ppo, dqn, rainbow, table, PlannerPolicy.from_env(env, 0.9)):
        answer = asked_policy(shown(model))
        assert answer["name"] == type(model).__name__ and answer["gamma"] == 0.9
        policy, q = policy_table(model, mdp), q_table(model, mdp)
        np.testing.assert_array_equal(answer["pi"], policy)
        np.testing.assert_allclose(answer["value"], evaluate(mdp, policy), atol=1e-12)
        assert (answer["q"] is None) == (q is None)
        if q is not None:
            np.testing.assert_array_equal(answer["q"], q)
    drawn = asked_policy(shown(ppo, deterministic=False))
    assert not set(np.ravel(drawn["pi"])) <= {0.0, 1.0}
    np.testing.assert_allclose(drawn["pi"], policy_table(ppo, mdp, deterministic=False))
    unscaled = asked_policy(shown(dqn, reward_unit=3.0))
    np.testing.assert_allclose(unscaled["q"], 3.0 * np.array(asked_policy(shown(dqn))["q"]))


def test_the_planner_has_the_best_values_and_another_maze_has_its_own() -> None:
    env = GridWorldEnv(GRID)
    model = shown(PlannerPolicy.from_env(env, 0.9))
    np.testing.assert_allclose(asked_policy(model)["value"], solve(TabularMDP.from_env(env, 0.9)).v, atol=1e-12)
    turned = GridWorldEnv([[0, 0, 0], [0, 9, 0], [0, 0, 0], [1, -1, 0]], 0.6, -0.1, start=(0, 0))
    mdp = TabularMDP.from_env(turned, 0.9)
    found = asked_policy(model, grid=turned.grid.tolist(), prob=0.6, default_reward=-0.1)
    np.testing.assert_allclose(found["value"], evaluate(mdp, np.array(found["pi"])), atol=1e-12)


def test_without_a_discount_a_policy_that_runs_into_the_wall_has_no_value() -> None:
    left = np.eye(4)[np.zeros(12, int)]
    env = GridWorldEnv(GRID)
    model = ShownModel(PlannerPolicy(env.observation_space, env.action_space, left), "planner", 1.0)
    assert asked_policy(model, prob=1.0)["value"] is None


def test_models_of_something_else_are_refused() -> None:
    env = GridWorldEnv(GRID)
    model = shown(PlannerPolicy.from_env(env))
    with pytest.raises(ValueError, match=r"^the model has 12 states, the maze 4$"):
        asked_policy(model, grid=[[0, 0, 0, 1]])
    with pytest.raises(ValueError, match=r"^the model has 12 states, the maze 4$"):
        Lab(GridWorldEnv([[0, 0, 0, 1]], start=(0, 0)), model)
    with pytest.raises(ValueError, match=r"^the reward has 4 states, the maze 12$"):
        Lab(env, reward=ShownReward("found", np.zeros(4)))
    with pytest.raises(ValueError, match=r"^the model has 6 actions, a maze 4$"):
        shown(PlannerPolicy(spaces.Discrete(12), spaces.Discrete(6)))
    with pytest.raises(ValueError, match=r"^PPO observes Box\(.*: only Discrete states and actions make a table$"):
        shown(PPO("MlpPolicy", "CartPole-v1", device="cpu"))
    for recurrent in (
        R2D2("MlpLstmPolicy", env, buffer_size=200, device="cpu"),
        RecurrentPPO("MlpLstmPolicy", env, n_steps=8, batch_size=8, device="cpu"),
    ):
        with pytest.raises(ValueError, match="is recurrent: what it does depends on more than the state"):
            shown(recurrent)
    noisy = Rainbow("MlpPolicy", env, buffer_size=10, device="cpu")
    with pytest.raises(ValueError, match="draws its noisy layers"):
        shown(noisy, deterministic=False)


def test_a_model_whose_training_diverged_is_named() -> None:
    model = DQN("MlpPolicy", GridWorldEnv(GRID), buffer_size=10, device="cpu")
    for parameter in model.q_net.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"^the model's Q-values are not all finite: its training diverged$"):
        asked_policy(shown(model))
