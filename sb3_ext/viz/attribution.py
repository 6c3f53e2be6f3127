"""
Which part of an observation a decision hangs on: saliency and Grad-CAM, for each stream of a model apart. Both fit
`sb3_ext.viz.trace.watch` and leave the model as they found it, so they may be used in the middle of a training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import captum.attr
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import CombinedExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn
from torch.nn import functional as F

from sb3_ext.networks.noisy import NoisyLinear
from sb3_ext.viz.insight import Mind, State

Score = Callable[[th.Tensor], th.Tensor]  # of the explained part of an observation [B, ...] to [B]
N_IMAGE_AXES = 3  # channels, rows, columns
WHOLE = ""  # key of an observation that has no parts


@dataclass(frozen=True)
class Attribution(ABC):
    """
    Base of `Saliency` and `GradCam`.

    :param streams: those to explain, see `Mind.streams`; None = all
    :param key: which part of a Dict observation; None = the only image, or the only part
    """

    streams: tuple[str, ...] | None = None
    key: str | None = None

    def __call__(
        self, mind: Mind, model: BaseAlgorithm, obs: PyTorchObs, state: State, starts: np.ndarray
    ) -> dict[str, np.ndarray]:
        """
        :param mind: of the model
        :param model: to explain
        :param obs: [B, ...] of `policy.obs_to_tensor`, images channels first
        :param state: before this step, as `predict` takes it
        :param starts: [B], true where a new episode begins
        :return: by stream [B, rows, columns] >= 0 of images, [B, D] >= 0 of vectors
        :raises ValueError: for models that are not known, unknown streams, and parts of observations that are not known
            or cannot be explained
        """
        streams = self._streams_of(mind)
        key = self._key_in(model.observation_space)
        parts = obs if isinstance(obs, dict) else {WHOLE: obs}
        x = parts[key].detach().float().requires_grad_()

        def score_of(stream: str) -> Score:
            return lambda x: mind.score({**parts, key: x} if isinstance(obs, dict) else x, state, starts, stream)

        with _left_as_found(model.policy):
            return {stream: _explained(self, stream, score_of(stream), x, mind, key) for stream in streams}

    @abstractmethod
    def explain(self, score: Score, x: th.Tensor, torso: nn.Module | None, stream: str) -> th.Tensor:
        """
        :param score: what is explained
        :param x: [B, ...] float, with gradient
        :param torso: that sees ``x``
        :param stream: for error messages
        :return: as `__call__`, of one stream
        """

    def _streams_of(self, mind: Mind) -> tuple[str, ...]:
        if not mind.streams:
            raise ValueError(f"{type(mind.policy).__name__} cannot be explained: its family of models is not known")
        unknown = [stream for stream in self.streams or () if stream not in mind.streams]
        if unknown:
            raise ValueError(f"streams {unknown} of {type(mind.policy).__name__} must be among {list(mind.streams)}")
        return self.streams or mind.streams

    def _key_in(self, space: spaces.Space[Any]) -> str:
        """:return: of the part to explain"""
        if not isinstance(space, spaces.Dict):
            if self.key is not None:
                raise ValueError(f"key {self.key!r}: the observation {space} has no parts; leave the key out")
            _check_continuous("observation", space)
            return WHOLE
        key = self.key
        if key is None:
            images = [name for name, part in space.items() if len(part.shape or ()) == N_IMAGE_AXES]
            candidates = images or list(space.keys())
            if len(candidates) > 1:
                raise ValueError(f"key: the observation has the parts {candidates}; name the one to explain")
            key = candidates[0]
        elif key not in space.spaces:
            raise ValueError(f"key {key!r} of the observation must be one of {list(space.keys())}")
        _check_continuous(f"part {key!r}", space[key])
        return key


class Saliency(Attribution):
    """
    Absolute gradient of a stream's number with respect to the observation (Simonyan et al., 2014, section 3): of images
    the largest one over channels and stacked frames, of vectors each component's, per unit of what the network is
    given. How much a component varies is not in it; `sb3_ext.viz.overlay.input_bars` brings that in.
    """

    def explain(self, score: Score, x: th.Tensor, torso: nn.Module | None, stream: str) -> th.Tensor:
        gradient = captum.attr.Saliency(score).attribute(x)
        strength: th.Tensor = gradient.amax(dim=1) if x.ndim == 1 + N_IMAGE_AXES else gradient.flatten(1)
        return strength


class GradCam(Attribution):
    """
    Feature maps of the last convolution, behind its activation function, weighted by their mean gradients and
    rectified (Selvaraju et al., 2017, equations 1 and 2). Each place of the maps is drawn where the middle of the
    pixels lies that it sees: without padding that is up to twelve pixels of 84 nearer to the centre than where
    stretching puts it. Networks whose layers are no plain chain are stretched.

    A ValueError is raised for a network without convolutions.
    """

    def explain(self, score: Score, x: th.Tensor, torso: nn.Module | None, stream: str) -> th.Tensor:
        if torso is None or x.ndim != 1 + N_IMAGE_AXES or not any(isinstance(m, nn.Conv2d) for m in torso.modules()):
            raise ValueError(
                f"Grad-CAM needs a convolutional network over images; stream {stream!r} has "
                f"{type(torso).__name__} over {list(x.shape[1:])}: use Saliency"
            )
        maps = _last_maps(torso, lambda: score(x), x.shape[2:])
        cam = captum.attr.LayerGradCam(score, maps.layer).attribute(x, relu_attributions=True)
        assert isinstance(cam, th.Tensor)
        return _placed(cam.detach(), maps.first, maps.step, x.shape[2:]).squeeze(1)


def _explained(attribution: Attribution, stream: str, score: Score, x: th.Tensor, mind: Mind, key: str) -> np.ndarray:
    torso = mind.torso(stream)
    if isinstance(torso, CombinedExtractor):
        torso = torso.extractors[key]
    try:
        return attribution.explain(score, x, torso, stream).detach().cpu().numpy()
    except RuntimeError as error:
        if "not have been used in the graph" not in str(error):
            raise
        raise ValueError(
            f"stream {stream!r} of {type(mind.policy).__name__} has no gradient with respect to the observation"
            + (f"'s part {key!r}" if key != WHOLE else "")
            + ": the network cuts it off or does not read it; leave it out"
        ) from error


def _check_continuous(name: str, space: spaces.Space[Any]) -> None:
    if not isinstance(space, spaces.Box | spaces.MultiBinary):
        raise ValueError(f"{name}: {space} has no gradient; only Box and MultiBinary can be explained")


@contextmanager
def _left_as_found(policy: nn.Module) -> Iterator[None]:
    """A training goes on with its modes and its noise, which a `Mind` changes to act greedily."""
    modes = [(module, module.training) for module in policy.modules()]
    noises = [(module, module.noise) for module in policy.modules() if isinstance(module, NoisyLinear)]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for layer, noise in noises:
            layer.noise = noise


class _Maps(NamedTuple):
    layer: nn.Module
    """the last one whose output has rows and columns"""
    first: tuple[float, float] | None
    """row and column of the pixel in the middle of what their first place sees; None = not known"""
    step: tuple[float, float]
    """pixels from one place to the next"""


def _last_maps(torso: nn.Module, run: Callable[[], th.Tensor], size: th.Size) -> _Maps:
    """
    :param run: a pass through the network
    :param size: of the observation
    """
    layers: list[tuple[nn.Module, th.Size]] = []
    windows: list[tuple[nn.Module, th.Size, th.Size]] = []  # with sizes of input and output

    def note(module: nn.Module, inputs: tuple[th.Tensor, ...], output: object) -> None:
        if isinstance(output, th.Tensor) and output.ndim == 1 + N_IMAGE_AXES and output.shape[2:].numel() > 1:
            layers.append((module, output.shape[2:]))
            if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
                windows.append((module, inputs[0].shape[2:], output.shape[2:]))

    hooks = [module.register_forward_hook(note) for module in torso.modules()]
    try:
        with th.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    if not layers:
        raise ValueError("Grad-CAM: no layer of the network puts out maps of more than one place; use Saliency")
    layer, last = layers[-1]
    is_chain = [size, *(after for _, _, after in windows)] == [*(before for _, before, _ in windows), last]
    first, step = [0.0, 0.0], [1.0, 1.0]
    for module, _, _ in windows:
        for axis in (0, 1):
            kernel, stride, reach, padding = _window(module, axis)
            first[axis] += step[axis] * ((kernel - 1) * reach / 2 - padding)
            step[axis] *= stride
    return _Maps(layer, (first[0], first[1]) if is_chain else None, (step[0], step[1]))


def _window(module: nn.Module, axis: int) -> tuple[float, float, float, float]:
    """:return: kernel, stride, dilation and padding before the first pixel"""

    def of(name: str) -> float:
        value = getattr(module, name, 1)  # AvgPool2d has no dilation
        return float(value[axis] if isinstance(value, tuple) else value)

    kernel, reach, padding = of("kernel_size"), of("dilation"), module.padding
    if isinstance(padding, str):
        return kernel, of("stride"), reach, (kernel - 1) * reach / 2 if padding == "same" else 0.0
    return kernel, of("stride"), reach, of("padding")


def _placed(
    maps: th.Tensor, first: tuple[float, float] | None, step: tuple[float, float], size: tuple[int, ...]
) -> th.Tensor:
    """:return: [B, 1, *size] of maps [B, 1, h, w], bilinear; beyond the outermost places they go on as there"""
    if first is None:
        return F.interpolate(maps, size, mode="bilinear", align_corners=False)
    rows, columns = (
        # Of `grid_sample`: -1 is the first place, 1 the last one.
        2 * (th.arange(size[axis], device=maps.device) - first[axis]) / step[axis] / max(maps.shape[2 + axis] - 1, 1)
        - 1
        for axis in (0, 1)
    )
    grid = th.stack(th.meshgrid(columns, rows, indexing="xy"), dim=-1)
    grid = grid.expand(len(maps), *grid.shape)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=True)
