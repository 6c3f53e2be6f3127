"""Recurrent Q-networks, and one unrolled step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor

from sb3_ext import nested
from sb3_ext.networks import (
    GRUCore,
    Head,
    LSTMCore,
    RecurrentCore,
    RecurrentQNetwork,
    RecurrentState,
    Scalar,
)

CORES = [LSTMCore, GRUCore]


N_ACTIONS, OBS_DIM, HIDDEN = 3, 4, 8


def random_state(core: RecurrentCore[Any], n: int) -> RecurrentState:
    state: RecurrentState = nested.map(th.randn_like, core.initial_state(n))
    return state


def rows(state: RecurrentState, row: int) -> RecurrentState:
    """The state of one sequence, [1, L, H] each."""
    return nested.take(state, slice(row, row + 1))


def make_net(
    space: spaces.Space[Any] | None = None,
    torso: type[BaseFeaturesExtractor] = FlattenExtractor,
    core_class: type[RecurrentCore[Any]] = LSTMCore,
    n_layers: int = 1,
    head: Head | None = None,
    net_arch: list[int] | None = None,
    **torso_kwargs: Any,
) -> RecurrentQNetwork:
    th.manual_seed(0)
    space = spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32) if space is None else space
    extractor = torso(space, **torso_kwargs)
    return RecurrentQNetwork(
        space,
        spaces.Discrete(N_ACTIONS),
        features_extractor=extractor,
        features_dim=extractor.features_dim,
        head=Scalar() if head is None else head,
        core_class=core_class,
        hidden_size=HIDDEN,
        n_layers=n_layers,
        net_arch=[16] if net_arch is None else net_arch,
    )


def slow_unroll(net: RecurrentQNetwork, obs: th.Tensor, state: RecurrentState) -> tuple[th.Tensor, RecurrentState]:
    """One step after the other, [1, T, ...]."""
    out = []
    for t in range(obs.shape[1]):
        q, state = net.step(obs[:, t], state)
        out.append(q)
    return th.stack(out, dim=1), state
