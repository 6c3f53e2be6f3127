"""Every head against loops and plain arithmetic, in every dueling mode, inside both Q-networks and inside R2D2."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch as th
from scipy.special import log_softmax, softmax
from support.heads import EACH, HEADS, ONE, ONE_OF_EACH
from support.slow import bellemare_loop, random_returns, slow_quantile_huber
from torch import nn
from torch.nn import functional as F

from sb3_ext.networks import (
    C51,
    Head,
    NoisyLinear,
    Quantile,
    Scalar,
)
from sb3_ext.networks.backups import Backup, Mixture, NextPolicy, OneAction
from sb3_ext.networks.heads import StreamsHead
from sb3_ext.networks.streams import DuelingMode, Streams
from sb3_ext.ops.distributional import quantile_midpoints
from sb3_ext.ops.returns import NStepReturns
from sb3_ext.ops.value_rescaling import IDENTITY, ValueRescaling, ValueTransform

N_ACTIONS, WIDTH = 3, 6


def make_streams(head: StreamsHead, net_arch: list[int] | None = None) -> Streams:
    return head.network(WIDTH, N_ACTIONS, [7] if net_arch is None else net_arch)


class LossInput:
    """Random arguments of `Head.loss` with leading axes [B, M]."""

    def __init__(self, head: StreamsHead, n_batch: int = 10, trained: int = 6) -> None:
        self.returns, _ = random_returns(n_batch, trained, 3)
        with th.no_grad():
            shape = make_streams(head)(th.zeros(n_batch, trained, WIDTH)).shape
        self.out = (3 * th.randn(shape)).requires_grad_()
        self.target_out = (3 * th.randn(shape)).requires_grad_()
        self.action, self.next_action = (th.randint(N_ACTIONS, (n_batch, trained, 1)) for _ in range(2))

    def loss_of(
        self, head: Head, transform: ValueTransform, policy: NextPolicy | None = None
    ) -> tuple[th.Tensor, th.Tensor]:
        policy = OneAction(self.next_action) if policy is None else policy
        return head.loss(self.out, self.action, Backup(self.returns, self.target_out, policy, transform))


def backup(returns: NStepReturns, target_out: th.Tensor, next_action: th.Tensor, transform: ValueTransform) -> Backup:
    return Backup(returns, target_out, OneAction(next_action), transform)


# ---------------------------------------------------------------------- streams


@pytest.mark.parametrize("mode", ["avg", "max", "naive"])
@ONE
def test_dueling_baselines(head: StreamsHead, mode: DuelingMode) -> None:
    """Output by output, in a loop."""
    th.manual_seed(0)
    net, features = make_streams(replace(head, dueling=mode)), th.randn(2, 4, WIDTH)
    assert net.value is not None
    out = net(features).reshape(2, 4, N_ACTIONS, -1)
    advantage, value = net.advantage(features).reshape(2, 4, N_ACTIONS, -1), net.value(features).reshape(2, 4, -1)
    assert out.shape == advantage.shape
    for b, t, i in itertools.product(range(2), range(4), range(out.shape[-1])):
        a = advantage[b, t, :, i].tolist()
        baseline = {"avg": sum(a) / N_ACTIONS, "max": max(a), "naive": 0.0}[mode]
        expected = [value[b, t, i].item() + each - baseline for each in a]
        np.testing.assert_allclose(out[b, t, :, i].tolist(), expected, atol=1e-6)


@ONE
def test_dueling_identities(head: StreamsHead) -> None:
    """Output by output, avg: the mean over actions is V. max: the largest is V. naive without V: a single stream."""
    th.manual_seed(1)
    features, nets = th.randn(200, WIDTH), {}
    modes: tuple[DuelingMode, ...] = ("naive", "avg", "max")
    for mode in modes:
        nets[mode] = make_streams(replace(head, dueling=mode))
        nets[mode].load_state_dict(nets["naive"].state_dict())
    stream = nets["naive"].value
    assert stream is not None
    value = stream(features)
    out = {mode: net(features).reshape(200, N_ACTIONS, -1) for mode, net in nets.items()}
    th.testing.assert_close(out["avg"].mean(dim=1), value, rtol=0, atol=1e-5)
    th.testing.assert_close(out["max"].amax(dim=1), value, rtol=0, atol=1e-5)
    if not isinstance(head, C51):  # all rank actions alike
        orders = [head.q_values(net(features)).argsort(dim=-1) for net in nets.values()]
        assert th.equal(orders[0], orders[1]) and th.equal(orders[0], orders[2])

    single = make_streams(replace(head, dueling=None))
    single.advantage.load_state_dict(nets["naive"].advantage.state_dict())
    assert single.value is None
    th.testing.assert_close(single(features).reshape(200, N_ACTIONS, -1) + value.unsqueeze(1), out["naive"])


def test_a_shift_common_to_all_atoms_is_invisible() -> None:
    """Why a baseline for logits must differ from atom to atom."""
    head = HEADS[2]
    out = th.randn(20, N_ACTIONS, 11)
    th.testing.assert_close(head.q_values(out + th.randn(20, 1, 1)), head.q_values(out))


@pytest.mark.parametrize("net_arch", [[], [32], [32, 32]])
@pytest.mark.parametrize("noise", [None, 0.5])
@ONE
def test_trap_05_both_streams_have_any_sign(head: StreamsHead, noise: float | None, net_arch: list[int]) -> None:
    th.manual_seed(2)
    net = make_streams(replace(head, noise=noise), net_arch)
    shared = net.trunk(10 * th.randn(500, WIDTH))
    assert sum(isinstance(each, nn.Linear) for each in net.trunk.modules()) == len(net_arch[:-1])
    for stream in (net.advantage, net.value):
        assert stream is not None
        out = stream(shared)
        assert out.min() < 0 < out.max()
        layer = nn.Linear if noise is None else NoisyLinear
        assert [type(each) for each in stream] == [layer, nn.ReLU] * len(net_arch[-1:]) + [layer]


def test_trap_05_a_negative_value_can_be_learned() -> None:
    th.manual_seed(3)
    net, features = Scalar().network(4, 2, [16]), th.randn(32, 4)
    optimizer = th.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(200):
        loss = (net(features) + 5.0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_expected_values() -> None:
    scalar, c51, quantile = ONE_OF_EACH
    out = th.randn(4, 5, N_ACTIONS)
    assert scalar.q_values(out) is out
    logits, support = th.randn(4, 5, N_ACTIONS, 11), np.linspace(-6, 6, 11)
    np.testing.assert_allclose(c51.q_values(logits), softmax(logits.numpy(), axis=-1) @ support, atol=1e-5)
    quantiles = th.randn(4, 5, N_ACTIONS, 7)
    np.testing.assert_allclose(quantile.q_values(quantiles), quantiles.numpy().mean(axis=-1), atol=1e-6)


@pytest.mark.parametrize(
    ("head_class", "kwargs", "message"),
    [
        (Scalar, {"dueling": "mean"}, "dueling 'mean' must be one of 'avg', 'max', 'naive', None"),
        (C51, {"dueling": "none"}, "dueling 'none' must be one of 'avg', 'max', 'naive', None"),
        (Scalar, {"td_loss": "l1"}, "td_loss 'l1' must be one of 'mse', 'huber'"),
        (Scalar, {"noise": 0.0}, "noise 0.0 must be > 0 and finite: None gives layers without noise"),
        (Quantile, {"noise": -0.1}, "noise -0.1 must be > 0 and finite"),
        (C51, {"n_atoms": 1}, "n_atoms 1 must be an integer >= 2"),
        (C51, {"v_min": 15.0}, "v_min 15.0 must be less than v_max 15.0"),
        (C51, {"v_max": -20.0}, "v_min -15.0 must be less than v_max -20.0"),
        (C51, {"v_max": float("inf")}, "v_max inf, and both must be finite"),
        (C51, {"v_min": -3e38}, "both must be finite in single precision"),
        (C51, {"priority": "kl"}, "priority 'kl' must be one of 'loss', 'td'"),
        (Quantile, {"n_quantiles": 0}, "n_quantiles 0 must be an integer >= 1"),
        (Quantile, {"kappa": -1.0}, "kappa -1.0 must be >= 0"),
        (Quantile, {"kappa": float("nan")}, "kappa nan must be >= 0"),
        (Quantile, {"priority": None}, "priority None must be one of 'loss', 'td'"),
    ],
)
def test_impossible_settings_are_refused(head_class: type[Head], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head_class(**kwargs)


# ---------------------------------------------------------------------- losses


def target_values(x: LossInput, b: int, t: int, values: np.ndarray, transform: ValueTransform) -> np.ndarray:
    """``h(R + discount h^-1(values))`` in float64."""
    discounted = x.returns.discount[b, t].item() * transform.invert(values.astype(np.float64))
    return transform.apply(x.returns.reward_sum[b, t].item() + discounted)


def slow_loss(
    head: Head, x: LossInput, b: int, t: int, transform: ValueTransform
) -> tuple[float, float, np.ndarray | None]:
    """:return: loss, magnitude for the priority and, where it is easy, the gradient to the outputs of the action"""
    own = x.out[b, t, int(x.action[b, t])].detach().double().numpy()
    following = x.target_out[b, t, int(x.next_action[b, t])].detach().double().numpy()
    if isinstance(head, Scalar):
        td = float(target_values(x, b, t, following, transform) - own)
        if head.td_loss == "mse":
            return 0.5 * td * td, abs(td), np.array(-td)
        return (0.5 * td * td if abs(td) < 1 else abs(td) - 0.5), abs(td), np.array(-max(-1.0, min(1.0, td)))
    if isinstance(head, C51):
        support = head.support(x.out).double().numpy()
        atoms = target_values(x, b, t, support, transform)
        m, p = bellemare_loop(atoms, softmax(following), support), softmax(own)
        loss = -float(m @ log_softmax(own))
        kl = sum(mi * np.log(mi / pi) for mi, pi in zip(m, p, strict=True) if mi > 0)
        return loss, (kl if head.priority == "loss" else abs(float((m - p) @ support))), p - m
    assert isinstance(head, Quantile)
    targets = target_values(x, b, t, following, transform)
    loss = slow_quantile_huber(
        own.tolist(), targets.tolist(), quantile_midpoints(head.n_quantiles).tolist(), head.kappa
    )
    return loss, (loss if head.priority == "loss" else abs(float(targets.mean() - own.mean()))), None


@pytest.mark.parametrize("transform", [IDENTITY, ValueRescaling()])
@EACH
def test_loss_equals_a_loop(head: StreamsHead, transform: ValueTransform) -> None:
    th.manual_seed(4)
    x = LossInput(head)
    loss, magnitude = x.loss_of(head, transform)
    assert loss.shape == magnitude.shape == (10, 6)
    loss.sum().backward()
    assert x.out.grad is not None
    for b, t in itertools.product(range(10), range(6)):
        expected, expected_magnitude, gradient = slow_loss(head, x, b, t, transform)
        assert loss[b, t].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert magnitude[b, t].item() == pytest.approx(expected_magnitude, rel=1e-4, abs=1e-5)
        if gradient is not None:
            np.testing.assert_allclose(x.out.grad[b, t, int(x.action[b, t])], gradient, rtol=1e-4, atol=1e-4)
        x.out.grad[b, t, int(x.action[b, t])] = 0
    assert not x.out.grad.any()  # the other actions have none
    assert x.target_out.grad is None
    assert not magnitude.requires_grad
    assert (magnitude >= 0).all()


@EACH
def test_single_transitions_have_the_loss_that_they_have_in_sequences(head: StreamsHead) -> None:
    th.manual_seed(5)
    x = LossInput(head)
    in_sequences = x.loss_of(head, ValueRescaling())
    flat = copy.copy(x)
    flat.out, flat.target_out = x.out.flatten(0, 1), x.target_out.flatten(0, 1)
    flat.action, flat.next_action = x.action.flatten(0, 1), x.next_action.flatten(0, 1)
    flat.returns = NStepReturns(*(part.flatten(0, 1) for part in x.returns))
    alone = flat.loss_of(head, ValueRescaling())
    for one, other in zip(in_sequences, alone, strict=True):
        assert other.shape == (60,)
        th.testing.assert_close(one.flatten(), other)


def test_huber_is_the_loss_of_sb3s_dqn() -> None:
    """What `DQN.train` computes in SB3 2.9: smooth_l1_loss(Q(s, a), rewards + (1 - dones) * gamma * max Q'(s'))."""
    th.manual_seed(6)
    head, gamma = Scalar(td_loss="huber"), 0.99
    out, target_out, action = 2 * th.randn(32, 3), 2 * th.randn(32, 3), th.randint(3, (32, 1))
    rewards, dones = 2 * th.randn(32, 1), (th.rand(32, 1) < 0.3).float()
    target = rewards + (1 - dones) * gamma * target_out.max(dim=1).values.reshape(-1, 1)
    expected = F.smooth_l1_loss(out.gather(1, action), target)
    returns = NStepReturns(rewards[:, 0], gamma * (1 - dones[:, 0]), th.ones(32, dtype=th.int64))
    best = target_out.argmax(dim=1, keepdim=True)
    th.testing.assert_close(head.loss(out, action, backup(returns, target_out, best, IDENTITY))[0].mean(), expected)


def test_the_divergence_of_a_perfect_prediction_is_zero() -> None:
    """The loss is the target's entropy then, so the loss itself would be no priority."""
    head = HEADS[2]
    action = th.zeros(8, 1, dtype=th.int64)
    returns = NStepReturns(th.zeros(8), th.ones(8), th.ones(8, dtype=th.int64))
    out = th.randn(8, N_ACTIONS, 11)
    loss, magnitude = head.loss(out, action, backup(returns, out, action, IDENTITY))
    assert (loss > 0.5).all()
    assert (magnitude >= 0).all() and (magnitude < 1e-5).all()


