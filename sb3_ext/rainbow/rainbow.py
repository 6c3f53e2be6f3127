"""
Rainbow (Hessel et al., 2018) on SB3's off-policy loop: double, dueling, distributional, noisy, prioritized, n-step
Q-learning, each part a keyword. With all of them off it is DQN.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import obs_as_tensor

from sb3_ext.buffers.prioritized import PrioritizedReplayBuffer
from sb3_ext.buffers.samplers import Proportional, SamplerLike
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.learners.captured import Compile
from sb3_ext.learners.q import TransitionLearner
from sb3_ext.moved_keywords import names_moved_keywords
from sb3_ext.networks.head_table import HeadLike
from sb3_ext.networks.heads import C51
from sb3_ext.networks.q_network import QNetwork
from sb3_ext.ops.exploration import EpsilonGreedy, ExplorationLike
from sb3_ext.ops.value_rescaling import ValueTransform
from sb3_ext.rainbow.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, RainbowPolicy


class Rainbow(DeepQLearning):
    """
    Rainbow. Paper: Hessel et al., "Rainbow: combining improvements in deep reinforcement learning", AAAI 2018. All
    parts are on by default; docs/rainbow.md says where the defaults differ from the paper's, which are Atari's.

    Plain DQN is ``head=Scalar(td_loss="huber", dueling=None), sampler="uniform", n_steps=1, double_q=False,
    value_rescaling=False, normalize_reward=False``.

    :param policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or a class
    :param env: environment, with Discrete actions, or its id
    :param learning_rate: a number or a function of the remaining progress
    :param buffer_size: stored observations over all environments
    :param learning_starts: environment steps (over all environments) with random actions before the first update
    :param batch_size: transitions per update
    :param tau: 1 = hard target copies (the paper), < 1 = soft ones
    :param gamma: discount per step
    :param train_freq: steps of each environment between calls of `train`
    :param gradient_steps: updates per call of `train`; -1 = as many as environment steps since the last one. n
        environments make n steps to a step of each, so the same number of updates is one n-th to a step
    :param n_steps: n, steps to bootstrap over
    :param value_rescaling: True = R2D2's h with eps 1e-3, so that one support fits returns of any size; False = none
        (the paper), or any `ValueTransform`
    :param normalize_reward: let the network predict returns in a unit that is found from the data (`LargestReturn`), so
        that learning does not depend on the unit of the reward; False = as they are (the paper). None = True, unless
        ``v_min``, ``v_max`` of `C51` or a `ValueTransform` of your own say what returns are like. Under `VecNormalize`
        with ``norm_reward`` its scale is the one in force
    :param head: what the network predicts and how it is trained: `C51` (the paper), `Quantile` (QR-DQN), `IQN`,
        `Scalar`, another `Head`, or its short name ("c51", "quantile", "iqn", "scalar"), or
        ``{"c51": {"noise": 0.5}}``. `C51`'s range is in rescaled units, where values are rescaled
    :param sampler: which transitions are drawn: `Uniform`, `Proportional`, `RankBased`, another `Sampler`, or a short
        name as above
    :param exploration: how actions are chosen in training: `EpsilonGreedy`, `EpsilonLadder`, `Boltzmann`, `Greedy`,
        another `Exploration`, or a short name as above; None = greedy with noisy layers, else epsilon from 1 to 0.05
        over a tenth of training
    :param double_q: choose the bootstrap action by the online network
    :param target_update_interval: gradient updates between target copies
    :param max_grad_norm: clipping of the gradient's norm
    :param evaluation_eps: epsilon of ``predict(deterministic=False)``
    :param replay_buffer_class: `PrioritizedReplayBuffer` or a subclass
    :param replay_buffer_kwargs: more keywords of it
    :param optimize_memory_usage: store each frame of a frame stack once, see `PrioritizedReplayBuffer`
    :param policy_kwargs: keywords of the policy: ``net_arch``, ``features_extractor_class``, ...
    :param stats_window_size: episodes in the logged means
    :param tensorboard_log: folder, or None
    :param verbose: 0 nothing, 1 information, 2 debugging
    :param seed: of all random generators
    :param device: "auto", "cpu", "cuda", ...
    :param compile: "auto" = on CUDA each kind of update is captured as one graph; "on" = the same, and an error where
        that cannot be; "off" = nothing of this
    :param prefetch: on CUDA, batches that a thread draws ahead while the device works: 1, or 0 = none
    :param _init_setup_model: build the networks now
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy: RainbowPolicy
    replay_buffer: PrioritizedReplayBuffer | None
    learner: TransitionLearner
    q_net: QNetwork
    q_net_target: QNetwork
    policy_base = RainbowPolicy
    replay_base = PrioritizedReplayBuffer
    default_epsilon = EpsilonGreedy(1.0, 0.05, 0.1)

    @names_moved_keywords
    def __init__(
        self,
        policy: str | type[RainbowPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 100_000,
        learning_starts: int = 1_000,
        batch_size: int = 64,
        tau: float = 1.0,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 2,
        gradient_steps: int = 1,
        n_steps: int = 3,
        value_rescaling: bool | ValueTransform = True,
        normalize_reward: bool | None = None,
        head: HeadLike = C51(noise=0.5),
        sampler: SamplerLike = Proportional(0.5, 0.4, 1.0),
        exploration: ExplorationLike | None = None,
        double_q: bool = True,
        target_update_interval: int = 10,
        max_grad_norm: float = 10.0,
        evaluation_eps: float = 1e-3,
        replay_buffer_class: type[PrioritizedReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        *,
        compile: Compile = "auto",
        prefetch: int = 1,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            n_steps=n_steps,
            value_rescaling=value_rescaling,
            normalize_reward=normalize_reward,
            head=head,
            sampler=sampler,
            exploration=exploration,
            double_q=double_q,
            target_update_interval=target_update_interval,
            max_grad_norm=max_grad_norm,
            evaluation_eps=evaluation_eps,
            replay_buffer_class=replay_buffer_class or PrioritizedReplayBuffer,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            seed=seed,
            device=device,
            compile=compile,
            prefetch=prefetch,
        )
        if _init_setup_model:
            self._setup_model()
            assert self.replay_buffer is not None
            self.replay_buffer.check_size()

    def _make_learner(self) -> TransitionLearner:
        return TransitionLearner(self.q_net, self.q_net_target, self.policy.optimizer, self._learner_settings)

    def _replay_settings(self) -> dict[str, Any]:
        return {**super()._replay_settings(), "gamma": self.gamma}

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Random in the warm-up, then the exploration strategy's choice."""
        last_obs = self._last_obs
        assert last_obs is not None
        actions = self._choose(lambda: self.policy.act(obs_as_tensor(last_obs, self.device)), learning_starts)
        return actions, actions

    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """Adds: the replay, which sums rewards when they are drawn, follows the model's ``gamma``."""
        assert self.replay_buffer is not None
        self.replay_buffer.gamma = self.gamma
        super().train(gradient_steps, batch_size)
