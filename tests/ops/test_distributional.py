"""The categorical projection and the quantile Huber loss against plain loops and a second formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th
from support.slow import bellemare_loop, slow_quantile_huber

from sb3_ext.ops.distributional import project_categorical, quantile_huber, quantile_midpoints

SUPPORTS = [(51, -10.0, 10.0), (2, 0.0, 1.0), (21, -1.0, 4.0), (11, 0.0, 100.0)]


def triangular_kernel(atoms: np.ndarray, probabilities: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Equation 7 of the paper: each atom of the support collects what lies within one step of it."""
    clipped = np.clip(atoms, support[0], support[-1])
    distance = np.abs(clipped[None, :] - support[:, None]) / (support[1] - support[0])
    projected: np.ndarray = (np.clip(1.0 - distance, 0.0, 1.0) * probabilities[None, :]).sum(axis=1)
    return projected


def random_backups(n: int, support: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Shifted atoms [n, N] and their mass [n, N]: any reward, terminals, whole steps, far outside on both sides."""
    rng = np.random.default_rng(seed)
    step, span = support[1] - support[0], support[-1] - support[0]
    rewards = rng.normal(size=(n, 1)) * rng.choice([0.1, 1.0, 10.0], size=(n, 1)) * span
    whole = rng.integers(-len(support), len(support) + 1, size=(n, 1)) * step
    discounts = rng.choice([0.0, 0.5, 0.99, 1.0], size=(n, 1))
    is_whole = rng.random((n, 1)) < 0.3
    atoms = np.where(is_whole, whole + support, rewards + discounts * support)
    return atoms, rng.dirichlet(np.full(len(support), 0.3), size=n)


# ---------------------------------------------------------------------- projection


@pytest.mark.parametrize(("n_atoms", "v_min", "v_max"), SUPPORTS)
def test_projection_equals_the_loop_and_the_triangular_kernel(n_atoms: int, v_min: float, v_max: float) -> None:
    support = np.linspace(v_min, v_max, n_atoms)
    atoms, mass = random_backups(200, support)
    found = project_categorical(th.as_tensor(atoms), th.as_tensor(mass), th.as_tensor(support)).numpy()
    for row in range(200):
        np.testing.assert_allclose(found[row], triangular_kernel(atoms[row], mass[row], support), atol=1e-12)
        np.testing.assert_allclose(found[row], bellemare_loop(atoms[row], mass[row], support), atol=1e-12)


@pytest.mark.parametrize(("n_atoms", "v_min", "v_max"), SUPPORTS)
def test_no_mass_is_lost_in_float32(n_atoms: int, v_min: float, v_max: float) -> None:
    support = th.linspace(v_min, v_max, n_atoms)
    atoms, mass = (th.as_tensor(x).float() for x in random_backups(2000, support.numpy().astype(np.float64), 1))
    found = project_categorical(atoms, mass, support)
    assert found.dtype == th.float32
    assert (found >= 0).all()
    th.testing.assert_close(found.sum(dim=-1), th.ones(2000), rtol=0, atol=1e-6)


def test_a_whole_number_of_steps_shifts_the_mass() -> None:
    """The printed algorithm gives all zeros here."""
    support, mass = th.arange(5.0), th.tensor([0.1, 0.2, 0.3, 0.4, 0.0])
    np.testing.assert_allclose(project_categorical(support, mass, support), mass)
    np.testing.assert_allclose(project_categorical(support + 1, mass, support), [0.0, 0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(project_categorical(support + 2, mass, support), [0.0, 0.0, 0.1, 0.2, 0.7])
    np.testing.assert_allclose(project_categorical(support - 99, mass, support), [1.0, 0.0, 0.0, 0.0, 0.0])


def test_a_terminal_puts_everything_around_the_reward() -> None:
    support, mass = th.linspace(-10, 10, 51), th.full((51,), 1 / 51)
    found = project_categorical(th.full((51,), 1.1), mass, support)
    assert found.nonzero().flatten().tolist() == [27, 28]  # 0.8 and 1.2
    np.testing.assert_allclose(found[27:29], [0.25, 0.75], atol=1e-5)


def test_the_mean_is_kept_inside_the_range() -> None:
    rng = np.random.default_rng(2)
    support = np.linspace(-10.0, 10.0, 51)
    atoms = rng.uniform(-2, 2, size=(500, 1)) + 0.8 * support
    mass = rng.dirichlet(np.ones(51), size=500)
    found = project_categorical(th.as_tensor(atoms), th.as_tensor(mass), th.as_tensor(support)).numpy()
    np.testing.assert_allclose(found @ support, (atoms * mass).sum(axis=1), atol=1e-10)


def test_leading_axes_are_arbitrary() -> None:
    support = th.linspace(-10, 10, 51)
    atoms, mass = (th.as_tensor(x).float() for x in random_backups(24, support.numpy().astype(np.float64)))
    flat = project_categorical(atoms, mass, support)
    cube = project_categorical(atoms.view(2, 3, 4, 51), mass.view(2, 3, 4, 51), support)
    assert th.equal(cube.view(24, 51), flat)
    assert th.equal(project_categorical(atoms[5], mass[5], support), flat[5])


# ---------------------------------------------------------------------- quantiles


@pytest.mark.parametrize("kappa", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize(("n", "n_targets"), [(5, 5), (1, 7), (8, 3)])
def test_quantile_huber_equals_a_loop(kappa: float, n: int, n_targets: int) -> None:
    th.manual_seed(0)
    quantiles, targets = 2 * th.randn(4, 6, n).double(), 2 * th.randn(4, 6, n_targets).double()
    targets[0, 0] = quantiles[0, 0, 0]  # an error of exactly zero
    taus = quantile_midpoints(n).double()
    found = quantile_huber(quantiles, targets, taus, kappa)
    assert found.shape == (4, 6)
    for b in range(4):
        for t in range(6):
            expected = slow_quantile_huber(quantiles[b, t].tolist(), targets[b, t].tolist(), taus.tolist(), kappa)
            assert found[b, t].item() == pytest.approx(expected, rel=1e-9)
    assert th.equal(quantile_huber(quantiles[1, 2], targets[1, 2], taus, kappa), found[1, 2])


def test_small_kappas_approach_the_plain_quantile_loss() -> None:
    th.manual_seed(1)
    quantiles, targets, taus = th.randn(50, 9), th.randn(50, 9), quantile_midpoints(9)
    plain = quantile_huber(quantiles, targets, taus, 0.0)
    th.testing.assert_close(quantile_huber(quantiles, targets, taus, 1e-4), plain, rtol=1e-3, atol=1e-3)


def test_the_minimum_is_at_the_quantiles() -> None:
    """Four estimates fitted to 1..1000: their levels are 1/8, 3/8, 5/8 and 7/8."""
    targets, taus = th.arange(1.0, 1001.0), quantile_midpoints(4)
    np.testing.assert_allclose(taus, [0.125, 0.375, 0.625, 0.875])
    quantiles = th.zeros(4, requires_grad=True)
    optimizer = th.optim.SGD([quantiles], lr=200.0)
    for step in range(400):
        if step == 300:
            optimizer.param_groups[0]["lr"] = 2.0
        optimizer.zero_grad()
        quantile_huber(quantiles, targets, taus, 1.0).backward()
        optimizer.step()
    np.testing.assert_allclose(quantiles.detach(), [125, 375, 625, 875], atol=3)


@pytest.mark.parametrize("n", [1, 2, 51, 200])
def test_midpoints(n: int) -> None:
    found = quantile_midpoints(n)
    assert found.dtype == th.float32
    np.testing.assert_allclose(found, [(2 * i + 1) / (2 * n) for i in range(n)], rtol=1e-6)
