"""The learners of Q-learning by themselves: networks, batches and an optimizer, and nothing of SB3's loop."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import polyak_update

from sb3_ext import nested
from sb3_ext.buffers.prioritized import PrioritizedSamples
from sb3_ext.buffers.replay import Handle
from sb3_ext.buffers.windows import SequenceSamples
from sb3_ext.learners.q import QLearner, SequenceLearner, Settings, TransitionLearner, Update, Windows
from sb3_ext.networks import QNetwork, RecurrentQNetwork
from sb3_ext.networks.heads import C51, Head, Quantile, Scalar
from sb3_ext.ops.value_rescaling import IDENTITY

SPACE, ACTIONS = spaces.Box(-1.0, 1.0, (3,), np.float32), spaces.Discrete(2)
SETTINGS = Settings(gamma=0.9, tau=0.25, double_q=True, max_grad_norm=10.0, transform=IDENTITY, eta=0.9)
WINDOWS = Windows(sequence_length=4, n_steps=2, burn_in_offsets=(0, 2))
HEADS: list[Head] = [Scalar(), C51(noise=0.1, n_atoms=11), Quantile(n_quantiles=5)]
B = 6


def learner_of(head: Head, recurrent: bool) -> QLearner[Any, Any]:
    th.manual_seed(0)

    def net(cls: Any) -> Any:
        return cls(SPACE, ACTIONS, FlattenExtractor(SPACE), 3, head=head, net_arch=[8])

    online, target = (net(RecurrentQNetwork if recurrent else QNetwork) for _ in range(2))
    optimizer = th.optim.Adam(online.parameters(), lr=1e-2)
    if recurrent:
        return SequenceLearner(online, target, optimizer, SETTINGS, WINDOWS)
    return TransitionLearner(online, target, optimizer, SETTINGS)


def batch_for(learner: QLearner[Any, Any]) -> Any:
    """Rewards of 1, half of them the last."""
    th.manual_seed(1)
    handle = Handle(np.arange(B), np.zeros(B, dtype=np.int64))
    ended = (th.arange(B) % 2).float()
    if isinstance(learner, TransitionLearner):
        return PrioritizedSamples(
            observations=th.rand(B, 3), actions=th.randint(2, (B, 1)), next_observations=th.rand(B, 3),
            dones=ended[:, None], rewards=th.ones(B, 1), discounts=th.full((B, 1), 0.9), weights=th.ones(B),
            handle=handle, extras={},
        )  # fmt: skip
    terminated = th.zeros(B, 6)
    terminated[:, -1] = ended
    return SequenceSamples(
        burn_in_observations=th.rand(B, 2, 3), observations=th.rand(B, 7, 3), actions=th.randint(2, (B, 4, 1)),
        rewards=th.ones(B, 6), terminated=terminated, mask=th.ones(B, 6),
        burn_in_lengths=2 * (th.arange(B) % 2), states=learner.q_net.initial_state(B), weights=th.ones(B),
        handle=handle, extras={},
    )  # fmt: skip


EACH = pytest.mark.parametrize(
    ("head", "recurrent"), [(head, recurrent) for head in HEADS for recurrent in (False, True)], ids=repr
)


@EACH
def test_an_update_is_tensors_in_and_out_and_learns(head: Head, recurrent: bool) -> None:
    learner = learner_of(head, recurrent)
    batch = batch_for(learner)
    losses = []
    for step in range(60):
        told: Update = learner.update(batch, step % 10 == 0)
        assert told.priorities.shape == (B,) and told.log.shape == (3,)
        assert not any(x.requires_grad for x in told)
        losses.append(float(told.log[1]))
    assert losses[-1] < 0.5 * losses[0]


@EACH
def test_a_state_dict_is_all_that_an_update_changes(head: Head, recurrent: bool) -> None:
    learner = learner_of(head, recurrent)
    batch = batch_for(learner)
    learner.update(batch, True)
    kept = copy.deepcopy(learner.state_dict())
    other = learner_of(head, recurrent)
    other.load_state_dict(kept)
    for each in (learner, other):
        th.manual_seed(2)
        each.update(batch, True)
    ours, theirs = (list(nested.leaves(each.state_dict())) for each in (learner, other))
    for a, b in zip(ours, theirs, strict=True):
        assert th.equal(a, b) if isinstance(a, th.Tensor) else a == b


def test_the_target_network_follows_as_sb3s_does() -> None:
    learner = learner_of(Scalar(), False)
    expected = copy.deepcopy(learner.q_net_target)
    polyak_update(learner.q_net.parameters(), expected.parameters(), 0.25)
    learner.update_target()
    for ours, theirs in zip(learner.q_net_target.parameters(), expected.parameters(), strict=True):
        assert th.equal(ours, theirs)


@pytest.mark.parametrize("recurrent", [False, True])
def test_heads_get_the_target_networks_view_of_the_trained_steps_when_they_ask(recurrent: bool) -> None:
    seen: list[Any] = []

    class Asks(Scalar):
        needs_target_now = True

        def loss(self, out: Any, action: Any, backup: Any) -> Any:
            seen.append((out, backup))
            return super().loss(out, action, backup)

    learner = learner_of(Asks(), recurrent)
    batch = batch_for(learner)
    learner.update(batch, False)
    ((out, backup),) = seen
    assert backup.target_now.shape == out.shape and not backup.target_now.requires_grad
    with th.no_grad():
        if isinstance(learner, SequenceLearner):
            expected = learner.unroll(learner.q_net_target, batch)[:, :4]
        else:
            expected = learner.q_net_target.outputs(batch.observations)
    th.testing.assert_close(backup.target_now, expected)


def test_gamma_may_differ_from_row_to_row() -> None:
    learner = learner_of(Scalar(), False)
    batch = batch_for(learner)
    discounts = th.linspace(0.0, 1.0, B)[:, None]
    with th.no_grad():
        online, target = (net.outputs(batch.next_observations) for net in (learner.q_net, learner.q_net_target))
        bootstrapped = target.gather(1, online.argmax(dim=1, keepdim=True))
        expected = 1.0 + discounts * (1.0 - batch.dones) * bootstrapped
        expected -= learner.q_net.outputs(batch.observations).gather(1, batch.actions)
    told = learner.update(batch._replace(discounts=discounts), False)
    th.testing.assert_close(told.priorities, expected.abs().squeeze(1))
