"""`sb3-ext export`: an agent of the log folder as a file that acts without Stable-Baselines3."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sb3_ext.cli.flags import Command, Parser, add_agent_flags, agent_of
from sb3_ext.zoo.agents import load_agent


def _parser() -> Parser:
    parser = Parser(
        "sb3-ext export",
        description="Write what a trained agent does greedily as one file, with the statistics of VecNormalize inside. "
        "It is compared with `predict` before it is written.",
    )
    add_agent_flags(parser)
    parser.add_argument("-o", "--output", type=Path, default=Path("policy.onnx"), help=".onnx or .pt2 (policy.onnx)")
    parser.add_argument("--format", choices=("onnx", "pt2"), help="(that of the output's suffix)")
    return parser


def export(given: argparse.Namespace) -> None:
    """:param given: by the flags of `export`"""
    from sb3_ext.exchange.export import export_policy, target_of

    target_of(given.output, given.format)
    agent = load_agent(agent_of(given))
    try:
        written = export_policy(agent.model, given.output, given.format, agent.env)
    finally:
        agent.env.close()
    metadata, difference = written.metadata, written.difference
    print(f"in:  {_tensors(metadata['inputs'])}\nout: {_tensors(metadata['outputs'])}")
    print(
        f"{written.path} ({written.n_bytes / 1e3:.0f} kB): at most {difference.largest:.1g} from `predict` in "
        f"{difference.n_steps} steps"
    )


def _tensors(described: list[dict[str, Any]]) -> str:
    return ", ".join(f"{x['name']} [{', '.join(map(str, x['shape']))}] {x['dtype']}" for x in described)


EXPORT = Command("export", "a trained agent as an ONNX or torch.export file, which needs no SB3", _parser, export)