def test_trap_04_the_weight_scales_the_loss_and_not_the_target() -> None:
    """The head never sees a weight; outside it, w loss has the gradient w td. Inside both sides it would be w^2 td."""
    th.manual_seed(5)
    returns, _ = random_returns(8, 4, 2)
    head, action = Scalar(), th.zeros(8, 4, 1, dtype=th.int64)
    out, target_out = th.randn(8, 4, N_ACTIONS, requires_grad=True), th.randn(8, 4, N_ACTIONS)
    weights = th.rand(8)
    loss, abs_td = head.loss(out, action, backup(returns, target_out, action, IDENTITY))
    (weights[:, None] * loss).sum().backward()
    assert out.grad is not None
    th.testing.assert_close(out.grad[..., 0].abs(), weights[:, None] * abs_td)


@EACH
def test_a_mixture_of_one_action_is_that_action(head: StreamsHead) -> None:
    th.manual_seed(8)
    x = LossInput(head)
    certain = Mixture(F.one_hot(x.next_action.squeeze(-1), N_ACTIONS).float())
    for one, other in zip(x.loss_of(head, ValueRescaling()), x.loss_of(head, ValueRescaling(), certain), strict=True):
        th.testing.assert_close(one, other)


def test_a_mixture_bootstraps_from_expected_returns() -> None:
    """Of scalars the mean of the returns that the actions promise, of distributions the mixture of them."""
    p = th.tensor([[0.25, 0.0, 0.75]])
    returns, action = NStepReturns(th.zeros(1), th.ones(1), th.ones(1, dtype=th.int64)), th.zeros(1, 1, dtype=th.int64)
    q, h = th.tensor([[1.0, 50.0, 3.0]]), ValueRescaling()
    _, abs_td = Scalar().loss(th.zeros(1, 3), action, Backup(returns, q, Mixture(p), h))
    expected = h.apply(0.25 * h.invert(q[0, 0]) + 0.75 * h.invert(q[0, 2]))
    th.testing.assert_close(abs_td[0], expected)

    c51, logits = C51(n_atoms=3, v_min=-1.0, v_max=1.0), th.randn(1, 3, 3)
    loss, _ = c51.loss(th.zeros(1, 3, 3), action, Backup(returns, logits, Mixture(p), IDENTITY))
    th.testing.assert_close(loss, th.log(th.tensor([3.0])))  # of a target on the support, by equal chances
    mixed = 0.25 * logits[0, 0].softmax(0) + 0.75 * logits[0, 2].softmax(0)
    loss, _ = c51.loss(mixed.log().expand(1, 3, 3), action, Backup(returns, logits, Mixture(p), IDENTITY))
    th.testing.assert_close(loss[0], -(mixed * mixed.log()).sum())


