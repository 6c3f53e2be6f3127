"""Implicit quantiles against loops over fractions, with noise, and on a return whose quantiles are known."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch as th
from support.slow import random_returns, slow_quantile_huber
from torch import nn

from sb3_ext.networks import IQN, NoisyLinear, clear_noise, sample_noise
from sb3_ext.networks.backups import Backup, Mixture, OneAction
from sb3_ext.networks.iqn import ImplicitQuantiles, Quantiles
from sb3_ext.ops.returns import NStepReturns
from sb3_ext.ops.value_rescaling import IDENTITY, ValueRescaling, ValueTransform

N_ACTIONS, WIDTH = 3, 6
HEAD = IQN(n_quantiles=4, n_target=5, n_acting=7, n_cosines=9)


def make_net(head: IQN = HEAD, net_arch: tuple[int, ...] = (8,)) -> ImplicitQuantiles:
    th.manual_seed(0)
    return head.network(WIDTH, N_ACTIONS, list(net_arch))


@pytest.mark.parametrize("dueling", ["avg", None])
@pytest.mark.parametrize("net_arch", [(8,), (8, 7), ()])
def test_the_network_is_that_of_the_paper(dueling: Any, net_arch: tuple[int, ...]) -> None:
    """Fraction by fraction and cosine by cosine."""
    net, features = make_net(replace(HEAD, dueling=dueling), net_arch), th.randn(2, 3, WIDTH)
    out = net(features)
    assert out.values.shape == (2, 3, N_ACTIONS, 4) and out.taus.shape == (2, 3, 4)
    layer = net.embedding[0]
    assert isinstance(layer, nn.Linear)
    for b, t, n in itertools.product(range(2), range(3), range(4)):
        tau = float(out.taus[b, t, n])
        cosines = [math.cos(math.pi * i * tau) for i in range(9)]
        phi = [
            max(0.0, sum(c * w for c, w in zip(cosines, weights, strict=True)) + bias)
            for weights, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        ]
        expected = net.streams(features[b, t] * th.tensor(phi))
        th.testing.assert_close(out.values[b, t, :, n], expected, rtol=0, atol=1e-5)


def test_fractions_are_drawn_to_learn_and_fixed_to_act() -> None:
    net, features = make_net(), th.randn(50, WIDTH)
    one, other = net(features).taus, net(features).taus
    assert one.shape == (50, 4) and ((one > 0) & (one < 1)).all()
    assert not th.equal(one, other) and len(one.unique()) == one.numel()
    assert abs(float(th.cat([one, other]).mean()) - 0.5) < 0.1
    net.eval()
    midpoints = th.tensor([(2 * i + 1) / 14 for i in range(7)])
    th.testing.assert_close(net(features).taus, midpoints.expand(50, -1))
    assert th.equal(net(features).values, net(features).values)
    target = HEAD.as_target(make_net().eval())
    assert target(features).taus.shape == (50, 5)
    assert not th.equal(target(features).taus, target(features).taus)


@pytest.mark.parametrize("transform", [IDENTITY, ValueRescaling(eps=0.1)], ids=["identity", "rescaled"])
@pytest.mark.parametrize("kappa", [0.0, 1.0])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_loss_compares_each_fraction_with_each_target(transform: ValueTransform, kappa: float, mixed: bool) -> None:
    th.manual_seed(0)
    returns, _ = random_returns(6, 4, 3)
    out = Quantiles(th.randn(6, 4, N_ACTIONS, 4), th.rand(6, 4, 4))
    target_out = Quantiles(th.randn(6, 4, N_ACTIONS, 5), th.rand(6, 4, 5))
    action, after = (th.randint(N_ACTIONS, (6, 4, 1)) for _ in range(2))
    shares = th.rand(6, 4, N_ACTIONS).softmax(-1)
    policy = Mixture(shares) if mixed else OneAction(after)
    backup = Backup(returns, target_out, policy, transform)
    loss, surprise = replace(HEAD, kappa=kappa).loss(out, action, backup)
    assert th.equal(loss, surprise)
    _, td = replace(HEAD, kappa=kappa, priority="td").loss(out, action, backup)
    for b, t in itertools.product(range(6), range(4)):
        chances = shares[b, t] if mixed else th.eye(N_ACTIONS)[after[b, t, 0]]
        values = (chances[:, None] * transform.invert(target_out.values[b, t])).sum(dim=0)
        targets = transform.apply(returns.reward_sum[b, t] + returns.discount[b, t] * values)
        taken = out.values[b, t, action[b, t, 0]]
        expected = slow_quantile_huber(taken.tolist(), targets.tolist(), out.taus[b, t].tolist(), kappa)
        assert loss[b, t].item() == pytest.approx(expected, rel=1e-4)
        assert td[b, t].item() == pytest.approx(abs(float(targets.mean() - taken.mean())), abs=1e-5)


def test_values_are_means_over_fractions() -> None:
    out = Quantiles(th.randn(5, N_ACTIONS, 4), th.rand(5, 4))
    action, h = th.randint(N_ACTIONS, (5, 1)), ValueRescaling(eps=0.1)
    th.testing.assert_close(HEAD.q_values(out), out.values.sum(-1) / 4)
    expected = [h.invert(out.values[b, action[b, 0]]).mean() for b in range(5)]
    th.testing.assert_close(HEAD.expected_returns(out, action, h), th.stack(expected))


@pytest.mark.parametrize(("drawn", "given"), [((5,), (5,)), ((5, 1), (5, 2)), ((), (5, 2))])
def test_fractions_of_a_step_share_its_noise(drawn: tuple[int, ...], given: tuple[int, ...]) -> None:
    """What a row gives among others is what it gives alone, with that row's noise."""
    net, features = make_net(replace(HEAD, noise=0.5)).eval(), th.randn(*given, WIDTH)
    sample_noise(net, drawn)
    together = net(features).values
    layers = [layer for layer in net.modules() if isinstance(layer, NoisyLinear)]
    noises = [layer.noise for layer in layers]
    for row in range(5):
        for layer, noise in zip(layers, noises, strict=True):
            assert noise is not None
            eps_in, eps_out = (eps[row] if drawn else eps for eps in noise)
            layer.noise = eps_in.flatten(), eps_out.flatten()
        th.testing.assert_close(net(features[row : row + 1]).values[0], together[row], rtol=0, atol=1e-5)
    clear_noise(net)
    assert not th.allclose(net(features).values, together)
    sample_noise(net, (4,))
    with pytest.raises(ValueError, match=r"noise \(4,\) does not fit inputs \(5"):
        net(features)


