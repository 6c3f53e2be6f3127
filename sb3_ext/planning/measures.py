"""
What `OptimalityGap` measures: exactly, where a model has a table, and by simulation where it has none. The two never
share a name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from sb3_ext.planning.episodes import acting_states
from sb3_ext.planning.evaluation import evaluate, expected_return
from sb3_ext.planning.gap_file import Yardstick
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.model_states import Model
from sb3_ext.planning.model_tables import policy_table, q_table, value_table
from sb3_ext.planning.pomdp import TabularPOMDP
from sb3_ext.planning.simulate import simulate_returns
from sb3_ext.planning.solve import Solution, best_return
from sb3_ext.planning.views import Observe

TIE = 1e-9  # of 1 + the largest Q-value: actions that are as good as this are tied


class Measure(Protocol):
    """Of one environment."""

    @property
    def yardstick(self) -> Yardstick: ...

    def of(self, model: Model) -> dict[str, float]:
        """:return: numbers by name; without those that this model does not have"""


@dataclass(frozen=True, eq=False)
class Exact:
    """
    Of a model with a table.

    :param mdp: of the environment
    :param best: its solution
    :param observe: what the model is shown in a state; None = its number
    :param deterministic: the policy as `evaluate_policy` follows it, else with its own randomness
    """

    mdp: TabularMDP
    best: Solution
    observe: Observe | None = None
    deterministic: bool = True

    @property
    def yardstick(self) -> Yardstick:
        return yardstick(self.mdp, self.best)

    @cached_property
    def acting(self) -> np.ndarray:
        """:return: [n] the states in which an episode can be before it ends: no end is learned about"""
        return acting_states(self.mdp)

    def of(self, model: Model) -> dict[str, float]:
        """Each as `OptimalityGap` says it. Without a gap where a policy never ends and nothing is discounted."""
        mdp, best, acting = self.mdp, self.best, self.acting
        policy = policy_table(model, mdp, self.observe, self.deterministic)
        found: dict[str, float] = {}
        value = self._value(policy)
        if value is not None:
            optimum = float(mdp.start @ best.v)
            found["gap"] = max(optimum - float(mdp.start @ value), 0.0)  # rounding
            if optimum != 0.0:
                found["gap_fraction"] = found["gap"] / abs(optimum)
        if mdp.horizon is not None:
            found["return_exact"] = expected_return(mdp, policy)
        if has_discount_of(model, mdp):
            found |= self._errors(model, policy)
        # T3: tied actions are equally right, so their values are compared and not the actions.
        slack = max(TIE * (1.0 + float(np.abs(best.q).max())), 2.0 * best.bound)
        chosen = (policy * best.q).sum(axis=1)
        found["states_wrong"] = float((chosen < best.q.max(axis=1) - slack)[acting].sum())
        return found

    def _errors(self, model: Model, policy: np.ndarray) -> dict[str, float]:
        """:return: of what the model believes"""
        mdp, acting = self.mdp, self.acting
        found: dict[str, float] = {}
        q = q_table(model, mdp, self.observe)
        if q is not None:
            found["q_error"] = float(np.abs(q - self.best.q)[acting].max())
        v = value_table(model, mdp, self.observe)
        if v is not None:
            drawn = policy_table(model, mdp, self.observe, deterministic=False) if self.deterministic else policy
            true = self._value(drawn)
            if true is not None:
                found["v_error"] = float(np.abs(v - true)[acting].max())
        return found

    def _value(self, policy: np.ndarray) -> np.ndarray | None:
        """:return: [S] of the policy, None where it has no finite one"""
        try:
            return evaluate(self.mdp, policy)
        except ValueError:
            if self.mdp.gamma < 1.0:
                raise
            return None


@dataclass(frozen=True, eq=False)
class Estimate:
    """
    Of a model without a table, by episodes that are simulated: all at once, each measurement the same ones as far as
    the policy is the same.

    :param process: of the environment
    :param best: its solution
    :param observe: what the model is shown in a state; None = as the process says
    :param deterministic: as in `Exact`
    :param n_episodes: of a measurement
    """

    process: TabularMDP | TabularPOMDP
    best: Solution
    observe: Observe | None = None
    deterministic: bool = True
    n_episodes: int = 2000

    def __post_init__(self) -> None:
        if self._mdp.horizon is None:
            raise ValueError(
                "a model without a table is measured by episodes, and here an episode can go on for ever: give the "
                "environment a limit of steps, gym.make(..., max_episode_steps=200)"
            )

    @property
    def _mdp(self) -> TabularMDP:
        return self.process if isinstance(self.process, TabularMDP) else self.process.mdp

    @property
    def yardstick(self) -> Yardstick:
        return yardstick(self._mdp, self.best)._replace(n_episodes=self.n_episodes)

    def of(self, model: Model) -> dict[str, float]:
        """:return: mean return and its standard error"""
        found = simulate_returns(
            model, self.process, self.n_episodes, observe=self.observe, deterministic=self.deterministic
        )
        return {"return": found.mean, "return_se": found.standard_error}


def has_discount_of(model: Model, mdp: TabularMDP) -> bool:
    """:return: whether the model's values, if it has any, are discounted as the table's"""
    return float(getattr(model, "gamma", mdp.gamma)) == mdp.gamma


def yardstick(mdp: TabularMDP, best: Solution) -> Yardstick:
    """:return: the best that there is"""
    limited = None if mdp.horizon is None else float(best_return(mdp))
    return Yardstick(float(mdp.start @ best.v), limited, float(mdp.gamma))


def summary(yardstick: Yardstick, values: dict[str, float]) -> str:
    """
    :param yardstick: what was measured against
    :param values: of a measurement
    :return: a line
    """
    best = yardstick.best_return
    if yardstick.n_episodes is not None:
        known = f"{best:.3f} within the limit of steps" if best is not None else f"V* {yardstick.best_value:.3f}"
        return (
            f"Estimated return {values['return']:.3f} +- {values['return_se']:.3f} over {yardstick.n_episodes} "
            f"episodes (best with the state: {known})"
        )
    gap = values.get("gap", math.nan)
    undiscounted = ""
    if best is not None and "return_exact" in values:
        undiscounted = f" (exact return {values['return_exact']:.3f}, best {best:.3f})"
    if math.isnan(gap):
        return f"Optimality gap: none, the policy never ends and nothing is discounted{undiscounted}"
    return f"Optimality gap: {gap:.3f} of V* {yardstick.best_value:.3f}{undiscounted}"
