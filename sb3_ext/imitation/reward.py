"""
The learned reward of adversarial imitation: discriminator, its optimizer, the expert's steps, and the reward's scale.

It knows no policy and no rollout: `update` gets the policy's steps, `rewards` judges steps with the fresh weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.utils import FloatSchedule, update_learning_rate
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from sb3_ext import nested
from sb3_ext.demonstrations import Demonstrations
from sb3_ext.imitation.discriminator import Discriminator, ShapedDiscriminator
from sb3_ext.imitation.doors import warn_of_other_ends
from sb3_ext.imitation.expert import channels_first, check_spaces, kept_transitions
from sb3_ext.imitation.settings import RewardSettings
from sb3_ext.imitation.steps import Steps
from sb3_ext.ops.adversarial import (
    absorbing_return,
    bernoulli_entropy,
    discriminator_loss,
    gradient_penalty,
    reward_form,
)

MEASURED = ("loss", "accuracy_policy", "accuracy_expert")
MAX_ROWS = 8192  # judged at once, so that images of a whole rollout need not fit in memory as floats


class ReturnScale(nn.Module):
    """
    Divides rewards by the standard deviation of the discounted returns so far. Their mean is left alone: taking it off
    would change their sign, and with it whether long episodes pay.

    `VecNormalize` does the same with sums from the start of an episode; these are sums to the end of it, or of the
    rollout where that comes first.
    """

    count: th.Tensor
    mean: th.Tensor
    variance: th.Tensor

    def __init__(self) -> None:
        super().__init__()
        # One return of variance 1 to begin with: a rollout of a single step has none.
        for name, value in (("count", 1.0), ("mean", 0.0), ("variance", 1.0)):
            self.register_buffer(name, th.tensor(value, dtype=th.float64))

    def update(self, returns: np.ndarray) -> None:
        """:param returns: discounted ones, of every step"""
        n, mean, variance = returns.size, float(returns.mean()), float(returns.var())
        total = float(self.count) + n
        delta = mean - float(self.mean)
        between = delta**2 * float(self.count) * n / total
        self.variance.fill_((float(self.variance) * float(self.count) + variance * n + between) / total)
        self.mean.add_(delta * n / total)
        self.count.fill_(total)

    @property
    def divisor(self) -> float:
        """1 before the first update."""
        return float(np.sqrt(float(self.variance) + 1e-8))


class AdversarialReward:
    """
    :param observation_space: the policy's, images channels first; observations are raw all the same
    :param action_space: the policy's
    :param gamma: the policy's
    :param device: of the discriminator
    :param seed: of its initial weights and its batches, None = drawn
    :param settings: how it learns
    :raises ValueError: for gamma 1 with absorbing states
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        gamma: float,
        device: th.device,
        seed: int | None,
        settings: RewardSettings,
    ) -> None:
        if settings.absorbing and not gamma < 1:
            raise ValueError(f"gamma {gamma} must be below 1 with absorbing states, whose return is a geometric series")
        self.observation_space, self.action_space = observation_space, action_space
        self.gamma, self.device, self.settings = gamma, device, settings
        self.absorbing = settings.absorbing
        self.form: Callable[[th.Tensor], th.Tensor] = reward_form(settings.reward)
        self.learning_rate = FloatSchedule(settings.discriminator_learning_rate)
        self.generator = th.Generator()
        # The policy's stream of random numbers is left where it was.
        with th.random.fork_rng(devices=[]):
            # A fresh generator has always the same seed.
            self.generator.manual_seed(int(th.randint(2**31, (1,))) if seed is None else seed)
            # The CPU's alone: th.manual_seed would seed the GPUs too, where the policy draws its actions.
            th.default_generator.manual_seed(int(th.randint(2**31, (1,), generator=self.generator)))
            keywords = dict(settings.discriminator_kwargs or {})
            if settings.shaped:
                self.discriminator: Discriminator = ShapedDiscriminator(
                    observation_space, action_space, gamma=gamma, absorbing=settings.absorbing, **keywords
                )
            else:
                self.discriminator = Discriminator(
                    observation_space, action_space, inputs=settings.inputs, absorbing=settings.absorbing, **keywords
                )
        self.discriminator.to(device).eval()
        self.scale = ReturnScale()
        # Fused: the plain loop over parameters is a fifth of an update of a small network.
        self.optimizer = th.optim.AdamW(
            self.discriminator.parameters(),
            lr=self.learning_rate(1.0),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.demonstrations: Demonstrations | None = None
        self.ends_compared = False
        self.expert: Steps | None = None
        self.unseen: Steps | None = None

    def set_demonstrations(self, demonstrations: Demonstrations, seed: int = 0) -> None:
        """
        :param demonstrations: of the same task
        :param seed: of the draw of the held-out episodes
        :raises ValueError: if their spaces are not the policy's, or no step is kept
        """
        check_spaces(demonstrations, self.observation_space, self.action_space)
        self.discriminator.from_final.fill_(demonstrations.finals_known)
        self.demonstrations, self.ends_compared = demonstrations, False
        unseen = None
        if int(self.settings.held_out * len(demonstrations)) > 0:
            unseen, demonstrations = demonstrations.split(self.settings.held_out, seed)
        self.expert = self.expert_steps(demonstrations)
        self.unseen = None if unseen is None else self.expert_steps(unseen)

    def expert_steps(self, demonstrations: Demonstrations) -> Steps:
        """:return: the kept steps on the device, images channels first"""
        from_final = bool(self.discriminator.from_final)
        steps = kept_transitions(demonstrations, self.absorbing, from_final)
        if self.discriminator.inputs in ("ss", "sas"):
            # A state without a next one is the expert's all the same; the end of an episode needs none to be one.
            ends = steps.next_absorbing & (self.absorbing or self.settings.shaped)
            steps = nested.take(steps, np.flatnonzero(steps.next_known | ends))
        return Steps.of(
            channels_first(steps.observations, self.observation_space),
            steps.actions,
            channels_first(steps.next_observations, self.observation_space),
            steps.absorbing,
            steps.next_absorbing,
            self.device,
        )

    def absorbing_steps(self, steps: Steps) -> Steps:
        """
        :param steps: of episodes
        :return: for each termination among them, in order, the step from the absorbing state behind it to itself; none
            where absorbing states do not count
        """
        last = steps.take(self._ends(steps).nonzero().squeeze(-1))
        return last.for_ever(self.discriminator.from_final, self.action_space)

    def compare_ends(self, env: VecEnv | None) -> None:
        """
        To be called when an episode of the policy has terminated; the first call after `set_demonstrations` counts.

        :param env: of the policy
        """
        if self.absorbing and self.demonstrations is not None and not self.ends_compared:
            self.ends_compared = True
            warn_of_other_ends(self.demonstrations, env)

    def update(
        self, policy: Steps, progress_remaining: float, log_prob_of: Callable[[Steps], th.Tensor] | None = None
    ) -> dict[str, float]:
        """
        Train the discriminator on the policy's newest steps.

        :param policy: steps of one rollout, absorbing ones among them
        :param progress_remaining: 1 at the start of training, 0 at its end
        :param log_prob_of: log-probability of the expert's actions under the policy; needed by a shaped discriminator
        :return: means over the updates, for the log
        """
        assert self.expert is not None, "set_demonstrations comes first"
        expert = self.expert
        if self.discriminator.reads_log_prob:
            assert log_prob_of is not None
            expert = expert._replace(log_prob=log_prob_of(expert))
        # A last rollout may go beyond the end of training, and SB3's progress with it below 0.
        update_learning_rate(self.optimizer, self.learning_rate(min(max(progress_remaining, 0.0), 1.0)))
        for group in self.optimizer.param_groups:  # a loaded state brings the weight decay that it was saved with
            group["weight_decay"] = self.settings.weight_decay
        # As many rows of the expert's as of the policy's, so that the statistics lie between the two.
        for side in (policy, self._draw(expert, policy.n_steps)):
            self.discriminator.update_normalizers(side)
        draw_policy, draw_expert = self._encoded_batches(policy), self._encoded_batches(expert)
        self.discriminator.train()
        measured = [self._one_update(draw_policy(), draw_expert()) for _ in range(self.settings.discriminator_updates)]
        self.discriminator.eval()
        # One transfer for all updates: each would wait for the device.
        means = dict(zip(MEASURED, th.stack(measured).mean(dim=0).tolist(), strict=True))
        if self.unseen is not None:
            unseen = self.unseen
            if self.discriminator.reads_log_prob:
                assert log_prob_of is not None
                unseen = unseen._replace(log_prob=log_prob_of(unseen))
            means["accuracy_held_out"] = float((self.logits(unseen) > 0).float().mean())
        return means

    def _encoded_batches(self, steps: Steps) -> Callable[[], tuple[th.Tensor, th.Tensor]]:
        """:return: draws a batch of encoded steps [B, n_inputs] and log-probabilities [B]"""
        n = self.settings.discriminator_batch_size
        if any(True for _ in self.discriminator.features_extractor.parameters()):

            def draw() -> tuple[th.Tensor, th.Tensor]:
                batch = self._draw(steps, n)
                return self.discriminator.encode(batch), batch.log_prob

            return draw
        with th.no_grad():
            encoded = self.discriminator.encode(steps)  # nothing in it will learn: once for all updates

        def look_up() -> tuple[th.Tensor, th.Tensor]:
            rows = self._rows(steps, n)
            return encoded[rows], steps.log_prob[rows]

        return look_up

    def _one_update(self, policy: tuple[th.Tensor, th.Tensor], expert: tuple[th.Tensor, th.Tensor]) -> th.Tensor:
        """
        :param policy: encoded steps [B, n_inputs] and log-probabilities [B]
        :param expert: the same
        :return: [3] `MEASURED`
        """
        (x_policy, log_prob_policy), (x_expert, log_prob_expert) = policy, expert
        both = self.discriminator.logits(th.cat([x_policy, x_expert]), th.cat([log_prob_policy, log_prob_expert]))
        logits_policy, logits_expert = both.chunk(2)
        loss = discriminator_loss(logits_policy, logits_expert, self.settings.label_smoothing)
        total = loss
        if self.settings.discriminator_entropy_coef > 0:
            total = total - self.settings.discriminator_entropy_coef * bernoulli_entropy(both).mean()
        if self.settings.gradient_penalty > 0:
            total = total + self.settings.gradient_penalty * self._gradient_penalty(x_policy, x_expert)
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        with th.no_grad():
            return th.stack([loss, (logits_policy < 0).float().mean(), (logits_expert > 0).float().mean()])

    def _gradient_penalty(self, x_policy: th.Tensor, x_expert: th.Tensor) -> th.Tensor:
        share = th.rand(len(x_policy), 1, generator=self.generator).to(self.device)
        between = (share * x_policy + (1 - share) * x_expert).detach().requires_grad_()
        logits = self.discriminator.logits(between, th.zeros(len(between), device=self.device))
        (gradients,) = th.autograd.grad(logits.sum(), between, create_graph=True)
        return gradient_penalty(gradients)

    def logits(self, steps: Steps) -> th.Tensor:
        """:return: [N] of all steps, with the weights of now"""
        with th.no_grad():
            return th.cat([self.discriminator(part) for part in steps.chunks(MAX_ROWS)])

    def rewards(self, steps: Steps) -> np.ndarray:
        """:return: [N] float64 rewards, not scaled"""
        return self.form(self.logits(steps)).double().cpu().numpy()

    def values_of_absorbing(self, steps: Steps, judge: Callable[[Steps], np.ndarray] | None = None) -> np.ndarray:
        """
        :param steps: N of them
        :param judge: rewards of absorbing steps, None = `rewards`
        :return: [N] float64, what follows each step behind a termination, not scaled: 0 where it was none
        """
        ends = self._ends(steps)
        values = np.zeros(len(ends))
        if ends.any():
            rewards = (judge or self.rewards)(self.absorbing_steps(steps))
            values[ends.cpu().numpy()] = absorbing_return(rewards, self.gamma)
        return values

    def _ends(self, steps: Steps) -> th.Tensor:
        """:return: [N] whether the step entered an absorbing state that counts"""
        entered = steps.entered()
        return entered if self.absorbing else th.zeros_like(entered)

    def _draw(self, steps: Steps, n: int) -> Steps:
        return steps.take(self._rows(steps, n))

    def _rows(self, steps: Steps, n: int) -> th.Tensor:
        return th.randint(steps.n_steps, (n,), generator=self.generator).to(self.device)
