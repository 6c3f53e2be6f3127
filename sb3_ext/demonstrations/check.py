"""
What is wrong with demonstrations before a learner finds out: in themselves, and against the environment.

An error is a mismatch that no learner gets past, or that teaches it something false. A warning may have a good reason,
which its text names.
"""

from __future__ import annotations

import copy
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_ext import nested
from sb3_ext.demonstrations.data import Demonstrations, Episode, Observations, out_of_space, subspaces
from sb3_ext.demonstrations.record import LearnerView

# An environment may leave its own Box now and then; observations of another scale do so all the time.
OUTSIDE_SHARE = 0.01
REPLAYED_STEPS = 200  # per episode: what differs does so early, and rounding errors of a simulator grow
# Nearly equal: within 0.2 standard deviations per component, root mean square. By this width deterministic controllers
# have inconsistency 0.00 to 0.10, one with every tenth action random 0.40, an unsteady hand 0.66, a coin about 1
# (benchmarks/inconsistency.py).
NEAR = 0.2
INCONSISTENT = 0.3
MAX_QUERIES, MAX_STATES = 2_000, 20_000  # of the comparison of all states with all others
MAX_COMPONENTS = 512  # of a float Box; larger ones are pictures, which must be equal
MIN_PAIRS = 30  # fewer say nothing


class Finding(NamedTuple):
    """One thing found."""

    level: Literal["error", "warning"]
    text: str
    """begins with the name of the field"""


class Inconsistency(NamedTuple):
    """How much the actions differ where the states do not."""

    share: float
    """Squared difference of the actions in nearly equal states over that in any two states: 0 = the state decides the
    action, 1 = it tells nothing about it"""
    n_pairs: int
    """compared steps, each with the nearest state of another episode"""
    n_steps: int
    """steps for which one was looked for"""


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
        findings += _range(demos, demos.observation_space)
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
                    findings += _replay(demos, view, n_replayed)
        finally:
            if made is not None:
                made.close()
    return sorted(findings, key=lambda finding: finding.level)


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
        findings += _range(demos, observation_space)
    return findings


def inconsistency(demos: Demonstrations, seed: int = 0) -> Inconsistency | None:
    """
    Compare each action with that of the nearest state of another episode, where that one is nearly equal. A neighbour
    of the same episode would often be the step before, with the key still held.

    Components of float Boxes are measured in their standard deviations; all others, images among them, must be equal.

    :param demos: of at least two episodes
    :param seed: of the choice among too many steps
    :return: None where too few states are nearly equal to say anything
    """
    exact, near = _states(demos)
    actions = np.concatenate([episode.actions for episode in demos.episodes])
    differs = _differences(
        actions.reshape(len(actions), -1), isinstance(demos.action_space, spaces.Box | spaces.MultiBinary)
    )
    owner = np.repeat(np.arange(len(demos)), demos.lengths)
    rng = np.random.default_rng(seed)
    states = np.sort(rng.permutation(len(actions))[:MAX_STATES])
    queries = np.sort(rng.permutation(states)[:MAX_QUERIES])
    if differs is None:
        return Inconsistency(0.0, len(queries), len(queries))
    differences: list[np.ndarray] = []
    for chunk in np.array_split(queries, len(queries) // 100 + 1):
        distance = np.zeros((len(chunk), len(states)), dtype=np.float32)
        if near.shape[1]:
            squares = (near[chunk] ** 2).sum(1)[:, None] + (near[states] ** 2).sum(1)
            distance = (squares - 2 * near[chunk] @ near[states].T) / near.shape[1]
        distance[(exact[chunk][:, None] != exact[states]) | (owner[chunk][:, None] == owner[states])] = np.inf
        # Of many equal ones a random one: the first would be the start of an episode more often than not.
        nearest = np.where(distance <= distance.min(axis=1, keepdims=True), rng.random(distance.shape), -1).argmax(1)
        close = distance[np.arange(len(chunk)), nearest] < NEAR**2
        differences.append(differs(chunk[close], states[nearest][close]))
    pairs = np.concatenate(differences)
    # Two independent draws differ by twice the variance, which is 1 now.
    return None if len(pairs) < MIN_PAIRS else Inconsistency(float(pairs.mean() / 2), len(pairs), len(queries))


def _states(demos: Demonstrations) -> tuple[np.ndarray, np.ndarray]:
    """:return: [N] codes that are equal where states must be, and [N, D] what may differ a little"""
    digests = np.zeros((demos.n_steps, 0), dtype=np.int64)
    near = np.zeros((demos.n_steps, 0), dtype=np.float32)
    for name, space in subspaces(demos.observation_space, "observations").items():
        values = np.concatenate([episode.named_observations()[name][: len(episode)] for episode in demos.episodes])
        values = values.reshape(len(values), -1)
        if isinstance(space, spaces.Box) and values.dtype.kind == "f" and values.shape[1] <= MAX_COMPONENTS:
            values = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
            spread = values.std(axis=0)
            values = values[:, spread > 0] / spread[spread > 0]
            near = np.concatenate([near, values.astype(np.float32)], axis=1)
        else:
            codes = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in values]
            digests = np.concatenate([digests, np.frombuffer(b"".join(codes), dtype=np.int64)[:, None]], axis=1)
    _, exact = np.unique(digests, axis=0, return_inverse=True)
    return exact.reshape(-1) if digests.shape[1] else np.zeros(demos.n_steps, dtype=np.int64), near


