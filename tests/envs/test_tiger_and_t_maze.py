"""The tiger and the T-maze: what they are worth, each by a formula of its own; their rules and pictures."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from support.wrapped import episode

from sb3_ext.envs import TigerEnv, TMazeEnv
from sb3_ext.planning import TabularPOMDP, evaluate, solve

LEFT, DOWN, RIGHT, UP = range(4)


# ---- tiger -----------------------------------------------------------------------------------------------------------


def listening_counts(gamma: float, steps: int) -> float:
    """Best value of the tiger's start: what matters is how much more often it was heard left than right."""
    n = np.arange(-40, 41)
    left = 1 / (1 + (0.15 / 0.85) ** n.astype(float))  # probability that the tiger is there
    value = np.zeros(81)
    for _ in range(steps):
        hear_left = left * 0.85 + (1 - left) * 0.15
        more, less = np.append(value[1:], value[-1]), np.append(value[0], value[:-1])
        listen = -1 + gamma * (hear_left * more + (1 - hear_left) * less)
        doors = [-100 * p + 10 * (1 - p) + gamma * value[40] for p in (left, 1 - left)]
        value = np.maximum(listen, np.maximum(*doors))
    return float(value[40])


@pytest.mark.parametrize(
    ("gamma", "steps", "value"), [(0.75, 200, 1.933439), (0.95, 600, 19.371368), (1.0, 100, 107.077457)]
)
def test_the_tiger_is_worth_with_a_memory_what_its_docstring_says(gamma: float, steps: int, value: float) -> None:
    assert listening_counts(gamma, steps) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("gamma", "without", "with_state"), [(0.75, -4.0, 40.0), (0.95, -20.0, 200.0)])
def test_the_tiger_is_worth_without_a_memory_and_with_the_state_what_its_docstring_says(
    gamma: float, without: float, with_state: float
) -> None:
    pomdp = TabularPOMDP.from_env("sb3_ext/Tiger-v0", gamma)
    mdp = pomdp.mdp
    assert mdp.horizon == 100
    assert mdp.start @ solve(mdp, tol=1e-9).v == pytest.approx(with_state)
    assert pomdp.first_observation is not None
    values = {}
    for policy in itertools.product(range(3), repeat=3):  # of what was heard last
        # Pairs (tiger, heard): v = r + gamma P O v.
        system, reward = np.eye(6), np.zeros(6)
        for (tiger, heard), action in itertools.product(itertools.product(range(2), range(3)), range(3)):
            if action != policy[heard]:
                continue
            for p, to, r, _ in TigerEnv().pomdp.P[tiger][action]:
                reward[3 * tiger + heard] += p * r
                system[3 * tiger + heard, 3 * to : 3 * to + 3] -= gamma * p * pomdp.observation[action, to]
        v = np.linalg.solve(system, reward).reshape(2, 3)
        values[policy] = float((mdp.start[:, None] * pomdp.first_observation * v).sum())
    best = max(values, key=lambda policy: values[policy])
    assert best == (0, 0, 0)
    assert values[best] == pytest.approx(without)


