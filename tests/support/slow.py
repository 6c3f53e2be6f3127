"""Slow formulas for losses and targets, and random cases for them."""

from __future__ import annotations

import math

import numpy as np
import torch as th

from sb3_ext.ops.returns import NStepReturns, n_step_returns


def bellemare_loop(atoms: np.ndarray, probabilities: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Algorithm 1 of the paper, for one distribution, and with the case l = u that it leaves out."""
    v_min, v_max, n = support[0], support[-1], len(support)
    projected = np.zeros(n)
    for atom, p in zip(atoms, probabilities, strict=True):
        b = (min(max(atom, v_min), v_max) - v_min) / ((v_max - v_min) / (n - 1))
        lower, upper = math.floor(b), math.ceil(b)
        if lower == upper:
            projected[lower] += p
        else:
            projected[lower] += p * (upper - b)
            projected[upper] += p * (b - lower)
    return projected


def slow_quantile_huber(quantiles: list[float], targets: list[float], taus: list[float], kappa: float) -> float:
    total = 0.0
    for theta, tau in zip(quantiles, taus, strict=True):
        for target in targets:
            u = target - theta
            if kappa == 0:
                loss = abs(u)
            elif abs(u) <= kappa:
                loss = 0.5 * u * u / kappa
            else:
                loss = abs(u) - 0.5 * kappa
            total += abs(tau - (1 if u < 0 else 0)) * loss / len(targets)
    return total


def random_returns(n_batch: int, trained: int, n: int) -> tuple[NStepReturns, th.Tensor]:
    """Random windows with terminal and open ends, [B, M + n] columns, and their mask."""
    rng = np.random.default_rng(0)
    columns = np.arange(trained + n)
    real = rng.integers(1, trained + n + 1, size=n_batch)[:, None]
    mask = th.as_tensor(columns < real).float()
    terminated = th.as_tensor((columns == real - 1) & (rng.random((n_batch, 1)) < 0.5)).float()
    rewards = th.as_tensor(rng.normal(size=(n_batch, trained + n)) * 10).float() * mask
    return n_step_returns(rewards, terminated, mask, 0.9, n, trained), mask