def _differences(actions: np.ndarray, continuous: bool) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """
    :param actions: [N, C]
    :param continuous: whether numbers that are near each other are near as actions; those of zeros and ones are, too
    :return: of rows to rows the mean squared difference, in variances; None where all are equal. A choice counts as one
        column of zeros and ones for each choice that was made, which are not written out: there may be 2^40 of them
    """
    if continuous:
        numbers = actions.astype(np.float64)
        spread = numbers.var(axis=0)
        scaled = numbers[:, spread > 0] / np.sqrt(spread[spread > 0])
        return (lambda a, b: ((scaled[a] - scaled[b]) ** 2).mean(axis=1)) if scaled.shape[1] else None
    codes, weights, n_columns = [], [], 0
    for column in actions.T:
        _, code, count = np.unique(column, return_inverse=True, return_counts=True)
        if len(count) > 1:
            share = count / len(actions)
            codes.append(code)
            weights.append((1 / (share * (1 - share)))[code])  # of zeros and ones the variance is p (1 - p)
            n_columns += len(count)
    if not codes:
        return None
    which, weight = np.stack(codes, axis=1), np.stack(weights, axis=1)  # [N, C]
    # Two different choices differ in two columns.
    return lambda a, b: ((which[a] != which[b]) * (weight[a] + weight[b])).sum(axis=1) / n_columns


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
        text = f"episodes: {_some(copies[0])} are the same step by step"
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
        text = f"seed: episodes {_some(group)} have the same, {seed}, so they start alike"
        text += f"; so do {len(repeated) - 1} more groups" if len(repeated) > 1 else ""
        yield Finding("warning", text + ". Record with one seed per episode")


def _rewards(demos: Demonstrations) -> Iterator[Finding]:
    unknown = [i for i, episode in enumerate(demos.episodes) if episode.rewards is None]
    if unknown:
        yield Finding("warning", f"rewards: unknown in episodes {_some(unknown)}: nobody can tell how good they are")


def _unknown(demos: Demonstrations) -> Iterator[Finding]:
    """What the file did not tell, and nobody may make up."""
    ends = [i for i, episode in enumerate(demos.episodes) if not episode.end_known]
    if ends:
        text = f"terminated: nobody knows how episodes {_some(ends)} ended"
        yield Finding("warning", f"{text}: imitation learns no end from them. Read the source again and say how")
    lacking = [i for i, episode in enumerate(demos.episodes) if not episode.final_known]
    if lacking:
        text = f"observations: the final one of episodes {_some(lacking)} is unknown"
        yield Finding("warning", f"{text}: their last state and action count, where the step led to does not")


