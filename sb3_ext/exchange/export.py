"""
A policy as a file that acts without Stable-Baselines3: an ONNX graph, or a program of `torch.export`. Observations go
in as the environment gives them, actions come out as it takes them, a recurrent state goes in and comes out.

No file is written that has not been run and compared with `predict`.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import logging
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from sb3_ext import nested
from sb3_ext.exchange.acting_graphs import ActingGraph, acting_graph, acting_policy
from sb3_ext.exchange.export_check import TOLERANCE, Difference, compare
from sb3_ext.exchange.export_inputs import Door, Source, drawer, source_of
from sb3_ext.saving import write_whole
from sb3_ext.versions import package_versions, version_of

Format = Literal["onnx", "pt2"]
Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""inputs to outputs, in the order of their names"""
METADATA = "sb3_ext"
"""key of an ONNX file's metadata; `torch.export` keeps the same text as the extra file ``sb3_ext.json``"""
SCHEMA = 1
MAX_ONNX_BYTES = 2**31 - 1  # of one protocol buffer
LANES = 3  # of the example that is traced: neither 0 nor 1, which torch takes for constants


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: pathlib.Path
    n_bytes: int
    difference: Difference
    """between the file and `predict`"""
    metadata: dict[str, Any]
    """as in the file"""


class ExportedGraph(nn.Module):
    """
    The whole way from the environment and back. Tensors in, tensors out, the batch is the first axis of each.

    :param source: of the observations
    :param policy: on the CPU
    """

    def __init__(self, source: Source, policy: BasePolicy) -> None:
        super().__init__()
        self.door = Door(source, policy.observation_space)
        self.acting: ActingGraph = acting_graph(policy)
        self.n_parts = len(source.parts)
        self.fresh: list[th.Tensor] = list(nested.leaves(self.acting.initial_state()))
        self.state_names = [f"state_{i}" for i in range(len(self.fresh))]
        self.input_names = [*source.parts, *self.state_names, *(["episode_start"] if self.fresh else [])]
        values = [] if self.acting.values_name is None else [self.acting.values_name]
        self.output_names = ["action", *values, *(f"next_{name}" for name in self.state_names)]

    def forward(self, *inputs: th.Tensor) -> tuple[th.Tensor, ...]:
        """
        :param inputs: as `input_names`
        :return: as `output_names`
        """
        obs, rest = self.door(inputs[: self.n_parts]), inputs[self.n_parts :]
        outputs: tuple[th.Tensor, ...] = self.acting(obs, rest[:-1], rest[-1] if self.fresh else None)
        return outputs


def export_policy(
    model: BaseAlgorithm | BasePolicy,
    path: str | os.PathLike[str],
    format: Format | None = None,
    env: VecEnv | None = None,
) -> Exported:
    """
    Write what ``predict(deterministic=True)`` does as one file. The model stays as it is.

    :param model: of ours, SB3 or sb3-contrib, or its policy alone
    :param path: of the file, which appears whole or not at all; the format is added where it has no suffix
    :param format: "onnx" or "pt2" (`torch.export`); None = the path's suffix, else "onnx"
    :param env: in which it acts. `VecNormalize`'s statistics of observations become part of the graph, and so does the
        order of an image's axes. None = the model's own, where it has one
    :return: what was written, and how far from `predict` it is
    :raises ValueError: for another format, for a policy that has no graph, and where the graph differs from `predict`
        by more than 1e-5 (of numbers above 1, of the number): nothing is written then
    :raises ModuleNotFoundError: without the extra ``export``, which "onnx" needs
    """
    path, format = target_of(path, format)
    if env is None and isinstance(model, BaseAlgorithm):
        env = model.get_env()
    policy = copy.deepcopy(acting_policy(model)).to("cpu")  # a GPU may round more than the tolerance
    policy.set_training_mode(False)
    source = source_of(env, policy.observation_space)
    graph = ExportedGraph(source, policy).eval()
    program, example = _traced(graph, source)
    metadata = _metadata(graph, policy, example, type(model).__name__)
    content, run = {"onnx": _onnx, "pt2": _pt2}[format](program, graph, metadata)
    difference = compare(run, graph, policy, source)
    if not difference.largest <= TOLERANCE:
        raise ValueError(
            f"{path}: the graph differs from predict by {difference.largest:.2g} in {difference.where} (at most "
            f"{TOLERANCE:g}): nothing was written"
        )
    write_whole(path, format, lambda file: _write(file, content))
    return Exported(path, len(content), difference, metadata)