def test_quantiles_of_a_known_return_are_learned() -> None:
    """A return of 0 in a quarter of the cases, else 1: quantiles up to a quarter are 0, above they are 1."""
    th.manual_seed(0)
    head = IQN(n_quantiles=8, n_target=1, kappa=0.0, n_acting=8)
    net = head.network(16, 1, [32])
    optimizer = th.optim.Adam(net.parameters(), lr=5e-3)
    features, action = th.ones(128, 16), th.zeros(128, 1, dtype=th.int64)
    zeros = th.zeros(128)
    for _ in range(300):
        rewards = (th.rand(128) > 0.25).float()
        backup = Backup(NStepReturns(rewards, zeros, action.squeeze(1)), net(features), OneAction(action), IDENTITY)
        loss = head.loss(net(features), action, backup)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with th.no_grad():
        found = net.eval()(features[:1]).values[0, 0]
    np.testing.assert_allclose(found[[0, 3, 4, 5, 6, 7]], [0, 1, 1, 1, 1, 1], atol=0.15)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_quantiles": 0}, "n_quantiles 0 must be an integer >= 1"),
        ({"n_target": 1.5}, "n_target 1.5 must be"),
        ({"n_acting": 0}, "n_acting 0 must"),
        ({"n_cosines": 0}, "n_cosines 0 must"),
        ({"kappa": -1.0}, "kappa -1.0 must be >= 0"),
        ({"priority": "max"}, "priority 'max' must be one of"),
        ({"noise": 0.0}, "noise 0.0 must be > 0"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        IQN(**settings)
