"""The card of a repository: Markdown below YAML. No text that comes from elsewhere can be more than text in it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_ext.exchange.agent_files import Score
from sb3_ext.exchange.known_algorithms import name_of
from sb3_ext.exchange.policy_files import KIND
from sb3_ext.exchange.redaction import redacted_command
from sb3_ext.planning import PlannerPolicy
from sb3_ext.versions import package_versions

CARD = "README.md"


def card(
    model: BaseAlgorithm | PlannerPolicy,
    repo_id: str,
    env_id: str,
    score: Score | None,
    command: str | None,
    legacy_zip: str | None,
    pictures: Sequence[str] = (),
) -> bytes:
    """
    Parameters as in `push_to_hub`; ``pictures`` are files beside it.

    :return: the README of a repository, without passwords, tokens and paths in the command
    """
    from huggingface_hub import EvalResult, ModelCardData  # of the extra `hub`

    name = type(model).__name__
    results = None
    if score is not None:
        value = f"{score.mean:.2f} +/- {score.std:.2f}"
        results = [
            EvalResult(
                task_type="reinforcement-learning",
                task_name="reinforcement-learning",
                dataset_type=env_id,
                dataset_name=env_id,
                metric_type="mean_reward",
                metric_name="mean_reward",
                metric_value=value,
            )
        ]
    data = ModelCardData(
        library_name="stable-baselines3",
        tags=["reinforcement-learning", "deep-reinforcement-learning", "stable-baselines3", "sb3-ext", env_id],
        model_name=name if results else None,
        eval_results=results,
    )
    lines = ["---", data.to_yaml(), "---", "", f"# {name} on {as_text(env_id)}", ""]
    if isinstance(model, PlannerPolicy):
        n_states, n_actions = model.probabilities.shape
        lines += [f"A policy of `{KIND}`: probabilities of {n_actions} actions in {n_states} states.", ""]
    else:
        lines += [f"An agent of `{name_of(model)}` after {model.num_timesteps} env steps.", ""]
    if score is not None:
        half = 1.96 * score.std / max(score.n_episodes, 1) ** 0.5
        lines += [
            f"Mean return {score.mean:.2f} over {score.n_episodes} episodes "
            f"(95 % interval {score.mean - half:.2f} to {score.mean + half:.2f}; standard deviation {score.std:.2f}).",
            "",
        ]
    for picture in pictures:
        shown = "!" if picture.endswith((".gif", ".png", ".svg")) else ""
        lines += [f"{shown}[{picture.split('.')[0]}]({picture})", ""]
    if command is not None:
        lines += ["Trained with", "", *fenced(redacted_command(command)), ""]
    lines += ["Load it without running any code of this repository:", ""]
    load = "load_policy_from_hub" if isinstance(model, PlannerPolicy) else "load_from_hub"
    lines += fenced(f"from sb3_ext.exchange.hub import {load}\n\nmodel = {load}({json.dumps(repo_id)})", "python")
    lines += [""]
    if legacy_zip is not None:
        lines += [f"`{legacy_zip}` is SB3's own format. Like any of its zips it runs code when it is loaded.", ""]
    lines += ["Versions: " + ", ".join(f"{key} {value}" for key, value in package_versions().items()) + ".", ""]
    return "\n".join(lines).encode()


def as_text(text: str) -> str:
    """:return: one line of Markdown that shows the text and does nothing else"""
    line = " ".join("".join(x if x.isprintable() else " " for x in text).split())
    return re.sub(r"([\\`*_{}\[\]()#+!|<>~$&:@])", r"\\\1", line)


def fenced(text: str, language: str = "") -> list[str]:
    """
    :param text: of one or more lines
    :param language: of a code block
    :return: lines of Markdown, whose fence is longer than any in the text
    """
    text = "".join(x if x.isprintable() or x in "\n\t" else " " for x in text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [f"{fence}{language}", *text.split("\n"), fence]


def file_name(text: str) -> str:
    """:return: a name of a file in a repository: letters, digits, and -._ between them"""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "agent"
