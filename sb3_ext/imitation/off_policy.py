"""
Off-policy adversarial imitation (Kostrikov et al., 2019): what DAC and DACSAC share.

The replay keeps what happened. Rewards are judged by the discriminator of now each time a batch is drawn, so old
experience never carries an old reward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback, ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext import nested
from sb3_ext.buffers import Sampler, Uniform
from sb3_ext.imitation.imitation import Imitation
from sb3_ext.imitation.reward import AdversarialReward
from sb3_ext.imitation.steps import Steps
from sb3_ext.replay_files import FittingReplayMixin
from sb3_ext.saving import AtomicReplaySaveMixin
from sb3_ext.vec_envs import RawTransitionsMixin


class RelabelledReplay:
    """
    A replay whose batches carry learned rewards, mixed with the environment's.

    :param replay: of single transitions
    :param adversary: judges them
    :param policy: whose scale the stored actions have
    :param env_reward_coef: weight of the stored reward
    """

    def __init__(
        self, replay: ReplayBuffer, adversary: AdversarialReward, policy: BasePolicy, env_reward_coef: float
    ) -> None:
        self.replay, self.adversary, self.policy, self.env_reward_coef = replay, adversary, policy, env_reward_coef

    def steps(self, batch: ReplayBufferSamples) -> Steps:
        """:return: what the discriminator judges, from a batch of raw observations"""
        adversary = self.adversary
        shape = self.policy.action_space.shape or ()
        actions = self.policy.unscale_action(batch.actions.cpu().numpy().reshape(-1, *shape))
        ends = batch.dones.flatten()
        return Steps(
            batch.observations,
            th.as_tensor(actions, device=adversary.device),
            batch.next_observations,
            th.zeros_like(ends),
            ends,
            log_prob=th.zeros_like(ends),
        )

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """
        :param batch_size: transitions
        :param env: normalises observations and stored rewards
        :return: a batch whose rewards are learned
        """
        batch = self.replay.sample(batch_size, env=None)
        adversary = self.adversary
        steps = self.steps(batch)
        learned = adversary.rewards(steps) + adversary.values_of_absorbing(steps)
        rewards = _like(batch.rewards, learned).unsqueeze(-1)
        if self.env_reward_coef != 0:
            own = batch.rewards if env is None else _like(batch.rewards, env.normalize_reward(_numpy(batch.rewards)))
            rewards = rewards + self.env_reward_coef * own
        batch = batch._replace(rewards=rewards)
        if env is not None and env.norm_obs:
            batch = batch._replace(
                observations=_normalized(env, batch.observations),
                next_observations=_normalized(env, batch.next_observations),
            )
        return batch

    def __getattr__(self, name: str) -> Any:  # Any: whatever the replay has
        return getattr(self.replay, name)


SelfOffPolicyImitation = TypeVar("SelfOffPolicyImitation", bound="OffPolicyImitation")


class OffPolicyImitation(Imitation, RawTransitionsMixin, FittingReplayMixin, AtomicReplaySaveMixin, OffPolicyAlgorithm):
    """
    Goes before an off-policy algorithm for continuous actions among the bases of a class. The discriminator is updated
    ``discriminator_updates`` times for each call of `train`, which is one for every ``train_freq`` steps.
    """

    def _setup_model(self) -> None:
        """
        :raises ValueError: for settings of the reward that need a rollout, n-step transitions, or a replay that takes
            timeouts for terminations
        """
        super()._setup_model()
        if self.reward_settings.normalize_reward:
            raise ValueError("normalize_reward=True needs the returns of a rollout, and a replay has none: use GAIL")
        if self.reward_settings.shaped:
            raise ValueError("shaped=True needs the policy's log-probabilities of its rollout: use GAIL")
        sampler: Sampler = getattr(self, "sampler", Uniform())
        if sampler.reads_priorities:
            raise ValueError(
                f"sampler {sampler} ranks steps by rewards that change with the discriminator: leave it out"
            )
        if getattr(self, "scale_reward", False):
            raise ValueError("scale_reward=True is for the environment's rewards: leave it out")
        if self.n_steps > 1:
            raise ValueError(f"n_steps {self.n_steps} must be 1: rewards are judged step by step")
        if self.adversary.absorbing and not getattr(self.replay_buffer, "handle_timeout_termination", True):
            raise ValueError(
                "replay_buffer_kwargs: handle_timeout_termination=False takes timeouts for terminations, which would "
                "pay for the absorbing state; leave it True, or absorbing=False"
            )
        # SB3's and our own name of it; the keyword n_steps is refused before.
        n_steps = getattr(self.replay_buffer, "n_steps", 1)
        if n_steps > 1:
            raise ValueError(f"replay_buffer_kwargs: n_steps {n_steps} must be 1: rewards are judged step by step")

    def learn(
        self: SelfOffPolicyImitation,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfOffPolicyImitation:
        """
        Parameters as in SB3; ``tb_log_name`` is the name of the class unless given.

        :raises ValueError: without demonstrations, or for those of another task
        """
        return super().learn(
            total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name or type(self).__name__,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Adds: the discriminator first, and its rewards in place of the stored ones."""
        self._train_discriminator()
        with self._relabelled():
            super().train(gradient_steps, batch_size)

    def _train_discriminator(self) -> None:
        adversary = self.adversary
        view = self._view()
        n = adversary.settings.discriminator_batch_size * adversary.settings.discriminator_updates
        batch = view.replay.sample(n, env=None)
        steps = view.steps(batch)
        ends = steps.next_absorbing.cpu().numpy() > 0
        if ends.any():
            adversary.compare_ends(self.env)
        seen = steps.join(adversary.absorbing_steps(steps))
        for name, value in adversary.update(seen, self._current_progress_remaining).items():
            self.logger.record_mean(f"discriminator/{name}", value)
        rewards = adversary.rewards(steps)
        self.logger.record_mean("discriminator/reward_mean", float(rewards.mean()))
        self.logger.record_mean("discriminator/reward_std", float(rewards.std()))
        if adversary.absorbing and ends.any():
            values = adversary.values_of_absorbing(steps)[ends]
            self.logger.record_mean("discriminator/absorbing_value", float(values.mean()))

    def _view(self) -> RelabelledReplay:
        assert self.replay_buffer is not None
        return RelabelledReplay(self.replay_buffer, self.adversary, self.policy, self.env_reward_coef)

    @contextmanager
    def _relabelled(self) -> Iterator[None]:
        """SB3's `train` draws from `self.replay_buffer`: for its length that is the view."""
        replay = self.replay_buffer
        self.replay_buffer = self._view()  # type: ignore[assignment]
        try:
            yield
        finally:
            self.replay_buffer = replay


def _normalized(env: VecNormalize, observations: Any) -> Any:  # Any: of SB3's batch, a tensor or a dictionary of them
    return nested.map(_like, observations, env.normalize_obs(nested.map(_numpy, observations)))


def _numpy(x: th.Tensor) -> np.ndarray:
    return x.cpu().numpy()


def _like(x: th.Tensor, values: Any) -> th.Tensor:  # Any: an array
    return th.as_tensor(values, dtype=th.float32, device=x.device)
