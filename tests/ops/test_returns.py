"""N-step returns against a loop over single steps, on random windows with every way to end."""

import itertools

import numpy as np
import pytest
import torch as th

from sb3_ext.ops.returns import n_step_returns
from sb3_ext.ops.value_rescaling import ValueRescaling

GAMMA = 0.9


def slow_return(rewards: list[float], terminated: list[bool], t: int, gamma: float, n: int) -> tuple[float, float, int]:
    """
    Walk on from step t until n steps are done, the episode terminates or the data end.

    :param rewards: of the real steps only
    :param terminated: of the real steps only
    :return: sum, discount of the bootstrap, index of the bootstrap
    """
    total, weight, now = 0.0, 1.0, t
    while now < len(rewards) and now < t + n:
        total += weight * rewards[now]
        weight *= gamma
        now += 1
        if terminated[now - 1]:
            return total, 0.0, now
    return total, weight, now


def window(rewards: list[float], terminal: bool, length: int) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """One window [1, length] of these real steps, the last one terminal or not, padded with zeros."""
    pad = length - len(rewards)
    ends = [0.0] * (len(rewards) - 1) + [float(terminal)]
    mask = [1.0] * len(rewards) + [0.0] * pad
    return th.tensor([rewards + [0.0] * pad]), th.tensor([ends + [0.0] * pad]), th.tensor([mask])


@pytest.mark.parametrize(
    ("trained", "n"), [(1, 1), (1, 5), (6, 1), (6, 2), (6, 3), (6, 5), (6, 6), (6, 9), (10, 4), (3, 40)]
)
def test_returns_equal_a_loop(trained: int, n: int) -> None:
    rng = np.random.default_rng(trained * 100 + n)
    for columns in (trained + n, trained + n - 1, trained):  # a buffer's window, the least that is read, no extra steps
        real = rng.integers(1, columns + 1, size=64)
        real[:2] = columns
        terminal = rng.random(64) < 0.5
        rewards = np.zeros((64, columns))
        terminated, mask = np.zeros((64, columns)), np.zeros((64, columns))
        for row, length in enumerate(real):
            rewards[row, :length] = rng.normal(size=length)
            mask[row, :length] = 1.0
            terminated[row, length - 1] = terminal[row]
        found = n_step_returns(th.as_tensor(rewards), th.as_tensor(terminated), th.as_tensor(mask), GAMMA, n, trained)
        assert all(x.shape == (64, trained) for x in found)
        for row, t in itertools.product(range(64), range(trained)):
            if t >= real[row]:
                continue
            length = int(real[row])
            expected = slow_return(list(rewards[row, :length]), list(terminated[row, :length] > 0), t, GAMMA, n)
            result = tuple(x[row, t].item() for x in found)
            assert result == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("n", [1, 3, 50])
def test_padding_stays_harmless(n: int) -> None:
    """Padded steps have no reward, and an index that can be gathered: it lies inside the T + 1 observations."""
    rewards, terminated, mask = window([1.0, 1.0], True, 8)
    found = n_step_returns(rewards, terminated, mask, GAMMA, n, 8)
    assert found.reward_sum[0, 2:].tolist() == [0.0] * 6
    assert th.isfinite(found.discount).all()
    assert found.bootstrap_index.min() >= 0
    assert found.bootstrap_index.max() <= 8
    assert found.bootstrap_index.dtype == th.int64


def test_rewards_behind_the_mask_are_never_read() -> None:
    rewards, terminated, mask = window([1.0, 2.0], False, 6)
    clean = n_step_returns(rewards, terminated, mask, GAMMA, 3, 4)
    dirty = n_step_returns(rewards + 7.0 * (1 - mask), terminated + (1 - mask), mask, GAMMA, 3, 4)
    for a, b in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(a[:, :2].numpy(), b[:, :2].numpy())


def test_trap_02_discount_counts_distance_not_position() -> None:
    rewards, terminated, mask = window([1.0] * 12, False, 12)
    found = n_step_returns(rewards, terminated, mask, GAMMA, 3, 9)
    np.testing.assert_allclose(found.reward_sum[0].numpy(), [1 + GAMMA + GAMMA**2] * 9, rtol=1e-6)
    np.testing.assert_allclose(found.discount[0].numpy(), [GAMMA**3] * 9, rtol=1e-6)
    assert found.bootstrap_index[0].tolist() == list(range(3, 12))


def test_trap_02_near_rewards_weigh_more_than_far_ones() -> None:
    rewards, terminated, mask = window([0.0, 1.0, 10.0], False, 3)
    found = n_step_returns(rewards, terminated, mask, 0.5, 3, 1)
    assert found.reward_sum.item() == pytest.approx(0.0 + 0.5 * 1 + 0.25 * 10)


