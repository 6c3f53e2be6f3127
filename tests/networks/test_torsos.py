"""Torsos: folded over time inside the network, and the residual one by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from support.networks import N_ACTIONS, make_net, random_state, rows
from torch import nn

from sb3_ext import nested
from sb3_ext.networks import (
    ImpalaResNet,
)

IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)


DICT = spaces.Dict(
    {
        "image": IMAGE,
        "vector": spaces.Box(-1, 1, (3,), np.float32),
        "place": spaces.Discrete(5),
        "bits": spaces.MultiBinary(2),
    }
)


def random_obs(space: spaces.Space[Any], n_batch: int, n_time: int) -> Any:
    """[B, T, ...] as the replay returns it: Discrete has a last axis of one."""
    if isinstance(space, spaces.Dict):
        return {key: random_obs(part, n_batch, n_time) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Discrete):
        return th.randint(int(space.n), (n_batch, n_time, 1))
    if space.dtype == np.uint8:
        return th.randint(0, 256, (n_batch, n_time, *(space.shape or ())), dtype=th.uint8)
    return th.rand(n_batch, n_time, *(space.shape or ()))


def at(obs: Any, row: int, t: int) -> Any:
    """One observation as acting sees it, [1, ...], and [1] for Discrete."""
    if isinstance(obs, dict):
        return {key: at(x, row, t) for key, x in obs.items()}
    x = obs[row : row + 1, t]
    return x[:, 0] if x.dtype == th.int64 else x


@pytest.mark.parametrize(
    ("space", "torso", "kwargs"),
    [
        (IMAGE, NatureCNN, {"features_dim": 12}),
        (IMAGE, ImpalaResNet, {"features_dim": 12, "channels": (4, 4)}),
        (DICT, CombinedExtractor, {"cnn_output_dim": 12}),
        (spaces.Discrete(7), FlattenExtractor, {}),
        (spaces.Box(-1, 1, (2, 3), np.float32), FlattenExtractor, {}),
    ],
)
def test_every_torso_is_folded_over_time(
    space: spaces.Space[Any], torso: type[BaseFeaturesExtractor], kwargs: Any
) -> None:
    net = make_net(space, torso, **kwargs)
    obs, state = random_obs(space, 3, 5), random_state(net.core, 3)
    out, _ = net.unroll(obs, state)
    assert out.shape == (3, 5, N_ACTIONS)
    for row in range(3):
        now = rows(state, row)
        for t in range(5):
            q, now = net.step(at(obs, row, t), now)
            th.testing.assert_close(q[0], out[row, t], rtol=0, atol=1e-5)
    refreshed = net.burn_in(obs, state, th.full((3,), 5), (0, 5))
    for one, other in zip(nested.leaves(refreshed), nested.leaves(net.unroll(obs, state)[1]), strict=True):
        th.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_images_are_scaled_by_255_once() -> None:
    net = make_net(IMAGE, NatureCNN, features_dim=12)
    obs = random_obs(IMAGE, 2, 1)
    assert net.features_extractor is not None
    features = net.features_extractor(obs[:, 0].float() / 255)
    y, _ = net.core(features[:, None], net.initial_state(2))
    th.testing.assert_close(net.head_net(y)[:, 0], net(obs[:, 0]))


@pytest.mark.parametrize(
    ("shape", "channels", "conv_out"),
    [((4, 84, 84), (16, 32, 32), 32 * 11 * 11), ((1, 36, 36), (4, 8), 8 * 9 * 9), ((3, 8, 9), (2, 2, 2), 2 * 1 * 2)],
)
def test_impala_shapes(shape: tuple[int, ...], channels: tuple[int, ...], conv_out: int) -> None:
    """Each section halves height and width, rounded up."""
    torso = ImpalaResNet(spaces.Box(0, 255, shape, np.uint8), features_dim=20, channels=channels)
    x = th.rand(2, *shape)
    assert torso.cnn(x).shape == (2, conv_out)
    assert torso(x).shape == (2, 20)
    assert torso.features_dim == 20
    convolutions = [m for m in torso.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 5 * len(channels)


def test_impala_residual_blocks_are_residual() -> None:
    """With the blocks' convolutions at zero what is left is convolution, pool, ReLU, as if there were no blocks."""
    torso = ImpalaResNet(IMAGE, features_dim=6, channels=(4,))
    first, pool, *blocks = list(torso.cnn)[:4]
    for block in blocks:
        for parameter in block.parameters():
            parameter.data.zero_()
    x = th.rand(2, 1, 36, 36)
    th.testing.assert_close(torso.cnn(x), pool(first(x)).relu().flatten(1))


def test_impala_wants_images() -> None:
    with pytest.raises(ValueError, match="ImpalaResNet needs an image space, got Box"):
        ImpalaResNet(spaces.Box(-1, 1, (4,), np.float32))
    with pytest.raises(ValueError, match="ImpalaResNet needs an image space, got Box"):
        ImpalaResNet(spaces.Box(0, 1, (1, 36, 36), np.float32))
    floats = ImpalaResNet(
        spaces.Box(0, 1, (1, 36, 36), np.float32), features_dim=6, channels=(4,), normalized_image=True
    )
    assert floats(th.rand(2, 1, 36, 36)).shape == (2, 6)
