"""
What is wrong with demonstrations before a learner finds out: in themselves, and against the environment.

An error is a mismatch that no learner gets past, or that teaches it something false. A warning may have a good reason,
which its text names.
"""

from __future__ import annotations

import copy
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_ext.demonstrations.compare import compare_spaces, out_of_range
from sb3_ext.demonstrations.consistency import inconsistency
from sb3_ext.demonstrations.data import Demonstrations
from sb3_ext.demonstrations.findings import Finding, some
from sb3_ext.demonstrations.record import LearnerView
from sb3_ext.demonstrations.replay import bytes_of, replay

INCONSISTENT = 0.3


def check(
    demos: Demonstrations,
    env: gym.Env | VecEnv | str | None = None,
    n_random_steps: int = 1000,
    n_replayed: int = 3,
    seed: int = 0,
) -> list[Finding]:
    """
    :param demos: to check
    :param env: to check against, wrapped as the learner's will be, or its id; it is seeded, reset and stepped. None =
        check the demonstrations alone
    :param n_random_steps: of random actions, which show whether the environment terminates
    :param n_replayed: episodes whose actions are executed again from their seed
    :param seed: of the random actions
    :return: errors first
    """
    findings = [*_seeds_and_copies(demos), *_rewards(demos), *_final_observations(demos), *_actions(demos)]
    findings += _unknown(demos)
    if env is None:
        findings += out_of_range(demos, demos.observation_space)
        findings += _lengths_and_ends(demos)
    else:
        made = gym.make(env) if isinstance(env, str) else None
        try:
            view = LearnerView(made if made is not None else env)  # type: ignore[arg-type]  # an id was made one
            mismatches = compare_spaces(demos, view.observation_space, view.env.action_space)
            findings += mismatches
            spec = _spec(view.env)
            if spec is not None and demos.env_id is not None and spec.id != demos.env_id:
                text = f"env_id: recorded in {demos.env_id}, the environment is {spec.id}"
                findings.append(Finding("warning", text))
            findings += _ends(demos, view, spec, n_random_steps, seed)
            if not any(finding.level == "error" for finding in mismatches):
                with view:
                    findings += replay(demos, view, n_replayed)
        finally:
            if made is not None:
                made.close()
    return sorted(findings, key=lambda finding: finding.level)


def _seeds_and_copies(demos: Demonstrations) -> Iterator[Finding]:
    same: dict[bytes, list[int]] = defaultdict(list)
    for i, episode in enumerate(demos.episodes):
        digest = hashlib.blake2b()
        for name, values in episode.arrays():
            if name not in ("rewards", "kept"):
                digest.update(values.tobytes())
        same[digest.digest()].append(i)
    copies = [group for group in same.values() if len(group) > 1]
    if copies:
        n_copies = sum(len(group) - 1 for group in copies)
        text = f"episodes: {some(copies[0])} are the same step by step"
        if len(copies) > 1:
            text += f", and {len(copies) - 1} more groups"
        text += f"; {n_copies} of {len(demos)} episodes say nothing new"
        yield Finding("warning", text)
    seeds: dict[int, list[int]] = defaultdict(list)
    for i, episode in enumerate(demos.episodes):
        if episode.seed is not None:
            seeds[episode.seed].append(i)
    repeated = {seed: group for seed, group in seeds.items() if len(group) > 1}
    for seed, group in list(repeated.items())[:1]:
        text = f"seed: episodes {some(group)} have the same, {seed}, so they start alike"
        text += f"; so do {len(repeated) - 1} more groups" if len(repeated) > 1 else ""
        yield Finding("warning", text + ". Record with one seed per episode")


def _rewards(demos: Demonstrations) -> Iterator[Finding]:
    unknown = [i for i, episode in enumerate(demos.episodes) if episode.rewards is None]
    if unknown:
        yield Finding("warning", f"rewards: unknown in episodes {some(unknown)}: nobody can tell how good they are")


def _unknown(demos: Demonstrations) -> Iterator[Finding]:
    """What the file did not tell, and nobody may make up."""
    ends = [i for i, episode in enumerate(demos.episodes) if not episode.end_known]
    if ends:
        text = f"terminated: nobody knows how episodes {some(ends)} ended"
        yield Finding("warning", f"{text}: imitation learns no end from them. Read the source again and say how")
    lacking = [i for i, episode in enumerate(demos.episodes) if not episode.final_known]
    if lacking:
        text = f"observations: the final one of episodes {some(lacking)} is unknown"
        yield Finding("warning", f"{text}: their last state and action count, where the step led to does not")


def _final_observations(demos: Demonstrations) -> Iterator[Finding]:
    """The two ways in which recorders lose the last observation."""
    firsts = [bytes_of(episode.observations, 0) for episode in demos.episodes]
    if len(demos) < 2 or len(set(firsts)) < 2:
        return
    known = [i for i, episode in enumerate(demos.episodes) if episode.final_known]
    lasts = {i: bytes_of(demos.episodes[i].observations, -1) for i in known}
    followed = [i for i in known if i + 1 < len(demos)]
    follows = sum(lasts[i] == firsts[i + 1] for i in followed)
    if follows > len(followed) / 2:
        text = f"observations: the last one of {follows} episodes is the first one of the next episode"
        yield Finding("error", f"{text}: the observation after the reset was recorded in place of the final one")
    still = sum(lasts[i] == bytes_of(demos.episodes[i].observations, -2) for i in known)
    moving = [bytes_of(demos.episodes[i].observations, 0) != bytes_of(demos.episodes[i].observations, 1) for i in known]
    if known and still == len(known) and np.mean(moving) > 0.5:
        yield Finding("warning", "observations: the last two are equal in every episode; was the final one repeated?")


