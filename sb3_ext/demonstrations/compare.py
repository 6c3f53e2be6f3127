"""Whether demonstrations are of the learner's task, as far as spaces and numbers tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_ext.demonstrations.array_spaces import out_of_space, subspaces
from sb3_ext.demonstrations.data import Demonstrations
from sb3_ext.demonstrations.findings import Finding, describe

# An environment may leave its own Box now and then; observations of another scale do so all the time.
OUTSIDE_SHARE = 0.01


def compare_spaces(
    demos: Demonstrations, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> list[Finding]:
    """
    What a learner can ask before it begins, for no environment is stepped.

    :param demos: to compare
    :param observation_space: of the learner's environment
    :param action_space: of it
    """
    findings: list[Finding] = []
    ours = subspaces(demos.observation_space, "observations")
    theirs = subspaces(observation_space, "observations")
    if ours.keys() != theirs.keys():
        text = f"observations: {sorted(ours)} in the demonstrations, {sorted(theirs)} in the environment"
        findings.append(Finding("error", text))
    pairs = [(name, ours[name], theirs[name]) for name in ours if name in theirs]
    for name, our, their in [*pairs, ("actions", demos.action_space, action_space)]:
        both = f"{describe(our)} in the demonstrations, {describe(their)} in the environment"
        if type(our) is not type(their):
            findings.append(Finding("error", f"{name}: space {both}"))
        elif our.shape != their.shape:
            findings.append(Finding("error", f"{name}: shape {both}{_shape_hint(our, their)}"))
        elif our.dtype != their.dtype:
            findings.append(Finding("error", f"{name}: dtype {both}; record or convert them in the environment's"))
        elif our != their:
            outside = 0
            if name == "actions":
                outside = sum(int(out_of_space(episode.actions, their).sum()) for episode in demos.episodes)
            if outside:
                text = f"{name}: {outside} of {demos.n_steps} lie outside {describe(their)}; {both}"
                findings.append(Finding("error", text + "; scaled by another wrapper?"))
            else:
                findings.append(Finding("warning", f"{name}: bounds {both}"))
    if not any(finding.level == "error" and finding.text.startswith("observations") for finding in findings):
        findings += out_of_range(demos, observation_space)
    return findings


def out_of_range(demos: Demonstrations, space: spaces.Space[Any]) -> Iterator[Finding]:
    """:return: what lies outside a Box of ``space``"""
    for name, part in subspaces(space, "observations").items():
        if not isinstance(part, spaces.Box):
            continue  # checked when the demonstrations were made
        n_outside, n_rows, place, low, high = 0, 0, "", np.inf, -np.inf
        for i, episode in enumerate(demos.episodes):
            values = episode.named_observations()[name]
            outside = out_of_space(values, part)
            n_rows += len(values)
            if outside.any():
                place = place or f"first in episode {i} at step {int(outside.argmax())}"
                n_outside += int(outside.sum())
                low, high = min(low, values[outside].min()), max(high, values[outside].max())
        if n_outside:
            share = n_outside / n_rows
            text = (
                f"{name}: {n_outside} of {n_rows} ({share:.1%}) lie outside {describe(part)}, {place}; numbers there "
            )
            text += f"are {low:g} to {high:g}"
            if share > OUTSIDE_SHARE:
                yield Finding("error", f"{text}. Normalised, scaled or recorded under other wrappers?")
            else:
                yield Finding("warning", text)


def _shape_hint(ours: spaces.Space[Any], theirs: spaces.Space[Any]) -> str:
    our, their = ours.shape or (), theirs.shape or ()
    if len(our) == 3 and sorted(our) == sorted(their):
        return "; the channels are on another axis: record through `record` or `play`, or wrap the environment alike"
    if np.prod(our, dtype=int) == np.prod(their, dtype=int):
        return "; the same number of components: reshape them"
    return "; recorded under other wrappers?"
