"""
The best policy of a known table as a policy of Stable-Baselines3: an expert that needs no training. It sees the number
of a state, and draws its actions from one row of a table.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_ext.planning.evaluation import evaluate
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.solve import backup, solve

TIED = 1e-10
"""Values of actions that differ by less than this part of them are equal: rounding errors"""
MOST_EXACT = 1500
"""States up to which values that are smaller than a solver's tolerance are told apart, by exact evaluation"""
MOST_IMPROVEMENTS = 200


class PlannerPolicy(BasePolicy):
    """
    `from_env` solves an environment's own table. ``predict(deterministic=True)`` takes the most probable action of a
    row, the first one where several are; else it draws.

    :param observation_space: Discrete, the numbers of S states
    :param action_space: Discrete
    :param probabilities: [S, A]; None = each action equally likely, until weights are loaded
    :raises ValueError: for other spaces, and for rows that are no probabilities
    """

    observation_space: spaces.Discrete
    action_space: spaces.Discrete

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        probabilities: np.ndarray | None = None,
    ) -> None:
        for name, space in (("observation", observation_space), ("action", action_space)):
            if not isinstance(space, spaces.Discrete):
                raise ValueError(f"{name} space {space} must be Discrete: a planner knows the numbers of the states")
        super().__init__(observation_space, action_space)
        n_states, n_actions = int(self.observation_space.n), int(self.action_space.n)
        if int(self.action_space.start) != 0:
            raise ValueError(f"action space {action_space} must begin at 0: shift the actions in a wrapper")
        table = np.full((n_states, n_actions), 1.0 / n_actions) if probabilities is None else np.asarray(probabilities)
        _check(table, n_states, n_actions)
        self.probabilities = nn.Parameter(th.as_tensor(table, dtype=th.float64), requires_grad=False)
        """[S, A]"""

    @classmethod
    def from_env(cls, env: gym.Env[Any, Any] | str, gamma: float = 0.99, epsilon: float = 0.0) -> PlannerPolicy:
        """
        :param env: an environment that publishes its table ``P`` and shows the number of its state, or its id
        :param gamma: discount to plan with
        :param epsilon: as in `from_mdp`
        :raises ValueError: as `TabularMDP.from_env`, and where the environment shows something else
        """
        made = gym.make(env) if isinstance(env, str) else env
        try:
            return cls.from_mdp(TabularMDP.from_env(made, gamma), made.observation_space, made.action_space, epsilon)
        finally:
            if made is not env:
                made.close()

    @classmethod
    def from_mdp(
        cls,
        mdp: TabularMDP,
        observation_space: spaces.Space[Any] | None = None,
        action_space: spaces.Space[Any] | None = None,
        epsilon: float = 0.0,
    ) -> PlannerPolicy:
        """
        The best policy for the discounted return; of actions that are equally good the first one. A limit of steps is
        not part of the state, so the plan does not know of it. Of more than `MOST_EXACT` states, values that are less
        than 1e-8 of the largest are not told apart.

        :param mdp: to solve
        :param observation_space: of its environment; None = its states are numbered from 0
        :param action_space: of its environment; None = numbered from 0
        :param epsilon: of the actions that are drawn this part is any of the actions: an expert that makes mistakes.
            ``predict(deterministic=True)`` makes none
        :raises ValueError: for spaces of other sizes, for ``epsilon`` out of range, and where the table is not solved
        """
        if not 0.0 <= epsilon <= 1.0:
            raise ValueError(f"epsilon {epsilon} must lie in [0.0, 1.0]")
        observed = spaces.Discrete(mdp.n_states) if observation_space is None else observation_space
        acting = spaces.Discrete(mdp.n_actions) if action_space is None else action_space
        if isinstance(observed, spaces.Discrete) and int(observed.n) != mdp.n_states:
            raise ValueError(
                f"{observed} has {observed.n} observations of {mdp.n_states} states: a planner must see the state"
            )
        greedy: np.ndarray = np.eye(mdp.n_actions)[best_actions(mdp)]
        return cls(observed, acting, (1.0 - epsilon) * greedy + epsilon / mdp.n_actions)

    def action_probabilities(self, obs: PyTorchObs) -> th.Tensor:
        """
        :param obs: numbers of states, [B] or [B, 1] as replay buffers store them
        :return: [B, A]
        :raises ValueError: for a number that is no state's
        """
        assert isinstance(obs, th.Tensor)
        row = obs.reshape(-1).long() - int(self.observation_space.start)
        outside = (row < 0) | (row >= len(self.probabilities))
        if bool(outside.any()):
            raise ValueError(f"observation {obs.reshape(-1)[outside][0]} is none of {self.observation_space}")
        return self.probabilities[row]

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        probabilities = self.action_probabilities(observation)
        if deterministic:
            return probabilities.argmax(dim=1)
        return th.multinomial(probabilities, 1).reshape(-1)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self._predict(obs, deterministic)

    def obs_to_tensor(self, observation: np.ndarray | dict[str, np.ndarray]) -> tuple[PyTorchObs, bool]:
        """
        Adds: numbers of states may come as [n, 1], as replay buffers store them.

        :raises ValueError: for anything that is no number of a state
        """
        numbers: np.ndarray = np.asarray(observation)
        if numbers.ndim == 2 and numbers.shape[1] == 1:
            numbers = numbers[:, 0]
        is_number = numbers.ndim <= 1 and np.issubdtype(numbers.dtype, np.number)
        if not is_number or (numbers != np.floor(numbers)).any():
            raise ValueError(f"observation {observation!r} must be the number of a state, or several: [n] or [n, 1]")
        return super().obs_to_tensor(numbers)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {"observation_space": self.observation_space, "action_space": self.action_space}


def best_actions(mdp: TabularMDP) -> np.ndarray:
    """
    :param mdp: to solve
    :return: [S] int64: of the best actions of a state the first one, whatever the rounding errors. With gamma 1 it is
        the solver's: there an action may be as good as any and never come to the end
    :raises ValueError: where it cannot be solved
    """
    solution = solve(mdp)
    if not solution.converged:
        raise ValueError(
            f"not solved after {solution.n_sweeps} sweeps: values may be wrong by {solution.bound:.2g}; use a smaller "
            f"gamma than {mdp.gamma}"
        )
    if mdp.gamma == 1.0:
        return solution.policy
    actions = _first_best(solution.q)
    for _ in range(MOST_IMPROVEMENTS if mdp.n_states <= MOST_EXACT else 0):
        better = _first_best(backup(mdp, evaluate(mdp, actions)))
        if np.array_equal(better, actions):
            break
        actions = better
    return actions


def _first_best(q: np.ndarray) -> np.ndarray:
    """
    :param q: [S, A]
    :return: [S]
    """
    best = q.max(axis=1, keepdims=True)
    first: np.ndarray = (q >= best - TIED * np.abs(best)).argmax(axis=1)
    return first


def _check(table: np.ndarray, n_states: int, n_actions: int) -> None:
    if table.shape != (n_states, n_actions):
        raise ValueError(f"probabilities {table.shape} must be {(n_states, n_actions)}: states, actions")
    wrong = ~(np.abs(table.sum(axis=1) - 1.0) <= 1e-6) | ~(table >= 0.0).all(axis=1)
    if wrong.any():
        state = int(wrong.argmax())
        raise ValueError(f"probabilities of state {state} are {table[state].tolist()}: they must be >= 0 and sum to 1")
