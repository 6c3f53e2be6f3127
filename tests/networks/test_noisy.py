"""Noisy layers: what the noise does to the output, who shares a draw, and where it must not be found."""

from __future__ import annotations

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_ext.networks import NoisyLinear, clear_noise, sample_noise


def make_stack(seed: int = 0) -> nn.Sequential:
    th.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), NoisyLinear(6, 5), nn.ReLU(), NoisyLinear(5, 3))


def noisy_layers(module: nn.Module) -> list[NoisyLinear]:
    return [layer for layer in module.modules() if isinstance(layer, NoisyLinear)]


# ---------------------------------------------------------------------- the layer


def test_initial_weights() -> None:
    th.manual_seed(0)
    layer = NoisyLinear(400, 300, std=0.3)
    for mu in (layer.weight_mu, layer.bias_mu):
        assert mu.abs().max() <= 1 / 20
        assert mu.std().item() == pytest.approx(1 / 20 / math.sqrt(3), rel=0.1)
    for sigma in (layer.weight_sigma, layer.bias_sigma):
        th.testing.assert_close(sigma, th.full_like(sigma, 0.3 / 20))
    assert NoisyLinear(4, 2).weight_sigma[0, 0].item() == pytest.approx(0.25)  # the paper's 0.5


@pytest.mark.parametrize("n_rows", [1, 15, 16, 64])
def test_the_output_is_that_of_the_weight_matrix_with_noise(n_rows: int) -> None:
    th.manual_seed(1)
    layer, x = NoisyLinear(6, 4), th.randn(n_rows, 6)
    layer.sample_noise()
    assert layer.noise is not None
    eps_in, eps_out = layer.noise
    weight = layer.weight_mu + layer.weight_sigma * th.outer(eps_out, eps_in)
    th.testing.assert_close(layer(x), F.linear(x, weight, layer.bias_mu + layer.bias_sigma * eps_out))


def test_noise_is_the_signed_root_of_a_gaussian() -> None:
    layer = NoisyLinear(3, 2)
    th.manual_seed(2)
    layer.sample_noise((5,))
    th.manual_seed(2)
    assert layer.noise is not None
    for noise, eps in zip(layer.noise, th.randn(5, 3 + 2).split([3, 2], dim=1), strict=True):
        th.testing.assert_close(noise, eps.sign() * eps.abs() ** 0.5)


def test_noise_of_layers_is_independent() -> None:
    net = nn.Sequential(NoisyLinear(3, 2), NoisyLinear(2, 4))
    th.manual_seed(6)
    sample_noise(net, (20_000,))
    eps = th.cat([part for layer in noisy_layers(net) for part in layer.noise or ()], dim=1)
    assert eps.shape == (20_000, 3 + 2 + 2 + 4)
    assert (th.corrcoef(eps.T) - th.eye(11)).abs().max() < 0.04  # five standard deviations


