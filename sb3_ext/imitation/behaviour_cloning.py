"""Behaviour cloning: the policy of an on-policy model is fitted to the expert's actions."""

from __future__ import annotations

import numpy as np
import torch as th
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ext import nested
from sb3_ext.demonstrations import Demonstrations
from sb3_ext.demonstrations.data import Observations
from sb3_ext.imitation.doors import check_starts
from sb3_ext.imitation.expert import channels_first, check_spaces, kept_transitions
from sb3_ext.imitation.rollouts import as_policy_acts


def behaviour_cloning(
    model: OnPolicyAlgorithm,
    demonstrations: Demonstrations,
    n_epochs: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    ent_coef: float = 1e-3,
    max_grad_norm: float = 0.5,
    seed: int = 0,
) -> list[float]:
    """
    Maximise the log-probability of the expert's actions (Pomerleau, 1991). The value function is left alone.

    Under `VecNormalize` its observation statistics take in the demonstrations first, so that the policy is fitted to
    what it will see.

    :param model: PPO, A2C, TRPO or GAIL
    :param demonstrations: of the same task; only their kept steps are used
    :param n_epochs: passes over them
    :param batch_size: steps in an update
    :param learning_rate: of its own Adam; the model's optimizer is not touched
    :param ent_coef: weight of the policy's entropy, which keeps it from being sure of a few demonstrations
    :param max_grad_norm: of an update
    :param seed: of the order of the steps
    :return: mean negative log-probability of each epoch
    :raises ValueError: for demonstrations of another task or without a kept step, a recurrent policy,
        or discrete values that do not begin at 0
    """
    check_starts(model.observation_space, model.action_space)
    check_spaces(demonstrations, model.observation_space, model.action_space)
    refuse_recurrent(model.policy, "behaviour_cloning")
    steps = kept_transitions(demonstrations, absorbing=False)
    observations = channels_first(steps.observations, model.observation_space)
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None and normalizer.norm_obs:
        take_in(normalizer, observations)
        observations = normalizer.normalize_obs(observations)
    actions = th.as_tensor(as_policy_acts(model, steps.actions), device=model.device)
    optimizer = th.optim.Adam(model.policy.parameters(), lr=learning_rate)
    rng = np.random.default_rng(seed)
    return fit(model.policy, optimizer, observations, actions, n_epochs, batch_size, ent_coef, max_grad_norm, rng)


def fit(
    policy: ActorCriticPolicy,
    optimizer: th.optim.Optimizer,
    observations: Observations,
    actions: th.Tensor,
    n_epochs: int,
    batch_size: int,
    ent_coef: float,
    max_grad_norm: float,
    rng: np.random.Generator,
) -> list[float]:
    """
    Other parameters as in `behaviour_cloning`.

    :param policy: to fit
    :param optimizer: of its parameters
    :param observations: [N, *shape] as the policy sees them
    :param actions: [N, *shape] of `as_policy_acts`
    :param rng: of the order of the steps
    :return: mean negative log-probability of each epoch
    """
    parameters = list(policy.parameters())
    policy.set_training_mode(True)
    losses: list[float] = []
    for _ in range(n_epochs):
        total = 0.0
        order = rng.permutation(len(actions))
        for rows in np.array_split(order, -(-len(order) // batch_size)):
            tensors = policy.obs_to_tensor(nested.take(observations, rows))[0]
            _, log_prob, entropy = policy.evaluate_actions(tensors, actions[rows])
            assert log_prob is not None
            likelihood = -log_prob.mean()
            loss = likelihood if entropy is None else likelihood - ent_coef * entropy.mean()
            optimizer.zero_grad()
            loss.backward()
            th.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
            optimizer.step()
            total += likelihood.item() * len(rows)
        losses.append(total / len(order))
    policy.set_training_mode(False)
    return losses


def refuse_recurrent(policy: BasePolicy, who: str) -> None:
    """:raises ValueError: for a policy with an LSTM"""
    if hasattr(policy, "lstm_actor"):
        raise ValueError(f"{who} cannot fit a recurrent policy: its steps are drawn one by one")


def take_in(normalizer: VecNormalize, observations: Observations) -> None:
    """A frozen normaliser (``training=False``) is left as it is."""
    if normalizer.training:
        nested.map(lambda statistics, x: statistics.update(x), normalizer.obs_rms, observations)
