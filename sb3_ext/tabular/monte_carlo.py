"""Monte Carlo control in a table, on SB3's on-policy loop, with importance sampling where asked for."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_ext.ops.exploration import ExplorationLike, KnownExploration
from sb3_ext.ops.monte_carlo import discounted_returns, first_visits, weights_behind
from sb3_ext.ops.tabular import move_towards
from sb3_ext.planning.evaluation import policy_probabilities
from sb3_ext.tabular.observations import StateNumbers
from sb3_ext.tabular.rollouts import RolloutTablePolicy
from sb3_ext.tabular.traces import TraceAlgorithm

IMPORTANCE = ("ordinary", "weighted")


class EpisodeSteps(NamedTuple):
    """N steps of one environment, or of whole episodes one behind another."""

    cell: np.ndarray
    """[N] int64"""
    reward: np.ndarray
    """[N] float64; at a time limit with what its last observation is worth, discounted"""
    chance: np.ndarray
    """[N] float64, how probable the action was to whoever acted"""
    is_last: np.ndarray
    """[N] bool, of its episode"""


class Episodes:
    """
    Cuts what environments do into whole episodes.

    :param n_envs: E
    """

    def __init__(self, n_envs: int) -> None:
        self._begun: list[list[EpisodeSteps]] = [[] for _ in range(n_envs)]

    def end(self, steps: EpisodeSteps) -> EpisodeSteps:
        """
        :param steps: the next ones, each field [T, E]
        :return: [N] those of all episodes that have ended with them; the others are kept until theirs do
        """
        ended = [EpisodeSteps(*(x[:0, 0] for x in steps))]
        for lane, begun in enumerate(self._begun):
            of_lane = EpisodeSteps(*(x[:, lane] for x in steps))
            ends = np.flatnonzero(of_lane.is_last)
            n_ended = int(ends[-1]) + 1 if len(ends) else 0
            if n_ended:
                ended += [*begun, EpisodeSteps(*(x[:n_ended] for x in of_lane))]
                begun.clear()
            if n_ended < len(of_lane.is_last):
                begun.append(EpisodeSteps(*(x[n_ended:] for x in of_lane)))
        return EpisodeSteps(*(np.concatenate(parts) for parts in zip(*ended, strict=True)))


class MonteCarloTablePolicy(RolloutTablePolicy):
    """Adds the weights that its values have. Parameters as in `QTablePolicy`."""

    weight: th.Tensor
    """[S, A] float64, mean importance weight of the returns of each cell; 0 where ``importance`` is not "weighted" """
    never_negative: ClassVar[tuple[str, ...]] = (*RolloutTablePolicy.never_negative, "weight")

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: those of QTablePolicy
        super().__init__(*args, **kwargs)
        self.register_buffer("weight", th.zeros_like(self.q))


class MonteCarlo(TraceAlgorithm):
    """
    Monte Carlo control (Sutton & Barto, "Reinforcement Learning", 2nd ed., chapter 5): values are means of returns of
    whole episodes, and what explores is soft in them. Without ``importance`` it learns what the policy that explores
    is worth (on-policy, section 5.4); with it what the greedy policy is worth, or a ``target`` that is given, while
    another one explores (off-policy, sections 5.5 to 5.7).

    Nothing is learned of an episode before it ends. One that a rollout cuts goes on in the next, also over two calls
    of `learn` without a reset. One that a time limit cuts is not left out, for then only short episodes would count:
    its return goes on with what the last observation is worth to the learned policy by the table of that time.

    With importance sampling a return weighs the ratios of the actions *behind* the one that it is a return of. The
    greedy policy is the first best action; its weights are 0 before the last action that is not greedy, so that only
    the ends of episodes teach, and slowly where much is explored (section 5.7).

    :param policy: "TablePolicy" or a subclass of `MonteCarloTablePolicy`
    :param env: environment, or its id, with Discrete actions and observations that are Discrete, MultiDiscrete or a
        Tuple of Discrete ones
    :param learning_rate: in [0, 1], a number or a function of the remaining progress
    :param visit_power: the n-th return of a cell moves it by ``learning_rate * n ** -visit_power``: 1 = to the mean of
        all returns, where the learning rate is 1; less forgets what worse policies got
    :param n_steps: per environment, that a rollout has; what has ended in it is learned from together
    :param gamma: discount per step
    :param first_visit: count a cell once per episode, by its first visit; False = by every visit
    :param importance: None, or how returns are weighted: "ordinary" = their weighted sum over their number (unbiased,
        of a large variance; equation 5.5), "weighted" = over the sum of their weights (biased by less the more there
        are, of a smaller variance; equation 5.6)
    :param target: with ``importance``: the policy that is learned of, [S, A] probabilities or [S] actions; None = the
        greedy one
    :param exploration: as in `QLearning`; None = epsilon-greedy, from 1 to 0.1 over the whole training
    :param initial_value: of each cell; with "weighted" until the first return that has a weight
    :param stats_window_size: episodes that logged means are over
    :param tensorboard_log: folder, None = no log
    :param policy_kwargs: more keywords of the policy
    :param verbose: 0 = nothing, 1 = what is used, 2 = more
    :param seed: of all random generators
    :param device: SB3's; a table stays in the memory of the host
    :param _init_setup_model: make the table now
    """

    policy: MonteCarloTablePolicy
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"TablePolicy": MonteCarloTablePolicy}
    policy_base = MonteCarloTablePolicy

    def __init__(
        self,
        policy: str | type[MonteCarloTablePolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1.0,
        visit_power: float = 0.8,
        n_steps: int = 8,
        gamma: float = 0.99,
        first_visit: bool = True,
        importance: Literal["ordinary", "weighted"] | None = None,
        target: np.ndarray | None = None,
        exploration: ExplorationLike | None = None,
        initial_value: float = 0.0,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "cpu",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate,
            visit_power,
            n_steps,
            gamma,
            1.0,
            exploration,
            initial_value,
            stats_window_size,
            tensorboard_log,
            policy_kwargs,
            verbose,
            seed,
        )
        self.first_visit = first_visit
        self.importance = importance
        self.target = target
        self._episodes: Episodes | None = None
        if _init_setup_model:
            self._setup_model()

    def _check_settings(self) -> None:
        """Adds: importance sampling, which needs two policies that are known."""
        super()._check_settings()
        if self.importance is None:
            if self.target is not None:
                raise ValueError('target needs importance="weighted" or "ordinary": without it the policy that acts is')
            return
        if self.importance not in IMPORTANCE:
            raise ValueError(f"importance {self.importance!r} must be None or one of {', '.join(IMPORTANCE)}")
        exploration = self._told_exploration()
        if not isinstance(exploration, KnownExploration):
            raise ValueError(
                f"importance needs the probabilities of what explores, and {type(exploration).__name__} does not tell "
                "them: use EpsilonGreedy or Boltzmann"
            )
        if self.target is not None:
            n_states = StateNumbers(self.observation_space, type(self).__name__).n_states
            self.target = policy_probabilities(self.target, n_states, int(self.action_space.n))

    def _forget_episodes(self) -> None:
        self._episodes = None

    def chances(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """:return: [E] probabilities of the actions, where they are weighed by them"""
        if self.importance is None:
            return super().chances(states, actions)
        chances: np.ndarray = self.probabilities(states)[np.arange(len(states)), actions]
        return chances

    def worth(self, states: np.ndarray) -> np.ndarray:
        """:return: [n] float64, expected under the policy that is learned of"""
        if self.importance is None:
            return super().worth(states)
        q = self.policy.values(states)
        worth: np.ndarray = q.max(axis=1) if self.target is None else (self.target[states] * q).sum(axis=1)
        return worth

    def train(self) -> None:
        """Learn from the episodes that ended in the rollout."""
        self._n_updates += 1
        assert self._last_episode_starts is not None
        if self._episodes is None:
            self._episodes = Episodes(self.n_envs)
        buffer = self.rollout_buffer
        is_last = np.concatenate([buffer.episode_starts[1:], self._last_episode_starts[None]]) > 0  # [T, E]
        steps = EpisodeSteps(self._rollout_cells(), buffer.rewards, np.exp(buffer.log_probs), is_last)
        self._learn(self._episodes.end(steps))

    def _learn(self, steps: EpisodeSteps) -> None:
        """:param steps: of whole episodes"""
        returns = discounted_returns(steps.reward, steps.is_last, self.gamma)
        counts = first_visits(steps.cell, steps.is_last) if self.first_visit else np.ones(len(returns), bool)
        if self.importance is None:
            self._move(steps.cell[counts], returns[counts])
            return
        weights = weights_behind(self._target_chances(steps.cell) / steps.chance, steps.is_last)
        if self.importance == "ordinary":
            self._move(steps.cell[counts], (weights * returns)[counts])
            return
        counts &= weights > 0.0  # where the box of section 5.7 goes to the next episode
        self._move_weighted(steps.cell[counts], returns[counts], weights[counts])

    def _target_chances(self, cells: np.ndarray) -> np.ndarray:
        """:return: [N] float64, how probable the actions are to the policy that is learned of"""
        states, actions = np.divmod(cells, int(self.action_space.n))
        if self.target is None:
            is_greedy: np.ndarray = self.policy.values(states).argmax(axis=1) == actions
            return is_greedy.astype(np.float64)
        chances: np.ndarray = self.target[states, actions]
        return chances

    def _move_weighted(self, cells: np.ndarray, returns: np.ndarray, weights: np.ndarray) -> None:
        """
        A weighted mean is the mean of ``W G`` over the mean of ``W``; both are moved by the steps of all values. With
        those of a sample mean it is equations 5.7 and 5.8 of Sutton & Barto; other steps forget, and weigh as well.

        :param cells: [n]
        :param returns: [n]
        :param weights: [n], positive
        """
        q, visits, _ = self.policy.cells
        mean_weights = self.policy.weight.numpy().reshape(-1)
        moved, place = np.unique(cells, return_inverse=True)
        of_weights, of_products = mean_weights[moved], q[moved] * mean_weights[moved]
        n = visits[moved]
        rate = self._rate()
        move_towards(of_products, n.copy(), place, weights * returns, rate, self.visit_power)
        move_towards(of_weights, n, place, weights, rate, self.visit_power)
        mean_weights[moved], visits[moved] = of_weights, n
        is_known = of_weights > 0.0  # not so after steps of learning rate 0 alone
        q[moved[is_known]] = of_products[is_known] / of_weights[is_known]