def _actions(demos: Demonstrations) -> Iterator[Finding]:
    actions = np.concatenate([episode.actions for episode in demos.episodes])
    if len(actions) > 1 and (actions == actions[0]).all():
        yield Finding("warning", f"actions: all {len(actions)} are {actions[0]}; they teach nothing else")
    found = inconsistency(demos)
    if found is not None and found.share > INCONSISTENT:
        yield Finding(
            "warning",
            f"actions: nearly equal states have different ones: {min(found.share, 1):.0%} of the difference between "
            f"any two actions, over {found.n_pairs} pairs of states (0% = the state decides, 100% = it tells nothing). "
            "Such demonstrations, people's for example, imitate worse: what is imitated is their mixture. More of one "
            "player, fewer careless ones, or what the player saw and the observation lacks (speed, memory) help",
        )


def _ends(
    demos: Demonstrations, view: LearnerView, spec: Any, n_random_steps: int, seed: int
) -> Iterator[Finding]:  # Any: gymnasium's EnvSpec or None
    limit = None if spec is None else spec.max_episode_steps
    terminated = np.array([episode.terminated is True for episode in demos.episodes])
    truncated = np.array([episode.truncated is True for episode in demos.episodes])
    deaths = 0
    if truncated.any() and not terminated.any():
        deaths, n_steps = _random_terminations(view.env, n_random_steps, seed)
        if deaths:
            text = f"terminated: your expert never terminates in {len(demos)} episodes, but the environment does: "
            text += f"{deaths} times in {n_steps} random steps"
            if set(demos.lengths) <= {limit}:
                text += f". All reach the time limit of {limit}, which is what an expert that stays alive does"
                yield Finding("warning", text)
            else:
                text += f", and the episodes end after {demos.lengths.min()} to {demos.lengths.max()} steps"
                text += "" if limit is None else f" with a time limit of {limit}"
                yield Finding("error", f"{text}. Were terminations recorded as truncations?")
    if limit is None:
        if not deaths:  # said better above
            yield from _lengths_and_ends(demos)
        return
    late = np.flatnonzero(demos.lengths > limit)
    if late.size:
        longest = demos.lengths[late].max()
        text = f"lengths: episodes {some(late)} are longer, up to {longest}, than the time limit of {limit}"
        yield Finding("warning", text)
    timeouts = np.flatnonzero((demos.lengths == limit) & terminated & ~truncated)
    if timeouts.size:
        text = f"terminated: episodes {some(timeouts)} terminate exactly at the time limit of {limit}"
        yield Finding("warning", f"{text}; were truncations recorded as terminations?")
    early = np.flatnonzero((demos.lengths < limit) & truncated & ~terminated)
    if early.size and not deaths:  # said better above
        text = f"truncated: episodes {some(early)} are cut before the time limit of {limit}"
        text += "" if terminated.any() else ", and none terminates: who imitates them learns never to finish"
        yield Finding("warning", f"{text}. By hand, or terminations that nobody wrote down")


def _lengths_and_ends(demos: Demonstrations) -> Iterator[Finding]:
    """What lengths tell about ends where no time limit is known: those that it cut are all of one length."""
    ends = {(episode.terminated, episode.truncated) for episode in demos.episodes}
    lengths = demos.lengths
    if len(demos) < 2 or len(ends) > 1:
        return
    if ends == {(False, True)} and len(set(lengths)) > 1:
        text = f"truncated: all {len(demos)} episodes, after {lengths.min()} to {lengths.max()} steps, which is no one "
        text += "time limit, and none terminates: who imitates them learns never to finish"
        yield Finding("warning", f"{text}. By hand, or terminations that nobody wrote down")
    if ends == {(True, False)} and len(set(lengths)) == 1 and lengths[0] > 1:
        text = f"terminated: all {len(demos)} episodes terminate after exactly {lengths[0]} steps"
        yield Finding("warning", f"{text}: a time limit, whose truncations were recorded as terminations?")


def _random_terminations(env: VecEnv, n_steps: int, seed: int) -> tuple[int, int]:
    """:return: how often random actions terminated an episode, and in how many steps"""
    space = copy.deepcopy(env.action_space)
    space.seed(seed)
    env.seed(seed)
    env.reset()
    n_vec_steps = -(-n_steps // env.num_envs)
    terminations = 0
    for _ in range(n_vec_steps):
        _, _, dones, infos = env.step(np.stack([space.sample() for _ in range(env.num_envs)]))
        terminations += sum(
            bool(done) and not info.get("TimeLimit.truncated", False) for done, info in zip(dones, infos, strict=True)
        )
    return terminations, n_vec_steps * env.num_envs


def _spec(env: VecEnv) -> Any:  # Any: gymnasium's EnvSpec or None
    # Not asked of other processes: a spec that cannot be pickled would kill them.
    return env.unwrapped.get_attr("spec")[0] if isinstance(env.unwrapped, DummyVecEnv) else None
