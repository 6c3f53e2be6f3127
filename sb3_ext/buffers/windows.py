"""What a window of a sequence replay may be, and what a batch of them holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.type_aliases import TensorDict

from sb3_ext.buffers.replay import Handle
from sb3_ext.nested import Nested

WindowHandle = Handle
"""Names drawn windows, also after some of them have been overwritten."""


class SequenceSamples(NamedTuple):
    """A batch of windows. l = burn_in, m = sequence_length, n = n_steps."""

    burn_in_observations: th.Tensor | TensorDict
    """[B, l, ...]; a burn-in of b < l real steps fills the last b columns, the columns before are padding"""
    observations: th.Tensor | TensorDict
    """[B, m + n + 1, ...], from the first trained step"""
    actions: th.Tensor
    """[B, m, action_dim], as SB3's buffers keep them"""
    rewards: th.Tensor
    """[B, m + n] float32, 0 in the padding"""
    terminated: th.Tensor
    """[B, m + n] float32, 1 where the step ended the episode for good; truncations and cuts are 0"""
    mask: th.Tensor
    """[B, m + n] float32, 1 = real step, 0 = padding; real steps come first"""
    burn_in_lengths: th.Tensor
    """[B] int64, b"""
    states: Nested[th.Tensor] | None
    """[B, ...] each: recurrent state before the first real column; None when no state is stored"""
    extras: dict[str, th.Tensor]
    """[B, m + n, ...] of each further column, 0 in the padding"""
    weights: th.Tensor
    """[B] float32, importance weights in (0, 1]"""
    handle: WindowHandle
    """for `SequenceReplayBuffer.update_priorities`"""


def check_window_geometry(burn_in: int, sequence_length: int, n_steps: int, period: int) -> None:
    """:raises ValueError: naming the number that does not fit"""
    given: list[tuple[str, Any, int]] = [  # Any: what a yml or a search space made of them
        ("burn_in", burn_in, 0),
        ("sequence_length", sequence_length, 1),
        ("n_steps", n_steps, 1),
        ("period", period, 1),
    ]
    for name, value, least in given:
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name} {value} must be an integer >= {least}")
    if sequence_length % period != 0:
        raise ValueError(f"period {period} must divide sequence_length {sequence_length}")
