"""
Adversarial imitation on logits: expert is high, D = sigmoid(logit) is the probability of the expert.

The GAIL paper has it the other way round (its D is the probability of the policy), so its reward -log D is
-log(1 - D) here. Nothing below takes a sigmoid and then a logarithm: softplus keeps both tails.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch as th
from torch.nn import functional as F


def discriminator_loss(logits_policy: th.Tensor, logits_expert: th.Tensor, label_smoothing: float = 0.0) -> th.Tensor:
    """
    Binary cross-entropy, each side a mean of its own, so that neither side's size matters (Ho and Ermon, 2016, eq. 17).

    :param logits_policy: [B]
    :param logits_expert: [B']
    :param label_smoothing: s, the targets are s and 1 - s instead of 0 and 1
    :return: scalar
    """
    # softplus(l) - s l is the cross-entropy against the target s, and softplus(-l) + s l against 1 - s.
    policy = F.softplus(logits_policy) - label_smoothing * logits_policy
    expert = F.softplus(-logits_expert) + label_smoothing * logits_expert
    return policy.mean() + expert.mean()


def bernoulli_entropy(logits: th.Tensor) -> th.Tensor:
    """
    :param logits: [...]
    :return: [...] entropy in nats of a coin whose heads have probability sigmoid(logit)
    """
    return F.softplus(logits) - logits * th.sigmoid(logits)


def gradient_penalty(gradients: th.Tensor) -> th.Tensor:
    """
    ``mean (|g| - 1)^2`` (Gulrajani et al., 2017, equation 3; for imitation: Kostrikov et al., 2019).

    :param gradients: [B, D] of the logits with respect to the inputs
    :return: scalar
    """
    penalty: th.Tensor = (gradients.norm(dim=1) - 1.0).square().mean()
    return penalty


def _gail(logits: th.Tensor) -> th.Tensor:
    return F.softplus(logits)


def _logd(logits: th.Tensor) -> th.Tensor:
    return -F.softplus(-logits)


def _airl(logits: th.Tensor) -> th.Tensor:
    return logits


def _prob(logits: th.Tensor) -> th.Tensor:
    return th.sigmoid(logits)


def _fairl(logits: th.Tensor) -> th.Tensor:
    return -logits * logits.clamp(max=FAIRL_MAX_LOGIT).exp()


FAIRL_MAX_LOGIT = 10.0  # exp(10) is 22 026; unclipped, one sure expert step would outweigh a whole rollout

REWARD_FORMS: dict[str, Callable[[th.Tensor], th.Tensor]] = {
    "gail": _gail,  # -log(1 - D) >= 0, Ho and Ermon (2016)
    "logd": _logd,  # log D <= 0
    "airl": _airl,  # log D - log(1 - D), Fu et al. (2018)
    "prob": _prob,  # D in (0, 1)
    "fairl": _fairl,  # -l exp(l), the forward divergence, Ghasemipour et al. (2020)
}


def reward_form(name: str) -> Callable[[th.Tensor], th.Tensor]:
    """
    :param name: key of `REWARD_FORMS`
    :return: rewards from logits, both [...]
    :raises ValueError: for an unknown name
    """
    if name not in REWARD_FORMS:
        raise ValueError(f"reward {name!r} must be one of {', '.join(REWARD_FORMS)}")
    return REWARD_FORMS[name]


def absorbing_return(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """
    What follows a termination: the absorbing state's reward for ever, discounted from the next step on
    (Kostrikov et al., 2019, section 4.2). The paper has one such state; here each final observation has its own.

    :param rewards: [N] of absorbing states
    :param gamma: discount factor below 1
    :return: [N]
    """
    return gamma / (1.0 - gamma) * rewards
