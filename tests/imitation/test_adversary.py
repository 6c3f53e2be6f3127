"""The discriminator, its reward and its scale, without a policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from support.experts import gail
from support.worlds import TaggedEnv

from sb3_ext.imitation import RewardSettings
from sb3_ext.imitation.reward import AdversarialReward, ReturnScale
from sb3_ext.imitation.steps import Steps
from sb3_ext.networks.normalizer import RunningNormalizer


def adversary_of(**settings: Any) -> AdversarialReward:
    space = TaggedEnv().observation_space
    return AdversarialReward(space, spaces.Discrete(3), 0.9, th.device("cpu"), 0, RewardSettings(**settings))


def separable(adversary: AdversarialReward) -> tuple[Steps, Steps]:
    """:return: steps of the policy at -1 and of the expert at +1"""
    no, actions = np.zeros(50, dtype=bool), np.zeros(50, dtype=np.int64)
    policy, expert = (np.full((50, 3), value, dtype=np.float32) for value in (-1, 1))
    adversary.expert = Steps.of(expert, actions, expert, no, no, adversary.device)
    return Steps.of(policy, actions, policy, no, no, adversary.device), adversary.expert


def test_the_experts_logits_become_the_higher_ones() -> None:
    adversary = adversary_of()
    policy, expert = separable(adversary)
    metrics = [adversary.update(policy, 1.0) for _ in range(10)][-1]
    assert adversary.logits(policy).max() < -0.5 and adversary.logits(expert).min() > 0.5
    assert metrics["accuracy_policy"] == metrics["accuracy_expert"] == 1.0


def test_statistics_are_of_both_sides_in_equal_numbers() -> None:
    adversary = adversary_of()
    policy, expert = separable(adversary)
    ends = th.ones(50)
    adversary.expert = expert.join(expert)._replace(absorbing=th.cat([ends, 0 * ends]))
    both = policy.join(policy)._replace(absorbing=th.cat([ends, 0 * ends]))
    adversary.update(both, 1.0)
    discriminator = adversary.discriminator
    for normalizers in (discriminator.normalizers, discriminator.final_normalizers):
        (normalizer,) = normalizers.values()
        assert isinstance(normalizer, RunningNormalizer)
        assert normalizer.mean.abs().max() < 0.3 and normalizer.variance.min() > 0.9, "at -1 and +1"


def test_only_steps_of_the_living_enter_an_absorbing_state() -> None:
    adversary = adversary_of()
    policy, _ = separable(adversary)
    ended = policy._replace(next_absorbing=th.ones(50))
    absorbing = adversary.absorbing_steps(ended)
    assert absorbing.n_steps == 50 and adversary.absorbing_steps(absorbing).n_steps == 0
    assert adversary.values_of_absorbing(ended).all() and not adversary.values_of_absorbing(absorbing).any()


def test_the_scale_is_the_deviation_of_all_returns_so_far() -> None:
    """It begins as if two returns, of -1 and +1, had half the weight each."""
    rng = np.random.default_rng(0)
    scale, seen = ReturnScale(), []
    for mean in (5.0, -3.0, 100.0):
        seen.append(rng.normal(mean, 2.0, (16, 3)))
        scale.update(seen[-1])
        values = np.concatenate([np.array([-1.0, 1.0]), *(x.reshape(-1) for x in seen)])
        weights = np.array([0.5, 0.5] + [1.0] * (len(values) - 2))
        mean_of_all = np.average(values, weights=weights)
        assert float(scale.mean) == pytest.approx(mean_of_all)
        assert scale.divisor == pytest.approx(np.sqrt(np.average((values - mean_of_all) ** 2, weights=weights)))


def test_the_entropy_bonus_makes_the_discriminator_less_sure() -> None:
    sure = []
    for coefficient in (0.0, 1.0):
        adversary = adversary_of(discriminator_entropy_coef=coefficient, gradient_penalty=0.0)
        policy, _ = separable(adversary)
        for _ in range(10):
            adversary.update(policy, 1.0)
        sure.append(float(adversary.logits(policy).abs().mean()))
    assert sure[1] < 0.7 * sure[0]


def test_the_penalty_is_measured_between_policy_and_expert(monkeypatch: pytest.MonkeyPatch) -> None:
    adversary = adversary_of()
    seen: list[th.Tensor] = []

    def logits(encoded: th.Tensor, log_prob: th.Tensor) -> th.Tensor:
        seen.append(encoded.detach())
        return encoded.sum(dim=1)

    monkeypatch.setattr(adversary.discriminator, "logits", logits)
    adversary._gradient_penalty(th.full((200, 7), 2.0), th.full((200, 7), 3.0))
    (between,) = seen
    assert 2 < between.min() < 2.1 and 2.9 < between.max() < 3
    assert (between == between[:, :1]).all(), "on the straight line from one to the other"


def test_rates_that_fall_to_zero_stay_there_when_the_last_rollout_overshoots() -> None:
    model = gail(learning_rate=lambda p: 1e-3 * p, discriminator_learning_rate=lambda p: 2e-3 * p)
    model.learn(50)  # rollouts of 48 steps: the second ends at 96
    assert model.policy.optimizer.param_groups[0]["lr"] == model.adversary.optimizer.param_groups[0]["lr"] == 0.0
    adversary = adversary_of(discriminator_learning_rate=lambda p: 2e-3 * p)  # what the callback asks
    adversary.update(separable(adversary)[0], progress_remaining=-0.5)
    assert adversary.optimizer.param_groups[0]["lr"] == 0.0
