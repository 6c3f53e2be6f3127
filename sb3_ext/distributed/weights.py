"""
What an actor needs of the learner from time to time: the state of the acting network and the statistics by which
observations are normalised, as a few flat vectors. They have the same order, shapes and dtypes in every version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed.messages import Weights


class Packer:
    """
    :param module: the acting network. Where its tensors are is looked up here once, which takes longer than a copy of
        them; another tensor may take the place of one, as of a statistic that is computed anew
    """

    def __init__(self, module: nn.Module) -> None:
        groups: dict[th.dtype, list[tuple[nn.Module, str]]] = {}
        for path, x in module.state_dict().items():
            owner, _, name = path.rpartition(".")
            groups.setdefault(x.dtype, []).append((module.get_submodule(owner), name))
        self._groups = list(groups.values())

    def pack(self, normalizer: VecNormalize | None, version: int, n_updates: int) -> Weights:
        """
        :param normalizer: around the learner's environments
        :param version: from 1 on
        :param n_updates: that the network has had
        :return: copies, one vector for each dtype of the network's state and one of statistics
        """
        # One copy from the device for each dtype: each waits for the device.
        with th.no_grad():
            tensors = [[getattr(owner, name).reshape(-1) for owner, name in group] for group in self._groups]
            vectors = [th.cat(group).cpu().numpy() for group in tensors]
        if normalizer is not None:
            vectors.append(np.concatenate([_flat(x) for x in running_statistics(normalizer)]))
        return Weights(version, n_updates, tuple(vectors))


def load_weights(model: DeepQLearning, normalizer: VecNormalize | None, weights: Weights) -> bool:
    """
    :param model: of an actor, on the CPU
    :param normalizer: around its environments
    :param weights: of a learner with the same networks; only read
    :return: whether statistics have changed
    """
    for group, vector in zip(_by_dtype(model.acting_module()).values(), weights.vectors, strict=False):
        at = 0
        for x in group:
            # By NumPy: torch warns about arrays that are read-only, as those of Ray are.
            np.copyto(x.numpy(), vector[at : at + x.numel()].reshape(x.shape))
            at += x.numel()
    if normalizer is None:
        return False
    before = np.concatenate([_flat(x) for x in running_statistics(normalizer)])
    after, at = weights.vectors[-1], 0
    for rms in running_statistics(normalizer):
        size = rms.mean.size
        rms.mean = after[at : at + size].reshape(rms.mean.shape).copy()
        rms.var = after[at + size : at + 2 * size].reshape(rms.var.shape).copy()
        rms.count = float(after[at + 2 * size])
        at += 2 * size + 1
    return not np.array_equal(before, after)


def running_statistics(normalizer: VecNormalize) -> Iterator[RunningMeanStd]:
    """:return: of observations, as far as they are normalised, by key; then of returns"""
    if normalizer.norm_obs:
        # Any: SB3 says that it is always one, but it has one for each key of a Dict.
        of_observations: Any = normalizer.obs_rms
        yield from of_observations.values() if isinstance(of_observations, dict) else [of_observations]
    yield normalizer.ret_rms


def _by_dtype(module: nn.Module) -> dict[th.dtype, list[th.Tensor]]:
    groups: dict[th.dtype, list[th.Tensor]] = {}
    for x in module.state_dict().values():
        groups.setdefault(x.dtype, []).append(x)
    return groups


def _flat(x: RunningMeanStd) -> np.ndarray:
    return np.concatenate((np.ravel(x.mean), np.ravel(x.var), [x.count]))