def test_mean_and_variance_of_the_output() -> None:
    """
    ``E f(eps) = 0`` and ``E f(eps)^2 = E|eps| = c = sqrt(2/pi)``. So the mean is that of the mean weights, and the
    variance of output j is ``c (c sum_i (sigma_ji x_i)^2 + sigma_b_j^2)``.
    """
    th.manual_seed(3)
    layer, n = NoisyLinear(5, 4), 200_000
    for parameter in (layer.weight_sigma, layer.bias_sigma):
        parameter.data.uniform_(0.1, 0.6)
    x = th.randn(5)
    mean = layer(x)
    layer.sample_noise((n,))
    with th.no_grad():
        y = layer(x.expand(n, 5)).double()
        c = math.sqrt(2 / math.pi)
        variance = c * (c * (layer.weight_sigma * x).square().sum(dim=1) + layer.bias_sigma.square())
    assert ((y.mean(dim=0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    np.testing.assert_allclose(y.var(dim=0), variance.detach(), rtol=0.03)


def test_both_sets_of_weights_are_trained() -> None:
    layer = NoisyLinear(5, 4)
    layer.sample_noise((7,))
    layer(th.randn(7, 5)).square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("std", [0.0, -0.5, float("nan")])
def test_std_must_be_positive(std: float) -> None:
    with pytest.raises(ValueError, match=f"std {std} must be > 0"):
        NoisyLinear(3, 2, std)


# ---------------------------------------------------------------------- who shares a draw


def test_one_draw_for_everything() -> None:
    net, x = make_stack(), th.randn(1, 4)
    sample_noise(net)
    y = net(x.expand(8, 4))
    th.testing.assert_close(y, y[:1].expand(8, 3))
    assert net(x.view(4)).shape == (3,)
    assert net(x.expand(2, 5, 4)).shape == (2, 5, 3)
    assert not th.allclose(y[:1], _mean(net, x))


def test_one_draw_per_environment() -> None:
    net, x = make_stack(), th.randn(1, 4)
    sample_noise(net, (8,))
    y = net(x.expand(8, 4))
    assert all((y[i] - y[j]).abs().max() > 1e-4 for i in range(8) for j in range(i))
    th.testing.assert_close(net(x.expand(8, 4)), y)  # kept until the next draw
    sample_noise(net, (8,))
    assert not th.allclose(net(x.expand(8, 4)), y)


def test_trap_21_one_draw_per_sequence_is_constant_over_its_time() -> None:
    net, x = make_stack(), th.randn(1, 1, 4)
    sample_noise(net, (6, 1))
    y = net(x.expand(6, 9, 4))
    th.testing.assert_close(y, y[:, :1].expand(6, 9, 3))
    assert all((y[i, 0] - y[j, 0]).abs().max() > 1e-4 for i in range(6) for j in range(i))


def test_the_noise_of_a_row_is_that_of_a_layer_which_drew_it_alone() -> None:
    """Per-sample noise changes nothing but who has which draw."""
    layer, x = NoisyLinear(5, 4), th.randn(6, 5)
    layer.sample_noise((6,))
    assert layer.noise is not None
    together, noise = layer(x), layer.noise
    for row in range(6):
        layer.noise = noise[0][row], noise[1][row]
        th.testing.assert_close(layer(x[row]), together[row])


@pytest.mark.parametrize(
    ("drawn", "given"),
    [((4,), (1,)), ((4,), (5,)), ((4,), (5, 4)), ((4,), (4, 1)), ((4, 1), (1, 7)), ((4, 1), (4,)), ((4,), ())],
)
def test_noise_for_other_inputs_is_refused(drawn: tuple[int, ...], given: tuple[int, ...]) -> None:
    """Some of these would broadcast: four environments out of one, or other noise at each step."""
    net = make_stack()
    sample_noise(net, drawn)
    with pytest.raises(
        ValueError, match=r"noise \(4,.*\) does not fit inputs \(.*\): call sample_noise or clear_noise"
    ):
        net(th.randn(*given, 4))
    clear_noise(net)
    assert net(th.randn(*given, 4)).shape == (*given, 3)


def test_layers_draw_independently() -> None:
    net = nn.Sequential(NoisyLinear(5, 5), NoisyLinear(5, 5))
    sample_noise(net)
    drawn = [part for layer in noisy_layers(net) for part in layer.noise or ()]
    assert len(drawn) == 4
    assert not any(th.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


# ---------------------------------------------------------------------- without noise


def _mean(net: nn.Module, x: th.Tensor) -> th.Tensor:
    copied = copy.deepcopy(net)
    clear_noise(copied)
    out: th.Tensor = copied(x)
    return out


def test_mean_weights_before_the_first_draw_and_after_clearing() -> None:
    net, x = make_stack(), th.randn(8, 4)
    plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    state = {key.replace("_mu", ""): value for key, value in net.state_dict().items() if not key.endswith("_sigma")}
    plain.load_state_dict(state)
    th.testing.assert_close(net(x), plain(x))
    sample_noise(net, (8,))
    assert not th.allclose(net(x), plain(x))
    clear_noise(net)
    th.testing.assert_close(net(x), plain(x))


def test_modes_make_no_difference() -> None:
    net, x = make_stack(), th.randn(8, 4)
    sample_noise(net)
    noisy = net(x)
    assert th.equal(net.eval()(x), noisy)
    assert th.equal(net.train()(x), noisy)
    clear_noise(net)
    assert th.equal(net.train()(x), net.eval()(x))


def test_draws_follow_torchs_seed() -> None:
    net, x, runs = make_stack(), th.randn(8, 4), []
    for _ in range(2):
        th.manual_seed(7)
        sample_noise(net, (8,))
        runs.append(net(x))
    assert th.equal(runs[0], runs[1])


def test_computing_draws_nothing() -> None:
    net = make_stack()
    sample_noise(net)
    before = th.get_rng_state()
    net(th.randn(2, 4, generator=th.Generator()))
    clear_noise(net)
    assert th.equal(th.get_rng_state(), before)


# ---------------------------------------------------------------------- where noise is not


def test_noise_is_in_no_state_dict_buffer_copy_or_file() -> None:
    net, x = make_stack(), th.randn(8, 4)
    mean = net(x)
    names = set(net.state_dict())
    sample_noise(net, (8,))
    noisy = net(x)
    assert set(net.state_dict()) == names
    assert {name.rpartition(".")[2] for name in names} == {
        "weight", "bias", "weight_mu", "weight_sigma", "bias_mu", "bias_sigma",
    }  # fmt: skip
    assert not list(net.buffers())
    file = io.BytesIO()
    th.save(net, file)
    file.seek(0)
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), th.load(file, weights_only=False)):
        assert all(layer.noise is None for layer in noisy_layers(copied))
        th.testing.assert_close(copied(x), mean)
    assert th.equal(net(x), noisy)  # copying took nothing away


def test_a_target_network_has_its_own_noise() -> None:
    online, x = make_stack(), th.randn(8, 4)
    target = make_stack(1)
    target.load_state_dict(online.state_dict())
    sample_noise(online)
    th.testing.assert_close(target(x), _mean(online, x))  # drawing for one leaves the other alone
    noisy = online(x)
    sample_noise(target)
    assert th.equal(online(x), noisy)
    assert not th.allclose(target(x), noisy)
    kept = target(x)
    target.load_state_dict(online.state_dict())
    assert th.equal(target(x), kept)  # copying weights does not copy noise


@pytest.mark.gpu
def test_noise_is_drawn_on_the_layers_device() -> None:
    net = make_stack().to("cuda")
    th.manual_seed(0)
    sample_noise(net, (8,))
    y = net(th.ones(8, 4, device="cuda"))
    th.manual_seed(0)
    sample_noise(net, (8,))
    assert th.equal(net(th.ones(8, 4, device="cuda")), y)
