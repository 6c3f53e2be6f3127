"""
Dyna-Q: Q-learning that also learns from steps it imagines. They are drawn from what followed the pairs of a state and
an action that were tried; reward and end come with their outcome.

After each step of the environments: learn from the newest transitions -> count them -> draw k for each environment, and
learn from all of these in one call. Draws come from a generator of their own, so that what is real is the same with and
without imagination.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_ext.ops.exploration import ExplorationLike
from sb3_ext.ops.tabular import bootstrapped
from sb3_ext.tabular.count_model import CountModel
from sb3_ext.tabular.policy import QTablePolicy
from sb3_ext.tabular.q_learning import QLearning, Steps


class PlanningTable(QLearning):
    """
    Base of the tables that plan; `DynaQ` documents the parameters.

    :raises ValueError: for planning steps that are no whole number, at least 0
    """

    seen: CountModel
    """what followed what, of all training so far"""
    planning_steps: int
    _planning_seed: int | None = None

    def _setup_model(self) -> None:
        super()._setup_model()
        self.seen = self._make_model(self.policy.states.n_states, int(self.action_space.n))

    def _make_model(self, n_states: int, n_actions: int) -> CountModel:
        return CountModel(n_states, n_actions)

    def _check_numbers(self) -> None:
        super()._check_numbers()
        n: Any = self.planning_steps  # Any: of a yml
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise ValueError(f"planning_steps {n!r} must be a whole number, at least 0")

    def set_random_seed(self, seed: int | None = None) -> None:
        """:param seed: of all generators; None = the one of planning stays, if it has one"""
        super().set_random_seed(seed)
        if seed is not None or self._planning_seed is None:
            entropy = np.random.SeedSequence().entropy if seed is None else seed
            assert isinstance(entropy, int)
            self._planning_seed = entropy

    def _learn(self, steps: Steps) -> None:
        """Adds: planning, on what was seen with these steps."""
        super()._learn(steps)
        self.seen.add(steps.state, steps.action, steps.reward, steps.next_state, steps.terminated)
        if self.planning_steps > 0:
            self._plan(self.planning_steps * len(steps.state))

    @abstractmethod
    def _plan(self, k: int) -> None:
        """:param k: how many pairs to back up"""

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, variables = super()._get_torch_save_params()
        return [*state_dicts, "seen"], variables


class DynaQ(PlanningTable):
    """
    Dyna-Q. Paper: Sutton, "Integrated architectures for learning, planning, and reacting based on approximating dynamic
    programming", ICML 1990; Sutton & Barto, "Reinforcement Learning", 2nd edition, section 8.2. With 0 planning steps
    it is Q-learning, bit for bit.

    Different from there: an outcome is drawn as often as it was seen, where the book remembers the last one, so the
    environment may be a random one; and the k pairs of a step are backed up together, from the same table.

    What was seen is in ``model.seen``, and in its files.

    :param policy: "TablePolicy" or a subclass of `QTablePolicy`
    :param env: as for `QLearning`
    :param learning_rate: as for `QLearning`; of real and of imagined steps
    :param visit_power: as for `QLearning`. Imagined steps are as long as the next real one, and are not counted
    :param gamma: discount per step
    :param exploration: as for `QLearning`
    :param initial_value: of each cell
    :param planning_steps: k, imagined steps for each real one of each environment
    :param stats_window_size: episodes that logged means are over
    :param tensorboard_log: folder, None = no log
    :param policy_kwargs: more keywords of the policy
    :param verbose: 0 = nothing, 1 = what is used, 2 = more
    :param seed: of all random generators
    :param device: SB3's; a table stays in the memory of the host
    :param _init_setup_model: make the table now
    """

    def __init__(
        self,
        policy: str | type[QTablePolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1.0,
        visit_power: float = 0.6,
        gamma: float = 0.99,
        exploration: ExplorationLike | None = None,
        initial_value: float = 0.0,
        planning_steps: int = 5,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "cpu",
        _init_setup_model: bool = True,
    ) -> None:
        self.planning_steps = planning_steps
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            visit_power=visit_power,
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

    def _plan(self, k: int) -> None:
        assert self._planning_seed is not None
        drawn = self.seen.draw(k, np.random.default_rng((self._planning_seed, self._n_updates)))
        next_value = self.policy.values(drawn.next_state).max(axis=1)
        targets = bootstrapped(drawn.reward, drawn.terminated, next_value, self.gamma)
        cells = drawn.state * int(self.action_space.n) + drawn.action
        self._move(cells, targets)
        np.subtract.at(self.policy.cells.visits, cells, 1)  # what is imagined is no visit
