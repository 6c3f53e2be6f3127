"""The actions of a demonstration, executed again from its seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sb3_ext import nested
from sb3_ext.demonstrations.data import Demonstrations, Episode, Observations
from sb3_ext.demonstrations.findings import Finding
from sb3_ext.demonstrations.record import LearnerView

REPLAYED_STEPS = 200  # per episode: what differs does so early, and rounding errors of a simulator grow


class _Roll(NamedTuple):
    """What the environment answers to recorded actions."""

    observations: list[Observations]
    rewards: list[float]
    end: tuple[int, bool] | None
    """length and whether it terminated, None = not over"""


def replay(demos: Demonstrations, view: LearnerView, n_replayed: int) -> Iterator[Finding]:
    """The first difference that a second replay shows again: where an environment does not repeat itself, none."""
    seeded = [(i, episode) for i, episode in enumerate(demos.episodes) if episode.seed is not None]
    for i, episode in seeded[:n_replayed]:
        roll = _roll(view, episode)
        step, text = _difference(episode, roll)
        if text and _difference(episode, _roll(view, episode)) == (step, text):
            name, _, rest = text.partition(":")
            text = f"{name}: replaying episode {i} from its seed {episode.seed}{rest}"
            if step == 0:
                yield Finding("warning", f"{text}. Another version or wrapper, or the seed is not the episode's")
            elif step == 1:
                yield Finding("error", f"{text}. Another version, wrapper or frame skip?")
            else:
                yield Finding("warning", f"{text}. Another version or wrapper, or rounding that grew")
            return


def _difference(episode: Episode, roll: _Roll) -> tuple[int, str]:
    """:return: observations before the first difference and the text, which is empty where there is none"""
    n_rows = len(episode) + episode.final_known
    for t, row in enumerate(roll.observations[:n_rows]):
        recorded = nested.take(episode.named_observations(), t)
        for name, value in nested.named(row, "observations"):
            gap = np.abs(np.asarray(value, dtype=np.float64) - recorded[name])
            # Float32 rounding of another machine, no more.
            if (gap > 1e-4 * (1 + np.abs(np.asarray(value, dtype=np.float64)))).any():
                what = "the start is another" if t == 0 else f"other observations from step {t} on"
                return t, f"{name}: gives {what}, by up to {gap.max():g}"
        if (
            episode.rewards is not None
            and t > 0
            and abs(roll.rewards[t - 1] - episode.rewards[t - 1]) > 1e-4 * (1 + abs(roll.rewards[t - 1]))
        ):
            return t + 1, f"rewards: gives {roll.rewards[t - 1]:g} at step {t - 1}, recorded {episode.rewards[t - 1]:g}"
    if not episode.end_known:
        return 0, ""
    recorded_end = (len(episode), bool(episode.terminated))
    if roll.end is not None and roll.end != recorded_end:
        now, then = ((f"{n} steps, " + ("terminated" if dead else "truncated")) for n, dead in (roll.end, recorded_end))
        return len(roll.observations), f"terminated: ends after {now}; recorded {then}"
    if roll.end is None and episode.terminated and len(episode) == len(roll.rewards):
        return len(roll.observations), f"terminated: goes on after step {len(episode)}; the recorded one terminated"
    return 0, ""


def _roll(view: LearnerView, episode: Episode) -> _Roll:
    assert episode.seed is not None
    env = view.env
    env.seed(episode.seed)  # of the first lane; the others follow and are not looked at
    observations = [_first_lane(env.reset())]
    rewards = []
    actions = episode.actions if episode.executed is None else episode.executed
    for t, action in enumerate(actions[:REPLAYED_STEPS]):
        rows, row_rewards, dones, infos = env.step(np.stack([action] * env.num_envs))
        rewards.append(float(view.original_rewards(row_rewards)[0]))
        if dones[0]:
            observations.append(infos[0]["terminal_observation"])
            return _Roll(observations, rewards, (t + 1, not infos[0].get("TimeLimit.truncated", False)))
        observations.append(_first_lane(rows))
    return _Roll(observations, rewards, None)


def _first_lane(observations: Any) -> Observations:  # Any: what SB3 types as a tuple, too
    # Copies: VecFrameStack writes into one array for ever.
    first: Observations = nested.map(lambda values: values[0].copy(), observations)
    return first


def bytes_of(observations: Observations, step: int) -> bytes:
    """:return: of one observation, to compare it with another"""
    return b"".join(values[step].tobytes() for values in nested.leaves(observations))
