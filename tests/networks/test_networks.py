"""Cores, torsos and the recurrent Q-network against step-by-step loops. Heads: test_heads.py."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from support.slow import random_returns
from torch import nn

from sb3_ext import nested
from sb3_ext.networks import (
    GRUCore,
    Head,
    ImpalaResNet,
    LSTMCore,
    RecurrentCore,
    RecurrentQNetwork,
    RecurrentState,
    Scalar,
)
from sb3_ext.networks.streams import Streams

CORES = [LSTMCore, GRUCore]
N_ACTIONS, OBS_DIM, HIDDEN = 3, 4, 8


def random_state(core: RecurrentCore[Any], n: int) -> RecurrentState:
    state: RecurrentState = nested.map(th.randn_like, core.initial_state(n))
    return state


def rows(state: RecurrentState, row: int) -> RecurrentState:
    """The state of one sequence, [1, L, H] each."""
    return nested.take(state, slice(row, row + 1))


def make_net(
    space: spaces.Space[Any] | None = None,
    torso: type[BaseFeaturesExtractor] = FlattenExtractor,
    core_class: type[RecurrentCore[Any]] = LSTMCore,
    n_layers: int = 1,
    head: Head | None = None,
    net_arch: list[int] | None = None,
    **torso_kwargs: Any,
) -> RecurrentQNetwork:
    th.manual_seed(0)
    space = spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32) if space is None else space
    extractor = torso(space, **torso_kwargs)
    return RecurrentQNetwork(
        space,
        spaces.Discrete(N_ACTIONS),
        features_extractor=extractor,
        features_dim=extractor.features_dim,
        head=Scalar() if head is None else head,
        core_class=core_class,
        hidden_size=HIDDEN,
        n_layers=n_layers,
        net_arch=[16] if net_arch is None else net_arch,
    )


def slow_unroll(net: RecurrentQNetwork, obs: th.Tensor, state: RecurrentState) -> tuple[th.Tensor, RecurrentState]:
    """One step after the other, [1, T, ...]."""
    out = []
    for t in range(obs.shape[1]):
        q, state = net.step(obs[:, t], state)
        out.append(q)
    return th.stack(out, dim=1), state


# ---------------------------------------------------------------------- cores


@pytest.mark.parametrize("core_class", CORES)
@pytest.mark.parametrize("n_layers", [1, 2])
def test_one_fused_call_equals_single_steps(core_class: type[RecurrentCore[Any]], n_layers: int) -> None:
    th.manual_seed(0)
    core = core_class(5, HIDDEN, n_layers)
    x, state = th.randn(6, 11, 5), random_state(core, 6)
    fused, after = core(x, state)
    assert fused.shape == (6, 11, HIDDEN)
    for t in range(11):
        y, state = core(x[:, t : t + 1], state)
        th.testing.assert_close(y, fused[:, t : t + 1], rtol=0, atol=1e-6)
    for one, other in zip(nested.leaves(after), nested.leaves(state), strict=True):
        th.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("core_class", "n_tensors"), [(LSTMCore, 2), (GRUCore, 1)])
def test_initial_state_is_zero(core_class: type[RecurrentCore[Any]], n_tensors: int) -> None:
    state = list(nested.leaves(core_class(5, HIDDEN, 3).initial_state(4)))
    assert [s.shape for s in state] == [(4, 3, HIDDEN)] * n_tensors
    assert not any(s.any() for s in state)


@pytest.mark.parametrize("core_class", CORES)
def test_core_sizes_are_checked(core_class: type[RecurrentCore[Any]]) -> None:
    with pytest.raises(ValueError, match="hidden_size 0 and n_layers 1 must be >= 1"):
        core_class(5, 0)
    with pytest.raises(ValueError, match="hidden_size 4 and n_layers 0 must be >= 1"):
        core_class(5, 4, 0)


class Counting(RecurrentCore[dict[str, th.Tensor]]):
    """Counts steps from 7 on: a state that is no zero, no float and no tuple."""

    def initial_state(self, n: int, device: th.device | str = "cpu") -> dict[str, th.Tensor]:
        return {"count": th.full((n,), 7, device=device), "pairs": th.full((n, 2), 0.5, device=device)}

    def forward(self, x: th.Tensor, state: dict[str, th.Tensor]) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        n_steps = th.arange(x.shape[1], device=x.device)
        y = (state["count"][:, None] + n_steps).float()[..., None].expand(-1, -1, self.output_size)
        return y, {**state, "count": state["count"] + x.shape[1]}


@pytest.mark.parametrize("core_class", [*CORES, Counting])
def test_rows_of_a_state_are_selected_and_made_new(core_class: type[RecurrentCore[Any]]) -> None:
    core, ended = core_class(5, HIDDEN, 2), np.array([False, True, True, False])
    x = th.randn(4, 3, 5)
    _, state = core(x, core.initial_state(4))
    before = nested.map(th.clone, state)
    after = core.reset_where(state, ended)
    fresh = core.initial_state(4)
    for row in range(4):
        found, expected = (core.select(tree, [row]) for tree in (after, fresh if ended[row] else before))
        assert all(map(th.equal, nested.leaves(found), nested.leaves(expected)))
        assert all(map(th.equal, nested.leaves(core.select(state, [row])), nested.leaves(core.select(before, [row]))))
    assert core.reset_where(state, np.zeros(4, dtype=bool)) is state


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


# ---------------------------------------------------------------------- torsos

IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
DICT = spaces.Dict(
    {
        "image": IMAGE,
        "vector": spaces.Box(-1, 1, (3,), np.float32),
        "place": spaces.Discrete(5),
        "bits": spaces.MultiBinary(2),
    }
)


def random_obs(space: spaces.Space[Any], n_batch: int, n_time: int) -> Any:
    """[B, T, ...] as the replay returns it: Discrete has a last axis of one."""
    if isinstance(space, spaces.Dict):
        return {key: random_obs(part, n_batch, n_time) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Discrete):
        return th.randint(int(space.n), (n_batch, n_time, 1))
    if space.dtype == np.uint8:
        return th.randint(0, 256, (n_batch, n_time, *(space.shape or ())), dtype=th.uint8)
    return th.rand(n_batch, n_time, *(space.shape or ()))


def at(obs: Any, row: int, t: int) -> Any:
    """One observation as acting sees it, [1, ...], and [1] for Discrete."""
    if isinstance(obs, dict):
        return {key: at(x, row, t) for key, x in obs.items()}
    x = obs[row : row + 1, t]
    return x[:, 0] if x.dtype == th.int64 else x


@pytest.mark.parametrize(
    ("space", "torso", "kwargs"),
    [
        (IMAGE, NatureCNN, {"features_dim": 12}),
        (IMAGE, ImpalaResNet, {"features_dim": 12, "channels": (4, 4)}),
        (DICT, CombinedExtractor, {"cnn_output_dim": 12}),
        (spaces.Discrete(7), FlattenExtractor, {}),
        (spaces.Box(-1, 1, (2, 3), np.float32), FlattenExtractor, {}),
    ],
)
def test_every_torso_is_folded_over_time(
    space: spaces.Space[Any], torso: type[BaseFeaturesExtractor], kwargs: Any
) -> None:
    net = make_net(space, torso, **kwargs)
    obs, state = random_obs(space, 3, 5), random_state(net.core, 3)
    out, _ = net.unroll(obs, state)
    assert out.shape == (3, 5, N_ACTIONS)
    for row in range(3):
        now = rows(state, row)
        for t in range(5):
            q, now = net.step(at(obs, row, t), now)
            th.testing.assert_close(q[0], out[row, t], rtol=0, atol=1e-5)
    refreshed = net.burn_in(obs, state, th.full((3,), 5), (0, 5))
    for one, other in zip(nested.leaves(refreshed), nested.leaves(net.unroll(obs, state)[1]), strict=True):
        th.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_images_are_scaled_by_255_once() -> None:
    net = make_net(IMAGE, NatureCNN, features_dim=12)
    obs = random_obs(IMAGE, 2, 1)
    assert net.features_extractor is not None
    features = net.features_extractor(obs[:, 0].float() / 255)
    y, _ = net.core(features[:, None], net.initial_state(2))
    th.testing.assert_close(net.head_net(y)[:, 0], net(obs[:, 0]))


@pytest.mark.parametrize(
    ("shape", "channels", "conv_out"),
    [((4, 84, 84), (16, 32, 32), 32 * 11 * 11), ((1, 36, 36), (4, 8), 8 * 9 * 9), ((3, 8, 9), (2, 2, 2), 2 * 1 * 2)],
)
def test_impala_shapes(shape: tuple[int, ...], channels: tuple[int, ...], conv_out: int) -> None:
    """Each section halves height and width, rounded up."""
    torso = ImpalaResNet(spaces.Box(0, 255, shape, np.uint8), features_dim=20, channels=channels)
    x = th.rand(2, *shape)
    assert torso.cnn(x).shape == (2, conv_out)
    assert torso(x).shape == (2, 20)
    assert torso.features_dim == 20
    convolutions = [m for m in torso.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 5 * len(channels)


def test_impala_residual_blocks_are_residual() -> None:
    """With the blocks' convolutions at zero what is left is convolution, pool, ReLU, as if there were no blocks."""
    torso = ImpalaResNet(IMAGE, features_dim=6, channels=(4,))
    first, pool, *blocks = list(torso.cnn)[:4]
    for block in blocks:
        for parameter in block.parameters():
            parameter.data.zero_()
    x = th.rand(2, 1, 36, 36)
    th.testing.assert_close(torso.cnn(x), pool(first(x)).relu().flatten(1))


