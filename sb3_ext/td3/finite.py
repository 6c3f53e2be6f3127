"""What is stored must be finite: one NaN reaches every weight within one update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sb3_ext import nested
from sb3_ext.vec_envs import Observations, raw_final_observation


def check_step(
    obs: Observations, reward: np.ndarray, dones: np.ndarray, infos: Sequence[dict[str, Any]], step: int
) -> None:
    """
    :param obs: [E, *shape] after the step, before any normalisation, which would clip infinity
    :param reward: [E], as well
    :param dones: [E]
    :param infos: E; true final observations are looked at too
    :param step: number of the env step, for the error
    :raises ValueError: for NaN or infinity
    """
    everywhere = range(len(dones))
    _check(reward, "reward", everywhere, step)
    _check(obs, "observation", everywhere, step)
    for env in np.flatnonzero(dones).tolist():
        final = raw_final_observation(infos[env])
        if final is not None:
            _check(nested.map(lambda x: np.array([x]), final), "final observation", [env], step)


def _check(rows: Observations, name: str, envs: Sequence[int], step: int) -> None:
    for what, x in nested.named(rows, name):
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            row = int(np.flatnonzero(~np.isfinite(x.reshape(len(envs), -1)).all(axis=1))[0])
            raise ValueError(f"{what} {x[row]} of environment {envs[row]} at step {step} is not finite")