def _final_observations(demos: Demonstrations) -> Iterator[Finding]:
    """The two ways in which recorders lose the last observation."""
    firsts = [_bytes(episode.observations, 0) for episode in demos.episodes]
    if len(demos) < 2 or len(set(firsts)) < 2:
        return
    known = [i for i, episode in enumerate(demos.episodes) if episode.final_known]
    lasts = {i: _bytes(demos.episodes[i].observations, -1) for i in known}
    followed = [i for i in known if i + 1 < len(demos)]
    follows = sum(lasts[i] == firsts[i + 1] for i in followed)
    if follows > len(followed) / 2:
        text = f"observations: the last one of {follows} episodes is the first one of the next episode"
        yield Finding("error", f"{text}: the observation after the reset was recorded in place of the final one")
    still = sum(lasts[i] == _bytes(demos.episodes[i].observations, -2) for i in known)
    moving = [_bytes(demos.episodes[i].observations, 0) != _bytes(demos.episodes[i].observations, 1) for i in known]
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


def _range(demos: Demonstrations, space: spaces.Space[Any]) -> Iterator[Finding]:
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
        text = f"lengths: episodes {_some(late)} are longer, up to {longest}, than the time limit of {limit}"
        yield Finding("warning", text)
    timeouts = np.flatnonzero((demos.lengths == limit) & terminated & ~truncated)
    if timeouts.size:
        text = f"terminated: episodes {_some(timeouts)} terminate exactly at the time limit of {limit}"
        yield Finding("warning", f"{text}; were truncations recorded as terminations?")
    early = np.flatnonzero((demos.lengths < limit) & truncated & ~terminated)
    if early.size and not deaths:  # said better above
        text = f"truncated: episodes {_some(early)} are cut before the time limit of {limit}"
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


class _Roll(NamedTuple):
    """What the environment answers to recorded actions."""

    observations: list[Observations]
    rewards: list[float]
    end: tuple[int, bool] | None
    """length and whether it terminated, None = not over"""


def _replay(demos: Demonstrations, view: LearnerView, n_replayed: int) -> Iterator[Finding]:
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
    for t, action in enumerate(episode.actions[:REPLAYED_STEPS]):
        rows, row_rewards, dones, infos = env.step(np.stack([action] * env.num_envs))
        rewards.append(float(view.original_rewards(row_rewards)[0]))
        if dones[0]:
            observations.append(infos[0]["terminal_observation"])
            return _Roll(observations, rewards, (t + 1, not infos[0].get("TimeLimit.truncated", False)))
        observations.append(_first_lane(rows))
    return _Roll(observations, rewards, None)


def _first_lane(observations: Any) -> Observations:  # Any: what SB3 types as a tuple, too
    # Copies: VecFrameStack writes into one array for ever.
    return nested.map(lambda values: values[0].copy(), observations)


def _spec(env: VecEnv) -> Any:  # Any: gymnasium's EnvSpec or None
    # Not asked of other processes: a spec that cannot be pickled would kill them.
    return env.unwrapped.get_attr("spec")[0] if isinstance(env.unwrapped, DummyVecEnv) else None


def _bytes(observations: Observations, step: int) -> bytes:
    return b"".join(values[step].tobytes() for values in nested.leaves(observations))


def describe(space: spaces.Space[Any]) -> str:
    """:return: the space in one short line: a Box of many bounds by the smallest and the largest"""
    if isinstance(space, spaces.Box):
        return f"Box({space.low.min():g} to {space.high.max():g}, {space.shape}, {space.dtype})"
    return str(space)


def _shape_hint(ours: spaces.Space[Any], theirs: spaces.Space[Any]) -> str:
    our, their = ours.shape or (), theirs.shape or ()
    if len(our) == 3 and sorted(our) == sorted(their):
        return "; the channels are on another axis: record through `record` or `play`, or wrap the environment alike"
    if np.prod(our, dtype=int) == np.prod(their, dtype=int):
        return "; the same number of components: reshape them"
    return "; recorded under other wrappers?"


def _some(indices: Any) -> str:  # Any: a list or an array of integers
    shown = ", ".join(str(int(i)) for i in indices[:5])
    return shown if len(indices) <= 5 else f"{shown}, ... ({len(indices)} in all)"
