"""Measures while a model trains how far it is from the best policy. What it learns is the same, bit for bit."""

from __future__ import annotations

import os

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from sb3_ext.planning.gap_file import GapFile, Yardstick
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.measures import Estimate, Exact, Measure, has_discount_of, summary
from sb3_ext.planning.model_states import is_recurrent
from sb3_ext.planning.model_tables import policy_table
from sb3_ext.planning.pomdp import TabularPOMDP
from sb3_ext.planning.solve import solve
from sb3_ext.planning.training_task import Task, task_of
from sb3_ext.planning.views import Observe

CLOSE = 1e-6  # of 1 + the largest value: so near to V* is near enough to measure against


class OptimalityGap(BaseCallback):
    """
    Every so many steps, how far the policy is from the best one: exactly, from the environment's own table, by a linear
    solve in place of episodes. Works with any algorithm of SB3's family with discrete actions, from a yml, too:
    ``callback: sb3_ext.planning.OptimalityGap``.

    - ``lab/gap``: V* - V of the policy, at the start, discounted, acting for ever
    - ``lab/gap_fraction``: the gap over the size of V* at the start. Where V* > 0, 1 is a policy that is worth nothing;
      where V* < 0, 1 is one that pays twice as much as it must
    - ``lab/return_exact``: what `evaluate_policy` estimates: undiscounted, cut at the environment's limit of steps; not
      where there is no limit and an episode can go on for ever. Nothing is subtracted from it: V* answers another
      question
    - ``lab/q_error``: of models with Q-values, the largest distance of one from Q*, in units of the environment's
      reward, over all actions of the states in which an episode can be before it ends
    - ``lab/v_error``: of actor-critics, the largest distance of a value from that of the stochastic policy that
      collects, over the same states
      Neither error is there where ``mdp`` has another discount than the model
    - ``lab/states_wrong``: in how many of these states the policy does not do one of the best actions

    Recurrent models, and tasks in which what is seen is not a function of the state, have no table. They are simulated,
    and the numbers have other names: ``lab/return``, undiscounted and cut at the limit, and its standard error
    ``lab/return_se``; never ``lab/gap``.

    :param mdp: table of the environment, or with what is seen of it; None = what the training environment publishes,
        with the discount of the model
    :param every: env steps from one measurement to the next, counted over all environments. The first is at the start
        of training, the last at its end: of what the last update made, perhaps at the same step as the one before
    :param observe: numbers of states [n] -> what the environment gives in them; None = the number, or what the
        environment says that it shows
    :param deterministic: the policy as `evaluate_policy` follows it, else with its own randomness
    :param n_episodes: of an estimate
    :param path: of a file that gets each measurement, see `sb3_ext.planning.read_gap`; one that is there is gone on
        with, up to the step that training goes on from. `sb3-ext train` says ``optimality.csv`` in the run's folder
    :param verbose: 1 = print a line at the end
    :raises ValueError: for numbers out of range; and at the start of training, before any step, for environments
        without a table, and for models of other ones
    """

    def __init__(
        self,
        mdp: TabularMDP | TabularPOMDP | None = None,
        every: int = 1000,
        observe: Observe | None = None,
        *,
        deterministic: bool = True,
        n_episodes: int = 2000,
        path: str | os.PathLike[str] | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        numbers: list[tuple[str, object, int]] = [("every", every, 1), ("n_episodes", n_episodes, 2)]
        for name, value, least in numbers:
            # A yml's 1e3 is a text, its 1000.0 a number of steps.
            if not (isinstance(value, int | float | np.integer) and float(value).is_integer() and value >= least):
                raise ValueError(f"{name} {value!r} must be a whole number, at least {least}")
        if not isinstance(mdp, TabularMDP | TabularPOMDP | None):
            raise ValueError(f"mdp {mdp!r} must be a TabularMDP or a TabularPOMDP: TabularMDP.from_env(env, gamma)")
        self.process, self.every, self.observe = mdp, int(every), observe
        self.deterministic, self.n_episodes, self.path = deterministic, int(n_episodes), path
        self.history: list[dict[str, float]] = []
        """each measurement: ``steps``, and what was logged, without "lab/" """
        self.yardstick: Yardstick | None = None
        """what is measured against; None before the first training"""
        self._said: set[str] = set()
        self._is_measuring = False
        self._next = 0
        self._file: GapFile | None = None

    def _init_callback(self) -> None:
        """Before the first step: what cannot be measured is said now."""
        self._measure = self._measure_of(self.model)
        self.yardstick = self._measure.yardstick

    def _measure_of(self, model: BaseAlgorithm) -> Measure:
        task = self._task(model).with_limit()
        best = solve(task.mdp)
        if not best.bound <= CLOSE * (1.0 + float(np.abs(best.v).max())):
            raise ValueError(f"the best policy was not found: after {best.n_sweeps} sweeps the bound is {best.bound:g}")
        if is_recurrent(model) or task.is_hidden:
            return Estimate(task.process, best, task.observe, self.deterministic, self.n_episodes)
        exact = Exact(task.mdp, best, task.seen, self.deterministic)
        policy_table(model, task.mdp, task.seen, self.deterministic)  # refuses models of other environments
        return exact

    def _task(self, model: BaseAlgorithm) -> Task:
        """:return: as given, or as the environment says"""
        if self.process is not None:
            return Task(self.process, self.observe)
        gamma = getattr(model, "gamma", None)
        if gamma is None:
            raise ValueError(
                f"{type(model).__name__} has no discount: give OptimalityGap the table with one, "
                "mdp=TabularMDP.from_env(env, gamma)"
            )
        task = task_of(self.training_env, float(gamma))
        return task if self.observe is None else task._replace(observe=self.observe)

    def _on_training_start(self) -> None:
        n = self.model.num_timesteps
        self.history = [row for row in self.history if 0 < n >= row["steps"]]
        assert self.yardstick is not None
        self._file = None if self.path is None else GapFile(self.path, self.yardstick)
        if self._file is not None:
            self.history = self._file.begin(n)
        self._said.clear()
        if self.yardstick.best_return is None:
            self._say_once("no lab/return_exact: without a limit of steps an episode can go on for ever")
        if isinstance(self._measure, Exact) and not has_discount_of(self.model, self._measure.mdp):
            self._say_once("no lab/q_error and lab/v_error: the table has another discount than the model")
        self._is_measuring = True
        self._measure_now()

    def _on_step(self) -> bool:
        if self.model.num_timesteps >= self._next:
            self._measure_now()
        return True

    def _on_training_end(self) -> None:
        if not self._is_measuring:  # rl-zoo3 calls it once more, also where training could not begin
            return
        self._is_measuring = False
        self._measure_now()
        self.logger.dump(self.model.num_timesteps)
        if self.verbose > 0:
            print(self.summary())

    def _measure_now(self) -> None:
        """Nothing is written twice: training goes on from where it ended."""
        n = self.model.num_timesteps
        self._next = (n // self.every + 1) * self.every  # the same steps where training was interrupted
        found = self._measure.of(self.model)
        if not found.keys() & {"gap", "return"}:
            self._say_once("no lab/gap: this policy never ends, and nothing is discounted")
        row = {"steps": float(n), **found}
        if row not in self.history[-1:]:
            self.history.append(row)
            if self._file is not None:
                self._file.add(row)
        for name, value in found.items():
            self.logger.record(f"lab/{name}", value)

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self.logger.info(line)

    def summary(self) -> str:
        """:return: a line about the last measurement"""
        assert self.yardstick is not None and self.history
        return summary(self.yardstick, self.history[-1])
