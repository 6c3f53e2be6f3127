"""Grad-CAM against sums by hand, and where the recurrent state enters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from support.attributions import START, WITHIN, Anything, explained, given_to
from torch import nn
from torch.nn import functional as F

from sb3_ext import R2D2, Rainbow
from sb3_ext.networks import ImpalaResNet, Scalar
from sb3_ext.networks.streams import Streams
from sb3_ext.viz.attribution import GradCam, Saliency
from sb3_ext.viz.insight import mind_of


class Branches(BaseFeaturesExtractor):
    """A convolution by two or nothing, then convolutions side by side, their sum through ReLU, and a linear layer."""

    def __init__(self, space: spaces.Box, window: tuple[int, int, int], n_branches: int, is_deep: bool) -> None:
        super().__init__(space, 5)
        self.below = nn.Conv2d(2, 2, 3, stride=2) if is_deep else nn.Identity()
        kernel, stride, padding = window
        self.branches = nn.ModuleList(nn.Conv2d(2, 3, kernel, stride, padding) for _ in range(n_branches))
        self.relu = nn.ReLU()
        self.linear = nn.Linear(self.maps(th.zeros(1, *space.shape)).numel(), 5)

    def maps(self, x: th.Tensor) -> th.Tensor:
        below = self.below(x)
        out: th.Tensor = self.relu(sum(branch(below) for branch in self.branches))
        return out

    def forward(self, x: th.Tensor) -> th.Tensor:
        out: th.Tensor = self.linear(self.maps(x).flatten(1))
        return out


def heat_and_cam(window: tuple[int, int, int], **kwargs: Any) -> tuple[np.ndarray, np.ndarray]:
    """[13, 15] of Grad-CAM, and [h, w] by hand: above the maps the network is linear."""
    space = spaces.Box(0, 255, (2, 13, 15), np.uint8)
    model = Rainbow("CnnPolicy", Anything(space), device="cpu", seed=0, head=Scalar(dueling=None), policy_kwargs=dict(
        features_extractor_class=Branches, features_extractor_kwargs=dict(window=window, **kwargs),
        net_arch=[]))  # fmt: skip
    net = model.policy.q_net
    assert isinstance(net.head_net, Streams)
    torso, head = net.features_extractor, net.head_net.advantage[0]
    assert isinstance(torso, Branches) and isinstance(head, nn.Linear)
    with th.no_grad():
        maps = torso.maps(given_to(model) / 255)[0].numpy()
        slopes = (head.weight @ torso.linear.weight)[net(given_to(model)).argmax()].numpy().reshape(maps.shape)
    cam = np.zeros(maps.shape[1:], dtype=np.float32)
    for channel in range(3):
        cam += slopes[channel].mean() * maps[channel]
    assert cam.max() > 0
    heat = explained(GradCam(), model)["q"]
    assert heat.shape == (1, 13, 15)
    return heat[0], cam.clip(0)


@pytest.mark.parametrize("is_deep", [False, True])
@pytest.mark.parametrize("window", [(3, 2, 0), (3, 1, 1), (5, 3, 2)])
def test_grad_cam_by_hand(window: tuple[int, int, int], is_deep: bool) -> None:
    """A place of the maps lies in the middle of the pixels that it sees; between places it is linear."""
    heat, cam = heat_and_cam(window, n_branches=1, is_deep=is_deep)
    kernel, stride, padding = window
    rows, columns = ((kernel - 1) // 2 - padding + stride * np.arange(n) for n in cam.shape)
    if is_deep:  # place i of the layer below lies at pixel 1 + 2 i
        rows, columns, stride = 1 + 2 * rows, 1 + 2 * columns, 2 * stride
    np.testing.assert_allclose(heat[np.ix_(rows, columns)], cam, atol=1e-6)
    np.testing.assert_allclose(
        heat[np.ix_(rows[:-1] + 1, columns)], cam[:-1] + np.diff(cam, axis=0) / stride, atol=1e-6
    )
    np.testing.assert_allclose(heat[-1, columns], cam[-1], atol=1e-6)  # beyond the last row it goes on


def test_maps_of_no_plain_chain_are_stretched() -> None:
    heat, cam = heat_and_cam((3, 2, 0), n_branches=2, is_deep=False)
    expected = F.interpolate(th.as_tensor(cam)[None, None], heat.shape, mode="bilinear")[0, 0]
    np.testing.assert_allclose(heat, expected.numpy(), atol=1e-6)


def test_grad_cam_of_a_residual_network_looks_behind_the_skip() -> None:
    model = Rainbow("CnnPolicy", Anything(), device="cpu", seed=0,
                    policy_kwargs=dict(features_extractor_class=ImpalaResNet))  # fmt: skip
    torso = model.policy.q_net.features_extractor
    assert isinstance(torso, ImpalaResNet)
    heat = explained(GradCam(), model)["value"]
    maps: list[th.Tensor] = []
    hook = torso.cnn[-2].register_forward_hook(lambda module, inputs, output: maps.append(output))
    score = mind_of(model).score(given_to(model).float(), None, START, "value")
    hook.remove()
    (slope,) = th.autograd.grad(score.sum(), maps)
    cam = (slope.mean(dim=(2, 3)) @ maps[0][0].flatten(1)).relu().reshape(maps[0].shape[2:]).detach().numpy()
    assert cam.max() > 0
    # After three padded poolings by two, place i lies at pixel 8 i.
    np.testing.assert_allclose(heat[0, ::8, ::8], cam, atol=1e-6)


def test_the_recurrent_state_enters_within_an_episode_only() -> None:
    model = R2D2("CnnLstmPolicy", Anything(), device="cpu", seed=0, policy_kwargs=dict(lstm_hidden_size=8))
    state = tuple(np.random.default_rng(0).normal(size=(2, 1, 1, 8)).astype(np.float32))
    for how in (Saliency(), GradCam()):
        fresh, begun, within = (
            explained(how, model, *given) for given in ((None, START), (state, START), (state, WITHIN))
        )
        for stream in ("value", "advantage"):
            np.testing.assert_array_equal(fresh[stream], begun[stream])
            assert not np.allclose(fresh[stream], within[stream], rtol=1e-3)
