"""The recurrent Q-network against step-by-step loops."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch as th
from support.networks import CORES, HIDDEN, N_ACTIONS, OBS_DIM, make_net, random_state, rows, slow_unroll
from support.slow import random_returns
from torch import nn

from sb3_ext import nested
from sb3_ext.networks import (
    RecurrentCore,
    Scalar,
)
from sb3_ext.networks.streams import Streams

# ---------------------------------------------------------------------- the network in time


@pytest.mark.parametrize("core_class", CORES)
def test_trap_06_one_unroll_gives_the_bootstrap_values(core_class: type[RecurrentCore[Any]]) -> None:
    """Index t + k of the unroll is Q(s_{t+k}) with the hidden state of s_{t+k}: that of an agent that walked there."""
    net, trained, n = make_net(core_class=core_class), 5, 3
    returns, mask = random_returns(12, trained, n)
    obs, state = th.randn(12, trained + n + 1, OBS_DIM), random_state(net.core, 12)
    out, _ = net.unroll(obs, state)
    for b, t in itertools.product(range(12), range(trained)):
        if mask[b, t] == 0:
            continue
        index = int(returns.bootstrap_index[b, t])
        assert t < index <= min(t + n, int(mask[b].sum()))
        walked, _ = slow_unroll(net, obs[b : b + 1, : index + 1], rows(state, b))
        th.testing.assert_close(out[b, index], walked[0, -1], rtol=0, atol=1e-5)
        at_t = slow_unroll(net, obs[b : b + 1, :t], rows(state, b))[1] if t else rows(state, b)
        stale, _ = net.step(obs[b : b + 1, index], at_t)
        assert (out[b, index] - stale[0]).abs().max() > 1e-4  # the hidden state of s_t gives something else


@pytest.mark.parametrize("core_class", CORES)
@pytest.mark.parametrize("n_layers", [1, 2])
def test_trap_07_the_gradient_flows_through_the_whole_trained_part(
    core_class: type[RecurrentCore[Any]], n_layers: int
) -> None:
    net = make_net(core_class=core_class, n_layers=n_layers)
    obs = th.randn(3, 12, OBS_DIM, requires_grad=True)
    out, _ = net.unroll(obs, net.initial_state(3))
    (gradient,) = th.autograd.grad(out[:, -1].sum(), obs)
    assert (gradient.abs().sum(dim=-1) > 0).all()


@pytest.mark.parametrize("core_class", CORES)
@pytest.mark.parametrize(("length", "period"), [(4, 2), (5, 2), (3, 1), (6, 6), (2, 5), (0, 3)])
def test_burn_in_equals_a_loop_over_sequences(core_class: type[RecurrentCore[Any]], length: int, period: int) -> None:
    """Lengths are multiples of the period up to l, and l itself; columns before the real ones are padding."""
    net = make_net(core_class=core_class, n_layers=2)
    offsets = tuple(sorted({*range(0, length + 1, period), length}))
    lengths = th.tensor(offsets * 3)[th.randperm(3 * len(offsets))]
    obs, state = th.randn(len(lengths), length, OBS_DIM), random_state(net.core, len(lengths))
    for row, b in enumerate(lengths.tolist()):
        obs[row, : length - b] = 1e3  # would show
    found = net.burn_in(obs, state, lengths, offsets)
    for row, b in enumerate(lengths.tolist()):
        now = rows(state, row)
        for t in range(length - b, length):
            _, now = net.step(obs[row : row + 1, t], now)
        for one, other in zip(nested.leaves(rows(found, row)), nested.leaves(now), strict=True):
            th.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("core_class", CORES)
def test_trap_12_the_gradient_of_burn_in_steps_is_exactly_zero(core_class: type[RecurrentCore[Any]]) -> None:
    net, n_batch, length = make_net(core_class=core_class), 6, 4
    lengths = th.tensor([0, 2, 4, 4, 2, 0])
    burn_in_obs = th.randn(n_batch, length, OBS_DIM, requires_grad=True)
    obs = th.randn(n_batch, 7, OBS_DIM, requires_grad=True)
    stored = nested.map(lambda s: s.requires_grad_(), random_state(net.core, n_batch))
    parameters = list(net.parameters())

    state = net.burn_in(burn_in_obs, stored, lengths, (0, 2, 4))
    assert not any(s.requires_grad for s in nested.leaves(state))
    loss = net.unroll(obs, state)[0].square().sum()
    *gradients, of_obs = th.autograd.grad(loss, [*parameters, obs], retain_graph=True)
    before = [burn_in_obs, *nested.leaves(stored)]
    of_burn_in = th.autograd.grad(loss, before, allow_unused=True, materialize_grads=True)
    assert not any(g.any() for g in of_burn_in)
    assert of_obs.any()

    # The state as a constant gives the same gradient bit for bit; backpropagating through burn-in gives another one.
    constant = net.unroll(obs, nested.map(th.clone, state))[0].square().sum()
    for one, other in zip(gradients, th.autograd.grad(constant, parameters), strict=True):
        assert th.equal(one, other)
    through, _ = net.unroll(th.cat((burn_in_obs, obs), dim=1)[2:4], nested.take(stored, slice(2, 4)))
    detached, _ = net.unroll(obs[2:4], nested.take(state, slice(2, 4)))
    losses = [out[:, -7:].square().sum() for out in (through, detached)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    full, cut = (th.autograd.grad(each, list(net.core.parameters())) for each in losses)
    assert max((one - other).abs().max().item() for one, other in zip(full, cut, strict=True)) > 1e-4


def test_trap_08_each_network_burns_in_its_own_state() -> None:
    """From one stored state, two networks come to two states; each is that of its own walk."""
    nets = [make_net(), make_net()]
    for parameter in nets[1].parameters():
        parameter.data += 0.1
    obs, stored = th.randn(5, 4, OBS_DIM), random_state(nets[0].core, 5)
    states = [list(nested.leaves(net.burn_in(obs, stored, th.full((5,), 4), (0, 4)))) for net in nets]
    assert (states[0][0] - states[1][0]).abs().max() > 1e-3
    for net, state in zip(nets, states, strict=True):
        for one, other in zip(state, nested.leaves(net.unroll(obs, stored)[1]), strict=True):
            th.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("core_class", CORES)
def test_a_batch_of_64_equals_64_single_sequences(core_class: type[RecurrentCore[Any]]) -> None:
    net, offsets = make_net(core_class=core_class, n_layers=2), (0, 3, 6, 8)
    lengths = th.tensor(offsets)[th.randint(len(offsets), (64,))]
    burn_in_obs, obs = th.randn(64, 8, OBS_DIM), th.randn(64, 25, OBS_DIM)
    stored = random_state(net.core, 64)
    batch, _ = net.unroll(obs, net.burn_in(burn_in_obs, stored, lengths, offsets))
    for row in range(64):
        one = slice(row, row + 1)
        state = net.burn_in(burn_in_obs[one], rows(stored, row), lengths[one], offsets)
        single, _ = net.unroll(obs[one], state)
        th.testing.assert_close(single, batch[one], rtol=0, atol=1e-5)


# ---------------------------------------------------------------------- stateless calls, states from outside


@pytest.mark.parametrize("core_class", CORES)
def test_forward_and_predict_start_from_a_fresh_state(core_class: type[RecurrentCore[Any]]) -> None:
    net = make_net(core_class=core_class)
    obs = th.randn(20, OBS_DIM)
    q, _ = net.step(obs, net.initial_state(20))
    assert th.equal(net(obs), q)
    assert th.equal(net._predict(obs), q.argmax(dim=1))


def test_a_head_without_hidden_layers_and_one_stream() -> None:
    net = make_net(head=Scalar(dueling=None), net_arch=[])
    assert isinstance(net.head_net, Streams)
    assert [type(layer) for layer in net.head_net.advantage] == [nn.Linear]
    assert net(th.randn(2, OBS_DIM)).shape == (2, N_ACTIONS)


@pytest.mark.parametrize("core_class", CORES)
def test_state_from_numpy(core_class: type[RecurrentCore[Any]]) -> None:
    net = make_net(core_class=core_class, n_layers=2)
    rng = np.random.default_rng(0)
    state = nested.map(lambda s: rng.normal(size=s.shape), net.initial_state(5))
    found = net.state_from_numpy(state, 5)
    for one, other in zip(nested.leaves(found), nested.leaves(state), strict=True):
        assert one.dtype == th.float32
        np.testing.assert_array_equal(one.numpy(), other.astype(np.float32))


@pytest.mark.parametrize(
    "shapes",
    [
        [(5, 1, HIDDEN)],  # one tensor where an LSTM has two
        [(5, 1, HIDDEN)] * 3,
        [(5, 2, HIDDEN)] * 2,  # another number of layers
        [(4, 1, HIDDEN)] * 2,  # of environments
        [(5, 1, HIDDEN + 1)] * 2,
        [(5, 1, HIDDEN), (5, 1, 2)],
        [(1, 5, HIDDEN)] * 2,  # PyTorch's order
        [(5, HIDDEN)] * 2,
        [()] * 2,
    ],
)
def test_a_state_of_another_shape_is_refused(shapes: list[tuple[int, ...]]) -> None:
    of_core = re.escape(str(((5, 1, HIDDEN),) * 2))
    words = rf"state has shapes {re.escape(str(tuple(shapes)))}, LSTMCore has {of_core} for 5 environments"
    with pytest.raises(ValueError, match=words):
        make_net().state_from_numpy(tuple(np.zeros(shape) for shape in shapes), 5)
    with pytest.raises(ValueError, match=rf"state has shapes \(5, 1, {HIDDEN}\), LSTMCore has {of_core}"):
        make_net().state_from_numpy(np.zeros((5, 1, HIDDEN)), 5)
