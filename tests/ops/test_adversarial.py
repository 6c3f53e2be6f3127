"""Losses and rewards of adversarial imitation, against the probabilities they come from."""

import math

import numpy as np
import pytest
import torch as th

from sb3_ext.ops.adversarial import (
    REWARD_FORMS,
    absorbing_return,
    bernoulli_entropy,
    discriminator_loss,
    gradient_penalty,
    reward_form,
)

LOGITS = th.tensor([-3.0, -0.5, 0.0, 0.7, 4.0], dtype=th.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_cross_entropy_with_the_expert_high(smoothing: float) -> None:
    policy, expert = LOGITS, LOGITS[:3] + 1
    p, e = policy.sigmoid(), expert.sigmoid()
    wanted = -(smoothing * p.log() + (1 - smoothing) * (1 - p).log()).mean()
    wanted -= ((1 - smoothing) * e.log() + smoothing * (1 - e).log()).mean()
    assert discriminator_loss(policy, expert, smoothing).item() == pytest.approx(wanted.item())
    assert discriminator_loss(-10 * th.ones(2), 10 * th.ones(2)) < 0.01 < discriminator_loss(th.ones(2), -th.ones(2))


def test_rewards_are_those_of_the_probability_of_the_expert() -> None:
    d = LOGITS.sigmoid()
    wanted = {
        "gail": -(1 - d).log(),
        "logd": d.log(),
        "airl": d.log() - (1 - d).log(),
        "prob": d,
        "fairl": -(d / (1 - d)) * (d.log() - (1 - d).log()),
    }
    assert wanted.keys() == REWARD_FORMS.keys()
    for name, values in wanted.items():
        th.testing.assert_close(reward_form(name)(LOGITS), values)


def test_rewards_have_the_signs_that_decide_who_wants_to_live() -> None:
    assert (reward_form("gail")(LOGITS) > 0).all() and (reward_form("prob")(LOGITS) > 0).all()
    assert (reward_form("logd")(LOGITS) < 0).all()


def test_a_sure_discriminator_gives_finite_numbers() -> None:
    sure = th.tensor([-1e4, 1e4], requires_grad=True)
    for form in REWARD_FORMS.values():
        assert form(sure).isfinite().all()
    loss = discriminator_loss(sure, sure.flip(0)) - bernoulli_entropy(sure).mean()
    loss.backward()
    assert loss.isfinite() and sure.grad is not None and sure.grad.isfinite().all()


def test_entropy_of_a_coin() -> None:
    d = LOGITS.sigmoid()
    th.testing.assert_close(bernoulli_entropy(LOGITS), -(d * d.log() + (1 - d) * (1 - d).log()))
    assert bernoulli_entropy(th.zeros(1)).item() == pytest.approx(math.log(2))


def test_gradient_penalty_is_zero_at_slope_one() -> None:
    gradients = th.tensor([[0.6, 0.8], [3.0, 4.0]])
    assert gradient_penalty(gradients[:1]).item() == pytest.approx(0.0, abs=1e-12)
    assert gradient_penalty(gradients).item() == pytest.approx((0 + 16) / 2)


def test_what_follows_a_termination_is_the_reward_for_ever() -> None:
    gamma, rewards = 0.9, np.array([0.7, -2.0])
    wanted = sum(rewards * gamma**k for k in range(1, 1000))
    np.testing.assert_allclose(absorbing_return(rewards, gamma), wanted)


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(ValueError, match="reward 'wgan' must be one of gail"):
        reward_form("wgan")
    assert np.isfinite(reward_form("gail")(th.zeros(1)).item())
