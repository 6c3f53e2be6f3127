"""
DAgger: the expert labels the states that the learner comes to (Ross, Gordon and Bagnell, AISTATS 2011, algorithm 3.1).

Each round drives, labels and fits:

    mixture of expert and learner drives n_steps in each environment -> the expert labels every state that was seen
    -> the labels join all earlier ones -> the policy is fitted to all of them

Labels are the expert's deterministic actions, in every state, whoever drives. What is counted is labels: a step of an
environment is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext import nested
from sb3_ext.clock import ClampedClockMixin
from sb3_ext.demonstrations import Demonstrations
from sb3_ext.demonstrations.data import Observations
from sb3_ext.demonstrations.record import env_id_of, executed
from sb3_ext.imitation.behaviour_cloning import fit, refuse_recurrent, take_in
from sb3_ext.imitation.doors import check_starts
from sb3_ext.imitation.driven import disagreement, own_rewards, raw_seen, true_ends
from sb3_ext.imitation.expert import Source, channels_first, check_source, check_spaces, kept_transitions, read_expert
from sb3_ext.imitation.label_set import LabelSet
from sb3_ext.imitation.label_table import LabelTablePolicy
from sb3_ext.imitation.labels import Expert, Labeller, check_expert, labeller_of
from sb3_ext.imitation.rollouts import as_policy_acts
from sb3_ext.remote import refuse_source
from sb3_ext.saving import AtomicSaveMixin
from sb3_ext.vec_envs import keep_final_observations

SelfDAgger = TypeVar("SelfDAgger", bound="DAgger")


class DAgger(ClampedClockMixin, AtomicSaveMixin, OnPolicyAlgorithm):
    """
    Imitation of an expert that can be asked.

        DAgger("MlpPolicy", env, expert=PPO.load("expert"), n_steps=100).learn(2_000)   # 2 000 labels

    The labels are saved with the model, the expert is not: `predict` needs none, and to go on it is given again,
    ``DAgger.load(path, env=env, expert=expert)``. `rollout/ep_rew_mean` is the mixture's.

    :param policy: of an actor-critic, whose values stay untrained; or ``"TablePolicy"`` for Discrete observations and
        actions, which counts labels
    :param env: to learn in
    :param expert: who is asked, see `Expert`; needed by `learn` only
    :param demonstrations: of the expert, see `Source`, to begin with: they are fitted before the first step, and are
        the first round. A zip that holds labels has begun already
    :param beta: the probability that the expert drives in round i is ``beta ** (i - 1)``, drawn for every step of every
        environment: the first round is the expert's, and with 0, the paper's choice without a parameter, no other.
        Or a function of the remaining progress, from 1 to 0, that gives the probability
    :param n_steps: of each environment in a round
    :param n_epochs: passes over all labels at the end of a round
    :param batch_size: labels in an update
    :param learning_rate: number or schedule
    :param ent_coef: weight of the policy's entropy, which keeps it from being sure of a few labels
    :param max_grad_norm: of an update
    :param gamma: unused here; what measures a policy against the best one discounts by it
    :raises ValueError: for values out of range, an expert or demonstrations of another task, a recurrent policy
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": ActorCriticPolicy,
        "CnnPolicy": ActorCriticCnnPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
        "TablePolicy": LabelTablePolicy,
    }

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        expert: Expert | None = None,
        demonstrations: Source | None = None,
        *,
        beta: float | Callable[[float], float] = 0.0,
        learning_rate: float | Schedule = 3e-3,
        n_steps: int = 100,
        n_epochs: int = 10,
        batch_size: int = 64,
        ent_coef: float = 1e-3,
        max_grad_norm: float = 0.5,
        gamma: float = 0.99,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        for name, count in (("n_steps", n_steps), ("n_epochs", n_epochs), ("batch_size", batch_size)):
            if count < 1:
                raise ValueError(f"{name} {count} must be at least 1")
        if not callable(beta) and not 0.0 <= beta <= 1.0:
            raise ValueError(f"beta {beta} must lie in [0, 1]: the probability that the expert drives, or its decay")
        if demonstrations is not None:
            check_source(demonstrations)
        self.expert = expert
        self.beta = beta
        self.n_epochs, self.batch_size = n_epochs, batch_size
        self.labels: LabelSet | None = None
        self.n_rounds = 0
        self._n_updates = 0
        self._given: Source | None = demonstrations
        super().__init__(
            policy=policy,  # type: ignore[arg-type]  # a table is no actor-critic
            env=env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=1.0,
            ent_coef=ent_coef,
            vf_coef=0.0,
            max_grad_norm=max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )

    def _setup_model(self) -> None:
        refuse_source(self.env, type(self).__name__)
        check_starts(self.observation_space, self.action_space)
        super()._setup_model()
        refuse_recurrent(self.policy, type(self).__name__)
        self._labeller: Labeller | None = None
        self._rng = np.random.default_rng(self.seed)
        if self.expert is not None:
            check_expert(self.expert, self.observation_space, self.action_space)
        # SB3's `load` makes attributes of keywords. What a zip holds has begun with them already.
        given = vars(self).pop("demonstrations", self._given)
        self._given = None
        if vars(self).get("labels") is None:
            first = None if given is None else read_expert(given, self.observation_space, self.action_space)
            if first is not None:
                check_spaces(first, self.observation_space, self.action_space)
            env_id = None if self.env is None else env_id_of(self.env)
            env_id = first.env_id if first is not None and env_id is None else env_id
            self.labels = LabelSet(self.observation_space, self.action_space, self.n_envs, first, env_id)
            self.n_rounds = 0

    @property
    def demonstrations(self) -> Demonstrations | None:
        """
        What the policy is fitted to: episodes whose actions are the expert's labels, beside those that were executed.
        They can be saved, checked, and given to others that imitate. None where there is nothing yet.
        """
        return None if self.labels is None else self.labels.demonstrations()

    # ------------------------------------------------------------------ learning

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        """
        Adds: demonstrations that were given are fitted before the first step.

        :raises ValueError: without an expert
        """
        assert self.env is not None and self.labels is not None
        refuse_source(self.env, type(self).__name__)
        if self.expert is None:
            name = type(self).__name__
            raise ValueError(
                f"{name} asks an expert and has none: {name}(..., expert=...), or after saving {name}.load(path, "
                "env=env, expert=...)"
            )
        keep_final_observations(self.env)
        if self._labeller is None or self._labeller.expert is not self.expert or self._labeller.env is not self.env:
            check_expert(self.expert, self.observation_space, self.action_space)
            self._labeller = labeller_of(self.expert, self.env)
        if reset_num_timesteps or self._last_obs is None:
            self.labels.cut(self.n_envs)
        found = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        if self.n_rounds == 0 and self.labels.has_given:
            normalizer = self.get_vec_normalize_env()
            if normalizer is not None and normalizer.norm_obs:
                take_in(normalizer, self._observations_and_labels()[0])
            self.train()
        return found

    def learn(
        self: SelfDAgger,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "DAgger",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfDAgger:
        """
        Parameters as in SB3; of ``total_timesteps`` each is a label.

        :raises ValueError: without an expert, or where it cannot label states of the environment
        """
        try:
            return super().learn(
                total_timesteps,
                callback=callback,
                log_interval=log_interval,
                tb_log_name=tb_log_name,
                reset_num_timesteps=reset_num_timesteps,
                progress_bar=progress_bar,
            )
        finally:
            if self._labeller is not None:
                self._labeller.close()

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """
        In place of SB3's: there are no values, log-probabilities and advantages here, and the rollout buffer stays
        empty. Parameters as there.

        :return: whether no callback has ended training
        """
        assert self._last_obs is not None and self.labels is not None and self._labeller is not None
        self.policy.set_training_mode(False)
        beta = self._probability_of_expert()
        seen = raw_seen(self, self._last_obs)
        states: list[Observations] = []
        told: list[np.ndarray] = []
        callback.on_rollout_start()
        is_going_on = True
        while len(told) < n_rollout_steps and is_going_on:
            assert self._last_episode_starts is not None
            labels = self._labeller(seen, self._last_episode_starts)
            states.append(nested.map(np.copy, self._last_obs))
            told.append(labels)
            actions = self._driven(labels, beta)
            new_obs: Any  # no tuple, which SB3 has no policy for
            new_obs, rewards, dones, infos = env.step(actions.copy())
            self.num_timesteps += env.num_envs
            next_seen = raw_seen(self, new_obs)
            behind, terminated = true_ends(self, next_seen, dones, infos)
            self.labels.add(seen, labels, actions, own_rewards(self, rewards), behind, dones, terminated)
            # Before the callbacks: one that ends training loses no step.
            self._last_obs, self._last_episode_starts, seen = new_obs, dones, next_seen
            callback.update_locals(locals())
            is_going_on = callback.on_step()
            self._update_info_buffer(infos, dones)
        self.logger.record("dagger/beta", beta)
        self.logger.record("dagger/labels", len(self.labels))
        self.logger.record("dagger/disagreement", self._disagreement(nested.cat(states), np.concatenate(told)))
        if is_going_on:
            callback.update_locals(locals())
            callback.on_rollout_end()
        return is_going_on

    def train(self) -> None:
        """Fit the policy to all labels so far; weights and optimizer go on from where they were."""
        observations, labels = self._observations_and_labels()
        normalizer = self.get_vec_normalize_env()
        if normalizer is not None and normalizer.norm_obs:
            observations = normalizer.normalize_obs(observations)
        policy: BasePolicy = self.policy  # SB3 knows actor-critics only
        if isinstance(policy, LabelTablePolicy):
            assert isinstance(observations, np.ndarray)
            loss = policy.count(observations, labels)
            self._n_updates += 1
        else:
            self._update_learning_rate(self.policy.optimizer)
            acts = th.as_tensor(as_policy_acts(self, labels), device=self.device)
            settings = (self.n_epochs, self.batch_size, self.ent_coef, self.max_grad_norm, self._rng)
            loss = fit(self.policy, self.policy.optimizer, observations, acts, *settings)[-1]
            self._n_updates += self.n_epochs * math.ceil(len(labels) / self.batch_size)
        self.n_rounds += 1
        self.logger.record("train/loss", loss)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    # ------------------------------------------------------------------ a round

    def _probability_of_expert(self) -> float:
        if not callable(self.beta):
            return float(self.beta**self.n_rounds)
        beta = float(self.beta(self._current_progress_remaining))
        if not 0.0 <= beta <= 1.0:
            raise ValueError(f"beta gave {beta} for progress {self._current_progress_remaining}; must lie in [0, 1]")
        return beta

    def _driven(self, labels: np.ndarray, beta: float) -> np.ndarray:
        """:return: [E, *shape] what is executed: the expert's action with probability beta, else the learner's own"""
        is_expert = self._rng.random(len(labels)) < beta
        if is_expert.all():
            return labels
        assert self._last_obs is not None
        own = executed(self.predict(self._last_obs)[0], self.action_space, len(labels))
        own[is_expert] = labels[is_expert]
        return own

    def _observations_and_labels(self) -> tuple[Observations, np.ndarray]:
        """:return: [N, *shape] raw and [N, *shape] of all that is kept"""
        demonstrations = self.demonstrations
        assert demonstrations is not None
        steps = kept_transitions(demonstrations, absorbing=False)
        return channels_first(steps.observations, self.observation_space), steps.actions

    def _disagreement(self, observations: Observations, labels: np.ndarray) -> float:
        """
        :param observations: [N, *shape] as the policy sees them
        :param labels: [N, *shape] in these states
        :return: how far from them the learner acts, at its most certain
        """
        own = executed(self.predict(observations, deterministic=True)[0], self.action_space, len(labels))
        return disagreement(own, labels, self.action_space)

    # ------------------------------------------------------------------ files

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "expert", "_labeller", "_rng", "_given"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        policy: BasePolicy = self.policy
        return (["policy"], []) if isinstance(policy, LabelTablePolicy) else super()._get_torch_save_params()
