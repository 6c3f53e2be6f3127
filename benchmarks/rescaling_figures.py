"""
The figures of value rescaling and of the priority mix: docs/images/rescaling.png and docs/images/priority_mix.png.

    python benchmarks/rescaling_figures.py

They are calculated from `sb3_ext.ops` in a second, so there is no table; the numbers that the docs quote are printed.
"""

from __future__ import annotations

import sys

import numpy as np
import torch as th
from common import COLORS, Bound, panels, parse, parser, save, verdict

from sb3_ext.ops.priorities import mix_priorities
from sb3_ext.ops.value_rescaling import ValueRescaling

H = ValueRescaling()
ETAS = (0.0, 0.5, 0.9, 1.0)
N_STEPS = 80


def inverse_without_eps(y: np.ndarray) -> np.ndarray:
    """``sign(y) ((|y| + 1)^2 - 1)``: the inverse of h with eps = 0, as it stands in much code."""
    exact: np.ndarray = np.sign(y) * ((np.abs(y) + 1.0) ** 2 - 1.0)
    return exact


def textbook_h(x: np.ndarray) -> np.ndarray:
    """h as the paper writes it, in the dtype of ``x``."""
    eps = x.dtype.type(H.eps)
    scaled: np.ndarray = np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + eps * x
    return scaled


def textbook_inverse(y: np.ndarray) -> np.ndarray:
    """The inverse as the paper writes it (Pohlen et al., 2018, proposition A.2), in the dtype of ``y``."""
    eps = y.dtype.type(H.eps)
    root = np.sqrt(1 + 4 * eps * (np.abs(y) + 1 + eps))
    exact: np.ndarray = np.sign(y) * (((root - 1) / (2 * eps)) ** 2 - 1)
    return exact


def relative_error(value: np.ndarray, exact: np.ndarray) -> np.ndarray:
    errors: np.ndarray = np.abs(value.astype(np.float64) / exact - 1.0)
    return errors


def float32_errors(returns: np.ndarray, form: str) -> np.ndarray:
    """:return: relative error of h or of its inverse in float32, the worse of the two, at each return"""
    apply, invert = (textbook_h, textbook_inverse) if form == "textbook" else (H.apply, H.invert)
    x = returns.astype(np.float32)
    exact_x = x.astype(np.float64)
    y = H.apply(exact_x).astype(np.float32)
    worse: np.ndarray = np.maximum(
        relative_error(apply(x), H.apply(exact_x)), relative_error(invert(y), H.invert(y.astype(np.float64)))
    )
    return worse


def draw_rescaling(saved: bool) -> list[Bound]:
    """:return: the claims of the docs"""
    figure, (curve, approximate, rounding) = panels(3, width=4.0, height=3.7)

    x = np.logspace(-2, 5, 400)
    curve.loglog(x, x, color="0.7", linewidth=1)
    curve.loglog(x, H.apply(x), color=COLORS[0], label="h")
    curve.loglog(x, H.invert(x), color=COLORS[2], label="exact inverse")
    curve.loglog(x, inverse_without_eps(x), "--", color=COLORS[1], label="inverse without eps")
    curve.set(xlabel="x > 0 (all are odd functions)", ylabel="value", ylim=(1e-3, 1e6), title="h and its inverses")
    curve.legend(loc="lower right")

    returns = np.logspace(0, 6, 400)
    approximate.loglog(returns, relative_error(inverse_without_eps(H.apply(returns)), returns), color=COLORS[1])
    for at in (1e2, 1e5):
        approximate.plot([at], [error_at(at)], "o", color=COLORS[1], markersize=5)
        label = f"+{error_at(at):.0%} at $10^{{{np.log10(at):.0f}}}$"
        approximate.annotate(label, (at, error_at(at)), (8, -3), textcoords="offset points", ha="left", va="top")
    worst = float(relative_error(H.invert(H.apply(returns)), returns).max())
    approximate.text(
        0.96,
        0.06,
        f"exact inverse: below {worst:.0e} (float64)",
        transform=approximate.transAxes,
        ha="right",
        color=COLORS[2],
    )
    approximate.set(
        xlabel="return x",
        ylabel="relative error of the value that comes back",
        title="inverse without eps",
        ylim=(1e-3, 1e1),
        xlim=(1, 3e6),
    )

    edges = np.logspace(-6, 6, 121)
    inside = np.logspace(0, 0.1, 200, endpoint=False)  # of one bin; the worst of each is drawn
    worst_of = {
        form: np.array([float32_errors(low * inside, form).max() for low in edges[:-1]])
        for form in ("textbook", "ours")
    }
    rounding.loglog(edges[:-1], worst_of["textbook"], color=COLORS[1], label="textbook form")
    rounding.loglog(edges[:-1], worst_of["ours"], color=COLORS[0], label="form used here")
    rounding.set(
        xlabel="return x",
        ylabel="largest relative error of h or its inverse",
        title="the same equations in float32",
        ylim=(1e-8, 1e2),
    )
    rounding.legend(loc="upper right")
    if saved:
        save(figure, "rescaling")

    kept = float(worst_of["ours"].max())
    textbook_at = {x: float(float32_errors(x * inside, "textbook").max()) for x in (1e-4, 1e-2, 1.0, 100.0)}
    print(f"inverse without eps: {error_at(1e2):+.1%} at 1e2, {error_at(1e5):+.1%} at 1e5")
    print(
        "float32, textbook form:",
        ", ".join(f"{error:.1g} at {x:g}" for x, error in textbook_at.items()),
        f"; form used here <= {kept:.2g}",
    )
    return [Bound("float32 error of h and its inverse, form used here", kept, at_most=5e-7)]


def error_at(x: float) -> float:
    return float(inverse_without_eps(H.apply(np.array([x])))[0] / x - 1.0)


def error_profiles() -> dict[str, np.ndarray]:
    """:return: |td| over the trained steps of four example windows"""
    t = np.arange(N_STEPS)
    rng = np.random.default_rng(0)
    spike = np.full(N_STEPS, 0.1)
    spike[55] = 2.0
    return {
        "one surprise": spike,
        "rising": 2.0 * (t / (N_STEPS - 1)) ** 2,
        "noise": np.abs(rng.normal(0, 0.6, N_STEPS)),
        "wrong everywhere": np.full(N_STEPS, 1.2),
    }


def draw_priorities(saved: bool) -> None:
    profiles = error_profiles()
    figure, axes = panels(len(profiles), width=2.9, height=3.0)
    mask = th.ones(1, N_STEPS)
    for axis, (name, errors) in zip(axes, profiles.items(), strict=True):
        axis.fill_between(np.arange(N_STEPS), errors, color="0.82", step="mid", label="|td| of each step")
        for eta, color, line in zip(ETAS, COLORS, ("-", "--", "-.", ":"), strict=False):
            priority = float(mix_priorities(th.as_tensor(errors)[None], mask, eta)[0])
            note = {0.0: " = mean", 0.9: ", the paper's", 1.0: " = maximum"}.get(eta, "")
            axis.axhline(priority, color=color, linestyle=line, linewidth=1.8, label=f"priority, eta {eta:g}{note}")
        axis.set(title=name, xlabel="trained step", ylim=(0, 2.2), xlim=(0, N_STEPS - 1))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, handlelength=3)
    if saved:
        save(figure, "priority_mix")


def main() -> None:
    args = parse(parser(__doc__, seeds=1))
    bounds = draw_rescaling(saved=not args.quick)
    draw_priorities(saved=not args.quick)
    sys.exit(verdict(bounds))


if __name__ == "__main__":
    main()