@pytest.mark.parametrize("double_q", [True, False])
def test_the_greedy_policy_is_the_choosers(double_q: bool) -> None:
    online, target = th.tensor([[1.0, 2.0, 0.0]]), th.tensor([[3.0, 2.0, 0.0]])
    policy = Scalar().next_policy(online if double_q else target, target)
    assert policy.of(target).tolist() == [2.0 if double_q else 3.0]


def test_a_range_of_ones_own_says_what_returns_are_like() -> None:
    assert [head.has_own_range for head in (Scalar(), C51(), C51(v_max=20.0), C51(v_min=0.0), Quantile())] == [
        False, False, True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("transform", [IDENTITY, ValueRescaling()])
@ONE
def test_backups_of_a_constant_reward_reach_its_value(head: StreamsHead, transform: ValueTransform) -> None:
    """Reward 1 for ever and gamma 0.8: value 5, in rescaled units h(5)."""
    th.manual_seed(7)
    head = replace(head, n_atoms=51) if isinstance(head, C51) else head
    net, features = make_streams(head, []), th.ones(1, WIDTH)
    target = copy.deepcopy(net)
    optimizer = th.optim.Adam(net.parameters(), lr=0.02)
    returns = NStepReturns(th.ones(1), th.full((1,), 0.8), th.ones(1, dtype=th.int64))
    for step in range(1000):
        if step % 10 == 0:
            target.load_state_dict(net.state_dict())
        with th.no_grad():
            target_out = target(features)
            best = head.q_values(net(features)).argmax(dim=-1, keepdim=True)
        action = th.tensor([[step % N_ACTIONS]])
        loss, _ = head.loss(net(features), action, backup(returns, target_out, best, transform))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    q = head.q_values(net(features)).detach()
    np.testing.assert_allclose(transform.invert(q).numpy(), 5.0, rtol=0.06)
