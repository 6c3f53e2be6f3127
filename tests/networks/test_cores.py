"""Recurrent cores against single steps; what is done to their states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from support.networks import CORES, HIDDEN, random_state

from sb3_ext import nested
from sb3_ext.networks import (
    GRUCore,
    LSTMCore,
    RecurrentCore,
)


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