def target_of(path: str | os.PathLike[str], format: str | None = None) -> tuple[pathlib.Path, Format]:
    """
    :param path: as of `export_policy`
    :param format: as there
    :return: the file, and its format
    :raises ValueError: for another format, or a suffix that is another one's
    :raises ModuleNotFoundError: where the format needs what is not installed
    """
    path = pathlib.Path(path)
    suffix = path.suffix.removeprefix(".")
    wanted = format or suffix or "onnx"
    for known in get_args(Format):
        if wanted == known and suffix in ("", known):
            if known == "onnx":
                _check_extra()
            return path.with_name(f"{path.name}.{known}") if not suffix else path, known
    shown = f"format {format!r} of {path.name}" if format else f"{path.name}"
    raise ValueError(f"{shown}: a policy is exported as FILE.onnx or FILE.pt2")


def _check_extra() -> None:
    for name in ("onnx", "onnxruntime", "onnxscript"):  # torch writes ONNX with the last one
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f'{name} is missing; pip install "sb3-ext[export]"', name=name)


def _traced(graph: ExportedGraph, source: Source) -> tuple[th.export.ExportedProgram, list[th.Tensor]]:
    example = [*source.tensors(drawer(source)(LANES)), *(x.expand(LANES, *x.shape[1:]).clone() for x in graph.fresh)]
    if graph.fresh:
        example.append(th.ones(LANES, dtype=th.bool))
    batch = th.export.Dim("batch")
    try:
        with th.no_grad():
            program = th.export.export(
                graph, tuple(example), dynamic_shapes=(tuple({0: batch} for _ in example),), strict=False
            )
    except Exception as error:  # any: torch has many for what it cannot trace
        what = " ".join(str(error).split())[:300]
        raise ValueError(f"torch.export cannot trace {type(graph.acting).__name__} of this policy: {what}") from error
    return program, example


def _metadata(graph: ExportedGraph, policy: BasePolicy, example: Sequence[th.Tensor], name: str) -> dict[str, Any]:
    """:return: JSON; of shapes the first axis is the batch"""
    with th.no_grad():
        outputs = graph(*example)

    def described(names: Sequence[str], tensors: Sequence[th.Tensor]) -> list[dict[str, Any]]:
        return [
            {"name": n, "shape": ["batch", *x.shape[1:]], "dtype": str(x.dtype).removeprefix("torch.")}
            for n, x in zip(names, tensors, strict=True)
        ]

    return {
        "schema": SCHEMA,
        "algorithm": name,
        "policy": type(policy).__name__,
        "inputs": described(graph.input_names, example),
        "outputs": described(graph.output_names, outputs),
        "state": [
            {"input": n, "output": f"next_{n}", "initial": x[0].tolist()}
            for n, x in zip(graph.state_names, graph.fresh, strict=True)
        ],
        "action_space": str(policy.action_space),
        "versions": {**package_versions(), **_onnx_versions()},
    }


def _onnx_versions() -> dict[str, str]:
    found = {name: version_of(name) for name in ("onnx", "onnxscript", "onnxruntime")}
    return {name: version for name, version in found.items() if version is not None}


def _onnx(program: th.export.ExportedProgram, graph: ExportedGraph, metadata: dict[str, Any]) -> tuple[bytes, Run]:
    import onnxruntime

    with _quiet():
        made = th.onnx.export(
            program, (), input_names=graph.input_names, output_names=graph.output_names, dynamo=True, verbose=False
        )
    assert made is not None
    proto = made.model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(metadata)
    if proto.ByteSize() > MAX_ONNX_BYTES:
        raise ValueError(f"{proto.ByteSize()} bytes are more than an ONNX file holds: use format='pt2'")
    content = proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        outputs: list[np.ndarray] = session.run(graph.output_names, dict(zip(graph.input_names, inputs, strict=True)))
        return outputs

    return content, run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporter warns of torch's own code, and of torchvision's operators, which no policy has."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        log.setLevel(level)


def _pt2(program: th.export.ExportedProgram, graph: ExportedGraph, metadata: dict[str, Any]) -> tuple[bytes, Run]:
    file = io.BytesIO()
    th.export.save(program, file, extra_files={f"{METADATA}.json": json.dumps(metadata)})
    content = file.getvalue()
    loaded = th.export.load(io.BytesIO(content)).module()

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [x.numpy() for x in loaded(*map(th.as_tensor, inputs))]

    return content, run


def _write(file: io.BufferedIOBase, content: bytes) -> None:
    file.write(content)
