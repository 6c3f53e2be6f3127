"""Heads of every kind."""

from __future__ import annotations

import pytest

from sb3_ext.networks import (
    C51,
    Quantile,
    Scalar,
)
from sb3_ext.networks.heads import StreamsHead

HEADS: list[StreamsHead] = [
    Scalar(),
    Scalar(td_loss="huber"),
    C51(n_atoms=11, v_min=-6.0, v_max=6.0),
    C51(n_atoms=11, v_min=-6.0, v_max=6.0, priority="td"),
    Quantile(n_quantiles=7),
    Quantile(n_quantiles=4, kappa=0.0, priority="td"),
]


ONE_OF_EACH = [HEADS[0], HEADS[2], HEADS[4]]


EACH = pytest.mark.parametrize("head", HEADS, ids=repr)


ONE = pytest.mark.parametrize("head", ONE_OF_EACH, ids=repr)