def test_trap_03_termination_ends_sum_and_bootstrap() -> None:
    """The columns behind the terminal step hold another episode's large rewards: a sum that runs on would show them."""
    rewards = th.tensor([[1.0, 1.0, 1.0, 100.0, 100.0]])
    terminated = th.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]])
    found = n_step_returns(rewards, terminated, th.ones(1, 5), GAMMA, 2, 4)
    np.testing.assert_allclose(found.reward_sum[0].numpy(), [1 + GAMMA, 1 + GAMMA, 1.0, 100 + GAMMA * 100], rtol=1e-6)
    np.testing.assert_allclose(found.discount[0].numpy(), [GAMMA**2, 0.0, 0.0, GAMMA**2], rtol=1e-6)


def test_trap_15_last_trained_step_looks_n_steps_ahead() -> None:
    m, n = 4, 3
    rewards, terminated, mask = window([0.0] * m + [1.0, 10.0, 100.0], False, m + n)
    found = n_step_returns(rewards, terminated, mask, 0.1, n, m)
    assert found.bootstrap_index[0].tolist() == [3, 4, 5, 6]
    assert found.reward_sum[0, m - 1].item() == pytest.approx(0.1 * 1.0 + 0.01 * 10.0)
    assert found.discount[0, m - 1].item() == pytest.approx(0.001)


def test_trap_16_truncation_bootstraps_from_the_true_final_observation() -> None:
    """Three real steps, so observation 3 is the final one. Every step bootstraps, none of them behind it."""
    rewards, terminated, mask = window([1.0, 1.0, 1.0], False, 9)
    found = n_step_returns(rewards, terminated, mask, GAMMA, 2, 5)
    assert found.bootstrap_index[0, :3].tolist() == [2, 3, 3]
    np.testing.assert_allclose(found.discount[0, :3].numpy(), [GAMMA**2, GAMMA**2, GAMMA], rtol=1e-6)


@pytest.mark.parametrize("n", [1, 4, 100])
@pytest.mark.parametrize("terminal", [True, False])
def test_backups_of_a_constant_reward_reach_its_value(n: int, terminal: bool) -> None:
    """
    50 steps with reward 1. Terminated: step t is worth the rest of the geometric series. Truncated, and all
    observations look alike: every step is worth 1/(1 - gamma).
    """
    gamma, length, h = 0.997, 50, ValueRescaling()
    rewards, terminated, mask = (x.double() for x in window([1.0] * length, terminal, length + 3))
    returns = n_step_returns(rewards, terminated, mask, gamma, n, length)
    y = th.zeros(1, length + 1, dtype=th.float64)
    for _ in range(length if terminal else 8_000 // min(n, 25)):
        y[:, :length] = h.apply(returns.reward_sum + returns.discount * h.invert(y.gather(1, returns.bootstrap_index)))
        if not terminal:
            y[:] = y[:, :length].mean()
    steps_left = np.arange(length, 0, -1)
    value = (1 - gamma**steps_left) / (1 - gamma) if terminal else np.full(length, 1 / (1 - gamma))
    np.testing.assert_allclose(h.invert(y[0, :length]).numpy(), value, rtol=1e-8 if terminal else 1e-3)


def test_undiscounted_and_myopic() -> None:
    rewards, terminated, mask = window([1.0, 2.0, 3.0], False, 4)
    assert n_step_returns(rewards, terminated, mask, 1.0, 2, 3).discount.tolist() == [[1.0, 1.0, 1.0]]
    myopic = n_step_returns(rewards, terminated, mask, 0.0, 2, 3)
    assert myopic.reward_sum.tolist() == [[1.0, 2.0, 3.0]]
    assert myopic.discount.tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("n", [0, -1])
def test_n_must_be_positive(n: int) -> None:
    rewards, terminated, mask = window([1.0], False, 2)
    with pytest.raises(ValueError, match=f"n {n} must be >= 1"):
        n_step_returns(rewards, terminated, mask, GAMMA, n, 1)


def test_gamma_may_differ_from_row_to_row() -> None:
    """As the rows alone, each with its own number."""
    th.manual_seed(0)
    rewards, mask = th.randn(4, 9), th.ones(4, 9)
    terminated = (th.rand(4, 9) < 0.2).float()
    gammas = th.tensor([0.0, 0.5, 0.9, 1.0])
    together = n_step_returns(rewards, terminated, mask, gammas, 3, 6)
    for row in range(4):
        own = slice(row, row + 1)
        alone = n_step_returns(rewards[own], terminated[own], mask[own], float(gammas[row]), 3, 6)
        for ours, theirs in zip(together, alone, strict=True):
            th.testing.assert_close(ours[row], theirs[0])
