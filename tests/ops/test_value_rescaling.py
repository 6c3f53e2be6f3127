"""h and its inverse against the textbook formulas in 100 decimal digits, and the fixed points of backups with them."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch as th

from sb3_ext.ops.value_rescaling import IDENTITY, ValueRescaling

EPS = Decimal("0.001")
SCALES = [(-30, -12), (-12, -6), (-6, -2), (-2, 0), (0, 2), (2, 4), (4, 6)]


def textbook_h(x: float) -> Decimal:
    with localcontext() as context:
        context.prec = 100
        value = Decimal(x)
        return (1 if value >= 0 else -1) * ((abs(value) + 1).sqrt() - 1) + EPS * value


def textbook_inverse(y: float) -> Decimal:
    """Pohlen et al. (2018), proposition A.2."""
    with localcontext() as context:
        context.prec = 100
        value = Decimal(y)
        root = (1 + 4 * EPS * (abs(value) + 1 + EPS)).sqrt()
        return (1 if value >= 0 else -1) * (((root - 1) / (2 * EPS)) ** 2 - 1)


def largest_relative_error(computed: np.ndarray, exact: list[Decimal]) -> float:
    with localcontext() as context:
        context.prec = 100
        return max(float(abs(Decimal(float(c)) / e - 1)) for c, e in zip(computed, exact, strict=True))


def spread(low: int, high: int, n: int = 400) -> np.ndarray:
    """Numbers of both signs, evenly over the decades 10^low .. 10^high."""
    rng = np.random.default_rng(abs(low) * 100 + high + 7)
    drawn: np.ndarray = 10.0 ** rng.uniform(low, high, n) * rng.choice((-1.0, 1.0), n)
    return drawn


def textbook_inverse_float32(y: np.ndarray) -> np.ndarray:
    one, eps = np.float32(1), np.float32(1e-3)
    root = np.sqrt(one + 4 * eps * (abs(y) + one + eps))
    exact: np.ndarray = np.sign(y) * (((root - one) / (2 * eps)) ** 2 - one)
    return exact


def inverse_without_eps(y: np.ndarray) -> np.ndarray:
    """What several code bases use: the inverse of ``sign(x) (sqrt(|x| + 1) - 1)`` alone."""
    exact: np.ndarray = np.sign(y) * ((abs(y) + 1) ** 2 - 1)
    return exact


@pytest.mark.parametrize("decades", SCALES)
@pytest.mark.parametrize(("dtype", "h_bound", "inverse_bound"), [(np.float32, 2e-7, 4e-7), (np.float64, 4e-16, 8e-16)])
def test_both_directions_equal_the_textbook(
    decades: tuple[int, int], dtype: type[np.floating], h_bound: float, inverse_bound: float
) -> None:
    x = spread(*decades).astype(dtype)
    h = ValueRescaling()
    y, back = h.apply(x), h.invert(x)
    assert y.dtype == back.dtype == dtype
    assert largest_relative_error(y, [textbook_h(float(v)) for v in x]) <= h_bound
    assert largest_relative_error(back, [textbook_inverse(float(v)) for v in x]) <= inverse_bound


@pytest.mark.parametrize("decades", SCALES)
@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_round_trip(decades: tuple[int, int], dtype: type[np.floating], bound: float) -> None:
    x = spread(*decades, n=20_000).astype(dtype)
    h = ValueRescaling()
    back = h.invert(h.apply(x)).astype(np.float64)
    assert np.abs(back / x.astype(np.float64) - 1).max() <= bound


def test_the_textbook_form_itself_cancels_in_float32() -> None:
    """Why the other form is there: were this error small, the tests above could not tell the two apart."""
    y = spread(-4, -3).astype(np.float32)
    assert largest_relative_error(textbook_inverse_float32(y), [textbook_inverse(float(v)) for v in y]) > 0.01


def test_zero_and_signs() -> None:
    h = ValueRescaling()
    x = np.array([0.0, -0.0, 3.0, -3.0])
    np.testing.assert_array_equal(h.apply(x)[:2], 0.0)
    np.testing.assert_array_equal(h.invert(x)[:2], 0.0)
    assert h.apply(x)[3] == -h.apply(x)[2] < 0
    assert h.invert(x)[3] == -h.invert(x)[2] < 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_and_torch_agree(dtype: type[np.floating]) -> None:
    h = ValueRescaling()
    x = np.concatenate([spread(*decades) for decades in SCALES] + [np.zeros(1)]).astype(dtype)
    tensor = th.as_tensor(x)
    for direction, name in ((h.apply, "apply"), (h.invert, "invert")):
        of_tensor = getattr(h, name)(tensor)
        assert of_tensor.dtype == tensor.dtype
        np.testing.assert_allclose(of_tensor.numpy(), direction(x), rtol=4 * float(np.finfo(dtype).eps))


def test_gradient_is_finite_at_zero() -> None:
    x = th.zeros(2, requires_grad=True)
    h = ValueRescaling()
    (h.apply(x) + h.invert(x)).sum().backward()
    assert x.grad is not None
    # h'(0) = 1/2 + eps and the inverse's slope is its reciprocal.
    np.testing.assert_allclose(x.grad.numpy(), 0.501 + 1 / 0.501, rtol=1e-6)


def test_trap_01_inverse_keeps_eps() -> None:
    h = ValueRescaling()
    x = np.array([100.0, 1e5])
    np.testing.assert_allclose(inverse_without_eps(h.apply(x)) / x - 1, [0.02, 0.73], atol=0.005)
    np.testing.assert_allclose(h.invert(h.apply(x)), x, rtol=1e-14)


@pytest.mark.parametrize("reward", [1.0, -1.0, 0.01, 300.0])
def test_trap_01_constant_reward_converges_to_its_value(reward: float) -> None:
    gamma, h = 0.997, ValueRescaling()
    y = np.zeros(1)
    for _ in range(12_000):
        y = h.apply(reward + gamma * h.invert(y))
    value = reward / (1 - gamma)
    np.testing.assert_allclose(y, h.apply(np.array([value])), rtol=1e-11)
    np.testing.assert_allclose(h.invert(y), value, rtol=1e-11)


def test_trap_01_constant_reward_converges_in_float32_too() -> None:
    """An error of 4e-7 a backup adds up to at most 1/(1 - gamma) times as much."""
    gamma, h = 0.997, ValueRescaling()
    y = th.zeros(1)
    for _ in range(6_000):
        y = h.apply(1.0 + gamma * h.invert(y))
    assert h.invert(y).item() == pytest.approx(1 / (1 - gamma), rel=8e-7 / (1 - gamma))


def test_trap_01_constant_reward_diverges_without_eps() -> None:
    gamma, h = 0.997, ValueRescaling()
    y = np.zeros(1)
    for _ in range(12_000):
        y = h.apply(1.0 + gamma * inverse_without_eps(y))
        if y[0] > h.apply(np.array([1e6]))[0]:
            return
    raise AssertionError(f"stayed at {h.invert(y)}")


def test_identity_changes_nothing() -> None:
    x = th.randn(5)
    assert IDENTITY.apply(x) is x
    assert IDENTITY.invert(x) is x


@pytest.mark.parametrize("eps", [0.0, -1e-3, float("nan")])
def test_eps_must_be_positive(eps: float) -> None:
    with pytest.raises(ValueError, match=f"eps {eps} must be > 0"):
        ValueRescaling(eps)
