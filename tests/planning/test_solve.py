"""Values of gymnasium's own environments, to the digits known from three formulas."""

import numpy as np
import pytest

from sb3_ext.planning import TabularMDP, best_return, evaluate, expected_return, solve


@pytest.mark.parametrize(
    ("env_id", "gamma", "value"),
    [
        ("FrozenLake-v1", 0.9, 0.068891),
        ("FrozenLake-v1", 0.99, 0.542026),
        ("Taxi-v4", 0.99, 6.327464),  # T1: its terminal states leave again in `.P`
    ],
)
def test_value_of_the_start(env_id: str, gamma: float, value: float) -> None:
    mdp = TabularMDP.from_env(env_id, gamma)
    found = solve(mdp)
    assert mdp.start @ found.v == pytest.approx(value, abs=5e-7)
    np.testing.assert_allclose(evaluate(mdp, found.policy), found.v, atol=1e-7)


def test_value_return_and_best_return_are_three_numbers() -> None:
    mdp = TabularMDP.from_env("FrozenLake-v1", 0.99)
    policy = solve(mdp).policy
    assert expected_return(mdp, policy) == pytest.approx(0.740165, abs=5e-7)
    assert best_return(mdp) == pytest.approx(0.744190, abs=5e-7)
