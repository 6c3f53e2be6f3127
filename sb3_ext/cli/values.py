"""Types of flags: what their values must be. A wrong one is refused while flags are read, before any work."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection

Number = Callable[[str], float]
Whole = Callable[[str], int]

MAX_SEED = 2**32 - 1  # NumPy's


def whole(lowest: int, highest: int | None = None, also: Collection[int] = ()) -> Whole:
    """
    :param lowest: that is allowed
    :param highest: that is allowed, None = any
    :param also: values below, which mean something of their own
    :return: type of a flag
    """

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"invalid int value: {text!r}") from None
        if value in also or (lowest <= value and (highest is None or value <= highest)):
            return value
        wanted = f"be at least {lowest}" if highest is None else f"lie in [{lowest}, {highest}]"
        or_else = "".join(f", or {other}" for other in sorted(also))
        raise argparse.ArgumentTypeError(f"{value} must {wanted}{or_else}")

    return read


def seed(text: str) -> int:
    """Type of a flag."""
    return whole(0, MAX_SEED)(text)


def real(lowest: float = -math.inf, highest: float = math.inf, above: bool = False) -> Number:
    """
    :param lowest: that is allowed
    :param highest: that is allowed
    :param above: the lowest one itself is not
    :return: type of a flag, of finite numbers
    """

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"invalid float value: {text!r}") from None
        if math.isfinite(value) and lowest <= value <= highest and not (above and value == lowest):
            return value
        if math.isfinite(lowest) and math.isfinite(highest):
            wanted = f"lie in [{lowest:g}, {highest:g}]"
        elif math.isfinite(lowest):
            wanted = f"be {'above' if above else 'at least'} {lowest:g}, and finite"
        else:
            wanted = "be finite"
        raise argparse.ArgumentTypeError(f"{value:g} must {wanted}")

    return read


def device(text: str) -> str:
    """
    Type of a flag. SB3 trains on the CPU where a GPU is asked for that is not there, and says nothing.

    :param text: as PyTorch takes it, or ``auto``
    :return: the same
    """
    if text in ("auto", "cpu"):
        return text
    import torch as th  # only here: `--help` shall be quick

    try:
        found = th.device(text)
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"{text!r} is no device: auto, cpu, cuda, cuda:1 or mps") from None
    if found.type == "meta":
        raise argparse.ArgumentTypeError("'meta' holds no numbers: auto, cpu, cuda, cuda:1 or mps")
    if found.type == "cuda":
        n_gpus = th.cuda.device_count()
        if (found.index or 0) >= n_gpus:
            there = f"{n_gpus} GPUs" if n_gpus else "no GPU"
            raise argparse.ArgumentTypeError(f"{text!r}: this torch finds {there}, `sb3-ext doctor` says more")
    if found.type == "mps" and not th.backends.mps.is_available():
        raise argparse.ArgumentTypeError("'mps': this torch cannot use one, `sb3-ext doctor` says more")
    return text
