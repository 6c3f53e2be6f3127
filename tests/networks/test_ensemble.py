"""Batched networks: each member is the plain network with its weights, forward and backward."""

from __future__ import annotations

import pytest
import torch as th
from torch import nn

from sb3_ext.networks.ensemble import EnsembleLayerNorm, EnsembleLinear, ResidualBlock, layer_norm_mlp, simba

N, B = 3, 5


def plain(layer: nn.Module, member: int) -> nn.Module:
    """:return: PyTorch's own layer with a member's weights"""
    if isinstance(layer, EnsembleLinear):
        _, n_in, n_out = layer.weight.shape
        linear = nn.Linear(n_in, n_out)
        linear.weight.data, linear.bias.data = layer.weight.data[member].T, layer.bias.data[member, 0]
        return linear
    assert isinstance(layer, EnsembleLayerNorm)
    norm = nn.LayerNorm(layer.weight.shape[-1])
    norm.weight.data, norm.bias.data = layer.weight.data[member, 0], layer.bias.data[member, 0]
    return norm


def gradients(layer: nn.Module) -> tuple[th.Tensor, th.Tensor]:
    assert isinstance(layer.weight, th.Tensor) and isinstance(layer.bias, th.Tensor)
    assert layer.weight.grad is not None and layer.bias.grad is not None
    return layer.weight.grad, layer.bias.grad


@pytest.mark.parametrize("n_asked", [1, 2, N])
@pytest.mark.parametrize("make", [lambda: EnsembleLinear(N, 4, 6), lambda: EnsembleLayerNorm(N, 4)])
def test_each_member_is_the_plain_layer(make: type[nn.Module], n_asked: int) -> None:
    th.manual_seed(0)
    layer = make()
    for p in layer.parameters():
        nn.init.normal_(p)  # a norm begins with ones and zeros
    x = th.randn(n_asked, B, 4, requires_grad=True)
    y = layer(x)
    upstream = th.randn_like(y)
    y.backward(upstream)
    weight_grad, bias_grad = gradients(layer)
    assert x.grad is not None
    for member in range(n_asked):
        one = plain(layer, member)
        x_one = x.detach()[member].clone().requires_grad_()
        y_one = one(x_one)
        th.testing.assert_close(y[member], y_one)
        y_one.backward(upstream[member])
        weight, bias = gradients(one)
        th.testing.assert_close(x.grad[member], x_one.grad)
        th.testing.assert_close(weight_grad[member], weight.reshape(len(weight), -1).T)
        th.testing.assert_close(bias_grad[member, 0], bias)
    for member in range(n_asked, N):
        assert not weight_grad[member].any() and not bias_grad[member].any(), "not asked"


@pytest.mark.parametrize("make", [layer_norm_mlp, simba])
def test_the_first_members_alone_are_the_first_of_all(make: type[nn.Module]) -> None:
    torso = make(N, 4, 2, [8, 8], nn.ReLU)
    x = th.randn(N, B, 4)
    th.testing.assert_close(torso(x[:1]), torso(x)[:1])
    x[1] += 1.0
    changed = torso(x)
    x[1] -= 1.0
    same = (changed == torso(x)).flatten(1).all(dim=1)
    assert same.tolist() == [True, False, True], "a member reads its own input alone"


def test_members_begin_as_the_plain_layer_does() -> None:
    th.manual_seed(0)
    ours, theirs = EnsembleLinear(20, 64, 30), [nn.Linear(64, 30) for _ in range(20)]
    for name in ("weight", "bias"):
        x, y = getattr(ours, name).detach(), th.stack([getattr(one, name) for one in theirs]).detach()
        assert float(x.abs().max()) == pytest.approx(float(y.abs().max()), rel=0.02)
        assert float(x.std()) == pytest.approx(float(y.std()), rel=0.1)
        assert len(x.unique()) > 0.99 * x.numel(), "no two members alike"


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_simba_by_a_second_formula(n_blocks: int) -> None:
    th.manual_seed(0)
    torso = simba(1, 4, 2, [8] * n_blocks)
    into, *blocks, norm, out = torso.children()
    assert len(blocks) == n_blocks
    x = th.randn(1, B, 4)
    h = into(x)
    for block in blocks:
        assert isinstance(block, ResidualBlock)
        assert float(block.up.weight.detach().std()) == pytest.approx((2 / 8) ** 0.5, rel=0.15), "He et al. (2015)"
        assert float(block.down.weight.detach().std()) == pytest.approx((2 / 32) ** 0.5, rel=0.15)
        h = h + block.down(block.up(block.norm(h)).clamp(min=0))
    th.testing.assert_close(torso(x), out(norm(h)))
