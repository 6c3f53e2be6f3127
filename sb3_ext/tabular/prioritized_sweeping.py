"""
Prioritized sweeping: backups over all that was seen, and first where they change most.

A pair's priority is by how much its backup would change it now, where that is more than the threshold, and else 0. That
holds for every pair after every step, because what a change of a state's value does to the pairs that lead there is
looked at when it changes:

```
step -> count -> back up its pair -> V(s) changed? -> look at all pairs that lead to s -> back up the k highest ...
```

So the queue lives as long as the model does, and news travels on while the agent is elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.type_aliases import GymEnv

from sb3_ext.ops.exploration import ExplorationLike
from sb3_ext.ops.tabular import expected_backup
from sb3_ext.tabular.count_model import CountModel
from sb3_ext.tabular.dyna import PlanningTable
from sb3_ext.tabular.policy import QTablePolicy
from sb3_ext.tabular.q_learning import Steps


class QueuedModel(CountModel):
    """Adds: the priority of each pair."""

    priority: np.ndarray
    """[>= n_pairs] float64, 0 = not queued"""

    def _clear(self, n_rows: int, width: int) -> None:
        super()._clear(n_rows, width)
        self.priority = np.zeros(n_rows)

    def _grow(self, n_rows: int, width: int) -> None:
        self.priority = np.pad(self.priority, (0, n_rows - len(self.priority)))
        super()._grow(n_rows, width)

    def highest(self, k: int) -> np.ndarray:
        """
        :param k: at least 1
        :return: [<= k] numbers of queued pairs, highest first; of equal ones those seen first
        """
        queued = np.flatnonzero(self.priority)
        if len(queued) > k:
            least = np.partition(self.priority[queued], -k)[-k]
            queued = queued[self.priority[queued] >= least]  # ties at the end are left to the order below
        return queued[np.argsort(-self.priority[queued], kind="stable")[:k]]

    def state_dict(self) -> dict[str, th.Tensor]:
        return {**super().state_dict(), "priority": th.from_numpy(self.priority[: self.n_pairs].copy())}

    def load_state_dict(self, state: Mapping[str, th.Tensor], strict: bool = True) -> None:
        priority = state.get("priority")
        if priority is None or priority.dtype != th.float64 or priority.shape != state.get("row", priority[:0]).shape:
            raise ValueError("each pair must have a priority of torch.float64")
        if not (th.isfinite(priority) & (priority >= 0.0)).all():
            raise ValueError("priorities must be finite numbers, at least 0")
        super().load_state_dict({name: x for name, x in state.items() if name != "priority"}, strict)
        self.priority[: self.n_pairs] = priority.cpu().numpy()


class PrioritizedSweeping(PlanningTable):
    """
    Prioritized sweeping. Paper: Moore & Atkeson, "Prioritized sweeping: reinforcement learning with less data and less
    time", Machine Learning 1993; Sutton & Barto, "Reinforcement Learning", 2nd edition, section 8.4.

    A backup sets a cell to its expected target under the model of what was seen, as often as it was seen: it has no
    step size, and slipping environments do no harm. The pairs of a step are backed up first, then the highest ones of
    the queue, together. Where nothing is above the threshold there is nothing to do.

    What was seen, and the queue, are in ``model.seen``, and in its files.

    :param policy: "TablePolicy" or a subclass of `QTablePolicy`
    :param env: as for `QLearning`
    :param gamma: discount per step
    :param exploration: as for `QLearning`
    :param initial_value: of each cell, until it is tried
    :param planning_steps: k, pairs of the queue that are backed up for each step of each environment
    :param threshold: changes that are not larger are not queued, in units of the values; 0 = none is too small, and the
        unit of the reward does not matter. The highest come first in any case: it saves time, where values need not be
        exact
    :param stats_window_size: episodes that logged means are over
    :param tensorboard_log: folder, None = no log
    :param policy_kwargs: more keywords of the policy
    :param verbose: 0 = nothing, 1 = what is used, 2 = more
    :param seed: of all random generators
    :param device: SB3's; a table stays in the memory of the host
    :param _init_setup_model: make the table now
    """

    seen: QueuedModel

    def __init__(
        self,
        policy: str | type[QTablePolicy],
        env: GymEnv | str,
        gamma: float = 0.99,
        exploration: ExplorationLike | None = None,
        initial_value: float = 0.0,
        planning_steps: int = 5,
        threshold: float = 0.0,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "cpu",
        _init_setup_model: bool = True,
    ) -> None:
        self.planning_steps, self.threshold = planning_steps, threshold
        super().__init__(
            policy,
            env,
            learning_rate=1.0,
            visit_power=0.0,
            gamma=gamma,
            exploration=exploration,
            initial_value=initial_value,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )

    def _make_model(self, n_states: int, n_actions: int) -> QueuedModel:
        return QueuedModel(n_states, n_actions)

    def _check_numbers(self) -> None:
        super()._check_numbers()
        if not 0.0 <= self.threshold < math.inf:
            raise ValueError(f"threshold {self.threshold} must be a finite number, at least 0")

    def _learn(self, steps: Steps) -> None:
        """In place of a step towards targets: backups, of the pairs that were tried and then of those in the queue."""
        pairs = self.seen.add(steps.state, steps.action, steps.reward, steps.next_state, steps.terminated)
        np.add.at(self.policy.cells.visits, self.seen.rows(pairs), 1)
        self._back_up(np.unique(pairs))
        if self.planning_steps > 0:
            self._plan(self.planning_steps * len(pairs))

    def _plan(self, k: int) -> None:
        highest = self.seen.highest(k)
        if len(highest) > 0:
            self._back_up(highest)

    def _back_up(self, pairs: np.ndarray) -> None:
        """:param pairs: [n] numbers, each once"""
        table, (states, _) = self.policy.cells, self.seen.pair(pairs)
        targets, squares = self._expected(pairs)
        cells, before = self.seen.rows(pairs), self.policy.values(states).max(axis=1)
        table.q[cells], table.second_moment[cells] = targets, squares
        self.seen.priority[pairs] = 0.0
        leading = self.seen.leading_to(states[self.policy.values(states).max(axis=1) != before])
        if len(leading) > 0:
            change = np.abs(self._expected(leading)[0] - table.q[self.seen.rows(leading)])
            self.seen.priority[leading] = np.where(change > self.threshold, change, 0.0)

    def _expected(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """:return: [n] expected targets, [n] expected squares of targets"""
        found = self.seen.outcomes(pairs)
        next_value = self.policy.values(found.next_state).max(axis=-1)
        return expected_backup(found.probability, found.reward, found.terminated, next_value, self.gamma)