def test_the_tiger_moves_only_when_a_door_was_opened_and_is_drawn() -> None:
    env = TigerEnv(accuracy=1.0, render_mode="ansi")
    assert env.reset(seed=0)[0] == 0
    line = env.render()
    assert isinstance(line, str)
    side = "left" if "tiger=left" in line else "right"
    assert line == f"tiger={side} heard=nothing"
    for _ in range(20):
        observation, reward, terminated, truncated, _ = env.step(0)
        assert (reward, terminated, truncated) == (-1.0, False, False)
        assert observation == {"left": 1, "right": 2}[side]
        assert env.render() == f"tiger={side} heard={side}"
    assert env.step(observation)[1] == -100.0
    sides = set()
    for _ in range(50):  # the tiger is drawn anew, whichever door was opened
        heard = int(env.step(0)[0])
        sides.add(heard)
        assert env.step(3 - heard)[1] == 10.0
    assert sides == {1, 2}
    env = TigerEnv(render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    env.step(0)
    second = env.render()
    assert isinstance(first, np.ndarray) and isinstance(second, np.ndarray)
    assert first.shape == second.shape == (48, 96, 3)
    corners = [tuple(first[2, 2]), tuple(first[2, 50])]
    assert set(corners) == {(240, 150, 40), (245, 245, 245)}
    assert (first[24, 24::48] == first[2, 2::48]).all()  # nothing heard: no disc
    assert (second[24, 24::48] == (50, 90, 200)).all(axis=1).sum() == 1
    assert TigerEnv().render() is None


# ---- T-maze ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "without", "with_memory"),
    [(5, 1.7626456, 3.6156832), (10, 1.5932920, 3.2682912), (50, 0.7101309, 1.4566787)],
)
def test_the_t_maze_is_worth_what_its_docstring_says(length: int, without: float, with_memory: float) -> None:
    env = gym.make("sb3_ext/TMaze-v0", length=length)
    pomdp = TabularPOMDP.from_env(env)
    assert pomdp.mdp.gamma == 0.98
    assert pomdp.mdp.start @ solve(pomdp.mdp, tol=1e-10).v == pytest.approx(with_memory, abs=1e-7)
    # A memory gets as much: it turns as the sign said.
    for seed in range(4):
        sign, _ = env.reset(seed=seed)
        steps = episode(env, [RIGHT] * length + [UP if sign == 0 else DOWN], seed)[1:]
        assert [reward for _, reward, *_ in steps] == [0.0] * length + [4.0]
    seen = pomdp.state_observation
    assert seen is not None
    if length == 5:
        values = [
            float(pomdp.mdp.start @ evaluate(pomdp.mdp, np.array(actions)[seen]))
            for actions in itertools.product(range(4), repeat=4)
        ]
        assert max(values) == pytest.approx(without, abs=1e-7)
    assert 1.95 * 0.98**length == pytest.approx(without, abs=1e-7)


def test_who_walks_into_a_wall_of_the_t_maze_stays_and_pays() -> None:
    env = gym.make("sb3_ext/TMaze-v0", length=2)
    sign, _ = env.reset(seed=0)
    other = DOWN if sign == 0 else UP
    walk = [LEFT, UP, RIGHT, DOWN, RIGHT, RIGHT, LEFT, LEFT, RIGHT, RIGHT, other]
    seen = [sign, sign, 2, 2, 3, 3, 2, sign, 2, 3, 3]
    paid = [-0.1, -0.1, 0, -0.1, 0, -0.1, 0, 0, 0, 0, -0.1]
    steps = episode(env, walk, seed=0)[1:]
    assert [(int(observation), reward, terminated) for observation, reward, terminated, _ in steps] == [
        (o, r, i == 10) for i, (o, r) in enumerate(zip(seen, paid, strict=True))
    ]


def test_the_t_maze_is_drawn() -> None:
    env = TMazeEnv(length=3, render_mode="ansi")
    sign = ("up", "down")[int(env.reset(seed=0)[0])]
    assert env.render() == f"cell=0/3 sign={sign}"
    for action in (RIGHT, RIGHT, RIGHT, UP):
        env.step(action)
    assert env.render() == f"cell=3/3 sign={sign} turned up"
    env = TMazeEnv(length=3, render_mode="rgb_array")
    env.reset(seed=0)
    pictures = [env.render()]
    for action in (RIGHT, RIGHT, RIGHT, DOWN):
        env.step(action)
        pictures.append(env.render())
    agents = []
    for picture in pictures:
        assert isinstance(picture, np.ndarray) and picture.shape == (3 * 48, 4 * 48, 3)
        agents += np.argwhere((picture[24::48, 24::48] == (50, 90, 200)).all(axis=2)).tolist()
        corners = picture[2::48, 2::48]
        green = np.argwhere((corners == (60, 160, 80)).all(axis=2)).tolist()
        assert green == [[0 if sign == "up" else 2, 3]]
    assert agents == [[1, 0], [1, 1], [1, 2], [1, 3], [2, 3]]
    assert TMazeEnv().render() is None


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TigerEnv(accuracy=1.5), r"accuracy 1.5 must lie in \[0, 1\]"),
        (lambda: TigerEnv(accuracy=float("nan")), r"accuracy nan must lie in \[0, 1\]"),
        (lambda: TigerEnv(render_mode="human"), r"render_mode 'human' must be None"),
        (lambda: TMazeEnv(length=0), r"length 0 must be 1 or more"),
        (lambda: TMazeEnv(render_mode="human"), r"render_mode 'human' must be None"),
    ],
)
def test_wrong_input_is_refused_at_the_door(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("action", [-1, 3, np.int64(3)])
def test_there_is_no_treasure_behind_a_third_door(action: int) -> None:
    env = TigerEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action -?\d must be 0 \(listen\), 1 or 2"):
        env.step(action)
