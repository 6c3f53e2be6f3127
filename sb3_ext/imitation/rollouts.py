"""
What SB3's on-policy rollout does not keep, and how its rewards are replaced.

`RolloutRecorder` is the first callback of training and writes down each step as the environment saw it: raw
observations, executed actions, the true final observation, and whether an end was a termination. The rollout buffer
has normalised observations, unclipped actions, and at timeouts a reward that already holds the bootstrap value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext import nested
from sb3_ext.demonstrations.data import Observations
from sb3_ext.imitation.reward import AdversarialReward
from sb3_ext.imitation.steps import Steps
from sb3_ext.vec_envs import keep_final_observations, raw_final_observation


class RolloutRecorder(BaseCallback):
    """Arrays of one rollout, T steps of E environments."""

    model: OnPolicyAlgorithm

    observations: Observations
    """[T, E, *shape] raw"""
    next_observations: Observations
    """[T, E, *shape] raw, the final one where an episode ended"""
    actions: np.ndarray
    """[T, E, *shape] executed"""
    env_rewards: np.ndarray
    """[T, E] as the algorithm got them, before SB3 bootstraps timeouts into them"""
    terminated: np.ndarray
    """[T, E] bool"""
    timeout_values: np.ndarray
    """[T, E] value of the final observation at timeouts, 0 elsewhere"""
    last_values: th.Tensor
    """[E] values behind the last step"""
    last_dones: np.ndarray
    """[E] whether the last step ended an episode"""
    log_probs: np.ndarray
    """[T, E] of the sampled actions"""

    def _on_training_start(self) -> None:
        """:raises ValueError: where raw observations are out of reach"""
        normalizer = self._normalizer()
        if normalizer is not None and normalizer.observation_space != self.model.observation_space:
            raise ValueError(
                "the discriminator judges raw observations, and a wrapper around VecNormalize changes them: "
                f"{normalizer.observation_space} became {self.model.observation_space}; make VecNormalize the outer one"
            )

        assert self.model.env is not None
        keep_final_observations(self.model.env)

    def _on_rollout_start(self) -> None:
        shape = (self.model.rollout_buffer.buffer_size, self.model.n_envs)
        space = self.model.observation_space
        self.observations, self.next_observations = _empty(shape, space), _empty(shape, space)
        action_space = self.model.action_space
        assert action_space.shape is not None
        self.actions = np.zeros((*shape, *action_space.shape), dtype=action_space.dtype)
        self.env_rewards = np.zeros(shape)
        self.terminated = np.zeros(shape, dtype=bool)
        self.timeout_values = np.zeros(shape)
        assert self.model._last_obs is not None
        self.current = self._raw(self.model._last_obs)

    def _on_step(self) -> bool:
        t = self.model.rollout_buffer.pos
        infos, dones = self.locals["infos"], self.locals["dones"]
        nested.put(self.observations, t, self.current)
        self.current = self._raw(self.locals["new_obs"])
        nested.put(self.next_observations, t, self.current)
        # MaskablePPO, whose actions are discrete, has none that are clipped.
        self.actions[t] = self.locals.get("clipped_actions", self.locals["actions"])
        self.env_rewards[t] = self.locals["rewards"]  # a copy: SB3 writes into its own afterwards
        for i in np.flatnonzero(dones):
            final = infos[i]["terminal_observation"]
            # What wrappers around a VecNormalize that leaves observations alone do to them belongs to the task.
            raw = final if self._normalizer() is None else raw_final_observation(infos[i])
            nested.put(self.next_observations, (t, i), raw)
            if infos[i].get("TimeLimit.truncated", False):
                self.timeout_values[t, i] = self._value(final, int(i))
            else:
                self.terminated[t, i] = True
        return True

    def _on_rollout_end(self) -> None:
        model: Any = self.model  # recurrent models have more attributes, and their policies take more arguments
        self.last_dones = model._last_episode_starts
        observations = obs_as_tensor(model._last_obs, model.device)
        # Computed again: at this call the locals of RecurrentPPO still hold the values of the step before.
        with th.no_grad():
            if hasattr(model, "_last_lstm_states"):
                starts = th.tensor(self.last_dones, dtype=th.float32, device=model.device)
                self.last_values = model.policy.predict_values(observations, model._last_lstm_states.vf, starts)
            else:
                self.last_values = model.policy.predict_values(observations)
        self.log_probs = model.rollout_buffer.log_probs.copy()  # PPO's minibatches will put them in another order

    def steps(self, reward: AdversarialReward) -> Steps:
        """
        :param reward: whose device they go to
        :return: T * E steps, the environment's index running fastest
        """
        ends = self.terminated.reshape(-1)
        none = np.zeros(len(ends), dtype=bool)
        actions = self.actions.reshape(-1, *self.actions.shape[2:])
        steps = Steps.of(_flat(self.observations), actions, _flat(self.next_observations), none, ends, reward.device)
        if not reward.discriminator.reads_log_prob:
            return steps
        return steps._replace(log_prob=th.as_tensor(self.log_probs.reshape(-1), device=reward.device))

    def relabel(self, rewards: np.ndarray) -> None:
        """
        Put these rewards into the rollout buffer, bootstrap timeouts as SB3 does, and compute advantages again.

        :param rewards: [T, E]
        """
        buffer = self.model.rollout_buffer
        buffer.rewards[:] = rewards + self.model.gamma * self.timeout_values
        buffer.compute_returns_and_advantage(self.last_values, self.last_dones)

    def _normalizer(self) -> VecNormalize | None:
        env = self.model.get_vec_normalize_env()
        return env if env is not None and env.norm_obs else None

    def _raw(self, observations: Observations) -> Observations:
        """:return: what the environment gave, where VecNormalize stands between"""
        normalizer = self._normalizer()
        return observations if normalizer is None else normalizer.get_original_obs()

    def _value(self, observation: Any, i: int) -> float:
        """:return: V of a final observation, in a recurrent policy with the state after the last step"""
        policy: Any = self.model.policy  # recurrent ones take more arguments
        tensor = policy.obs_to_tensor(observation)[0]
        states = self.locals.get("lstm_states")
        with th.no_grad():
            if states is None:
                return float(policy.predict_values(tensor))
            of_env = tuple(part[:, i : i + 1].contiguous() for part in states.vf)
            return float(policy.predict_values(tensor, of_env, th.zeros(1, device=self.model.device)))


def learn_reward(
    model: OnPolicyAlgorithm, recorder: RolloutRecorder, reward: AdversarialReward, env_reward_coef: float
) -> None:
    """
    Rollout -> discriminator -> relabel with the fresh discriminator -> advantages (Ho and Ermon, 2016, algorithm 1).

    :param model: whose rollout is complete
    :param recorder: of this rollout
    :param reward: to train
    :param env_reward_coef: weight of the environment's own reward, added to the learned one
    """
    shape = recorder.terminated.shape
    steps = recorder.steps(reward)
    log = model.logger.record
    if recorder.terminated.any():
        reward.compare_ends(model.env)
    seen = steps.join(reward.absorbing_steps(steps))
    metrics = reward.update(seen, model._current_progress_remaining, lambda expert: log_prob_of(model, expert))
    rewards = reward.rewards(steps).reshape(shape)
    values_of_absorbing = reward.values_of_absorbing(steps).reshape(shape)
    learned = rewards + values_of_absorbing
    if reward.settings.normalize_reward:
        reward.scale.update(discounted_returns(learned, recorder, model.gamma))
        learned = learned / reward.scale.divisor
    if env_reward_coef != 0:  # NaN, as environments without a reward may give, times 0 is NaN
        learned = learned + env_reward_coef * recorder.env_rewards
    recorder.relabel(learned)
    for name, value in metrics.items():
        log(f"discriminator/{name}", value)
    log("discriminator/learning_rate", reward.optimizer.param_groups[0]["lr"])
    log("discriminator/reward_mean", float(rewards.mean()))
    log("discriminator/reward_std", float(rewards.std()))
    log("discriminator/reward_scale", reward.scale.divisor)
    if reward.absorbing and recorder.terminated.any():
        log("discriminator/absorbing_value", float(values_of_absorbing[recorder.terminated].mean()))


def log_prob_of(model: OnPolicyAlgorithm, steps: Steps) -> th.Tensor:
    """:return: [N] log-probability of the actions under the policy, 0 in the absorbing state"""
    normalizer = model.get_vec_normalize_env()
    parts = []
    for part in steps.chunks(1024):
        observations: Any = part.observations
        if normalizer is not None and normalizer.norm_obs:
            raw = nested.map(lambda x: x.cpu().numpy(), observations)
            observations = model.policy.obs_to_tensor(normalizer.normalize_obs(raw))[0]
        actions = th.as_tensor(as_policy_acts(model, part.actions.cpu().numpy()), device=model.device)
        with th.no_grad():
            _, log_prob, _ = model.policy.evaluate_actions(observations, actions)
        parts.append(log_prob * (1.0 - part.absorbing))
    return th.cat(parts)


def as_policy_acts(model: OnPolicyAlgorithm, actions: np.ndarray) -> np.ndarray:
    """
    :param model: whose policy is asked for their log-probability
    :param actions: [N, *shape] executed ones
    :return: the same on the policy's own scale: a squashed policy acts in (-1, 1), and Bernoulli wants floats
    """
    if isinstance(model.action_space, spaces.Box) and model.policy.squash_output:
        squashed: np.ndarray = np.clip(model.policy.scale_action(actions), -1 + 1e-6, 1 - 1e-6)
        return squashed
    return actions.astype(np.float32) if isinstance(model.action_space, spaces.MultiBinary) else actions


def discounted_returns(rewards: np.ndarray, recorder: RolloutRecorder, gamma: float) -> np.ndarray:
    """
    :param rewards: [T, E]
    :param recorder: of the rollout
    :param gamma: discount factor
    :return: [T, E] discounted sums from each step to the end of its episode or of the rollout
    """
    returns = np.zeros_like(rewards)
    running = np.zeros(rewards.shape[1])
    starts = recorder.model.rollout_buffer.episode_starts
    for t in reversed(range(len(rewards))):
        ended = recorder.last_dones if t == len(rewards) - 1 else starts[t + 1]
        running = rewards[t] + gamma * running * (1.0 - ended)
        returns[t] = running
    return returns


def _empty(shape: tuple[int, int], space: spaces.Space[Any]) -> Observations:
    """:return: zeros [T, E, *shape] for what `subspaces` may be"""
    empty: Observations = nested.map(lambda part: np.zeros((*shape, *part.shape), part.dtype), space)
    return empty


def _flat(values: Observations) -> Observations:
    """:return: [T * E, *shape] of [T, E, *shape]"""
    flat: Observations = nested.map(lambda x: x.reshape(-1, *x.shape[2:]), values)
    return flat
