"""Rainbow-R: Rainbow's switches over sequences, with R2D2's recurrent network, replay and loop."""

from __future__ import annotations

from typing import Any, ClassVar

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_ext.buffers.samplers import Proportional, SamplerLike
from sb3_ext.buffers.sequence import SequenceReplayBuffer
from sb3_ext.learners.captured import Compile
from sb3_ext.moved_keywords import names_moved_keywords
from sb3_ext.networks.head_table import HeadLike
from sb3_ext.networks.heads import C51
from sb3_ext.ops.exploration import ExplorationLike
from sb3_ext.ops.value_rescaling import ValueTransform
from sb3_ext.r2d2 import R2D2, R2D2Policy
from sb3_ext.rainbow.policies import RainbowRCnnPolicy, RainbowRMultiInputPolicy, RainbowRPolicy


class RainbowR(R2D2):
    """
    Recurrent Rainbow: `R2D2` with a distributional head and noisy layers by default. The parameters are R2D2's; only
    defaults differ. The source article's kinds of LSTM are settings: none is `Rainbow`; a stateless window is
    ``state_init="zero", burn_in=0``; stateful is ``state_init="stored"``. Noisy layers stand behind the LSTM, so the
    stored states are the same for every draw.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpLstmPolicy": RainbowRPolicy,
        "CnnLstmPolicy": RainbowRCnnPolicy,
        "MultiInputLstmPolicy": RainbowRMultiInputPolicy,
    }

    @names_moved_keywords
    def __init__(
        self,
        policy: str | type[R2D2Policy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 100_000,
        learning_starts: int = 1_000,
        batch_size: int = 32,
        tau: float = 1.0,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 4,
        gradient_steps: int = 1,
        burn_in: int = 20,
        sequence_length: int = 40,
        period: int = 20,
        n_steps: int = 3,
        state_init: str = "stored",
        value_rescaling: bool | ValueTransform = True,
        normalize_reward: bool | None = None,
        head: HeadLike = C51(noise=0.5),
        sampler: SamplerLike = Proportional(0.5, 0.4, 1.0),
        exploration: ExplorationLike | None = None,
        eta: float = 0.9,
        double_q: bool = True,
        target_update_interval: int = 20,
        max_grad_norm: float = 10.0,
        evaluation_eps: float = 1e-3,
        replay_buffer_class: type[SequenceReplayBuffer] | None = None,
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
            burn_in=burn_in,
            sequence_length=sequence_length,
            period=period,
            n_steps=n_steps,
            state_init=state_init,
            value_rescaling=value_rescaling,
            normalize_reward=normalize_reward,
            head=head,
            sampler=sampler,
            exploration=exploration,
            eta=eta,
            double_q=double_q,
            target_update_interval=target_update_interval,
            max_grad_norm=max_grad_norm,
            evaluation_eps=evaluation_eps,
            replay_buffer_class=replay_buffer_class,
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
            _init_setup_model=_init_setup_model,
        )