def test_impala_wants_images() -> None:
    with pytest.raises(ValueError, match="ImpalaResNet needs an image space, got Box"):
        ImpalaResNet(spaces.Box(-1, 1, (4,), np.float32))
    with pytest.raises(ValueError, match="ImpalaResNet needs an image space, got Box"):
        ImpalaResNet(spaces.Box(0, 1, (1, 36, 36), np.float32))
    floats = ImpalaResNet(
        spaces.Box(0, 1, (1, 36, 36), np.float32), features_dim=6, channels=(4,), normalized_image=True
    )
    assert floats(th.rand(2, 1, 36, 36)).shape == (2, 6)


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


def test_forget_gates_of_the_lstm_begin_half_open() -> None:
    """A cue fed once is still in the cell after 20 empty steps; with PyTorch's own biases it is gone."""
    kept = []
    for forget_bias in (1.0, 0.0):
        th.manual_seed(0)
        core = LSTMCore(2, 64, forget_bias=forget_bias)
        cue, nothing = th.ones(1, 1, 2), th.zeros(1, 20, 2)
        with th.no_grad():
            _, marked = core(th.cat([cue, nothing], dim=1), core.initial_state(1))
            _, blank = core(th.cat([0 * cue, nothing], dim=1), core.initial_state(1))
        kept.append(float((marked[1] - blank[1]).abs().mean()))
    assert kept[0] > 30 * kept[1]
