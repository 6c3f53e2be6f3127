"""The type: what it refuses, what it never changes, and the transitions of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from support.demo_worlds import random_demos, with_unknowns, without_final

from sb3_ext import nested
from sb3_ext.demonstrations import Demonstrations, Episode


def episode_parts(n: int = 3) -> dict[str, Any]:
    return dict(
        observations=np.arange(3.0 * (n + 1), dtype=np.float32).reshape(n + 1, 3),
        actions=np.full(n, 2),
        rewards=np.arange(n) * 1.0,
        terminated=True,
        truncated=False,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(actions=np.zeros(0, int)), "actions: an episode needs"),
        (dict(observations=np.zeros((3, 3), np.float32)), "observations: 3 rows for 3 actions; .* one more"),
        (dict(observations={"a": np.zeros(4), "b": np.zeros(3)}), r"observations\.b: 3 rows"),
        (dict(rewards=np.zeros(2)), "rewards: shape"),
        (dict(rewards=np.zeros((3, 1))), "rewards: shape"),
        (dict(terminated=False), "terminated, truncated: "),
        (dict(terminated=None), "terminated None, truncated False: None says that the end is unknown, in both"),
        (dict(terminated=True, truncated=None), "terminated True, truncated None"),
        (dict(final_known=False), "observations: 4 rows for 3 actions; with final_known=False as many"),
        (dict(kept=np.array([3]), terminated=None, truncated=None), "kept: .* below 3"),
        (dict(rewards=np.array([0, np.nan, 1])), "rewards: nan at step 1 "),
        (dict(observations=np.full((4, 3), np.inf)), "observations: inf at step 0 "),
        (dict(actions=np.array([0.0, 1.0, -np.inf])), "actions: -inf at step 2 "),
        (dict(actions=[2, 2, 2]), "actions: list; must be a NumPy array"),
        (dict(observations=[[0], [1], [2], [3]]), "observations: list; must be"),
        (dict(rewards=[1.0, 2.0, 3.0]), "rewards: list; must be"),
        (dict(rewards=np.array([None] * 3)), "rewards: dtype object"),
        (dict(actions=np.array(["a"] * 3)), "actions: dtype <U1"),
        (dict(actions=np.array(1)), "actions: a single number"),
        (dict(kept=np.array([0, 4])), "kept: "),
        (dict(kept=np.array([-1])), "kept: "),
        (dict(kept=np.array([1, 1])), "kept: "),
        (dict(kept=np.array([2, 1], dtype=np.uint64)), "kept: "),
        (dict(kept=np.array([1.0])), "kept: "),
        (dict(kept=np.array([[1]])), "kept: "),
        (dict(kept=np.array([], dtype=int)), "kept: "),
        (dict(kept=np.array([3]), terminated=False, truncated=True), "kept: .* below 3"),
    ],
)
def test_an_episode_that_is_not_whole_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Episode(**episode_parts() | changes)


def test_an_unknown_end_and_an_unknown_final_observation_are_two_facts() -> None:
    whole = Episode(**episode_parts())
    assert whole.end_known and whole.final_known
    ended = without_final(whole)
    assert (ended.terminated, ended.end_known, ended.final_known, len(ended)) == (True, True, False, 3)
    somehow = replace(whole, terminated=None, truncated=None)
    assert (somehow.end_known, somehow.final_known) == (False, True)
    assert ended != whole and somehow != whole and somehow != ended


def test_the_absorbing_step_may_be_kept_behind_a_termination() -> None:
    assert Episode(**episode_parts() | dict(kept=np.array([3]))).terminated


@pytest.mark.parametrize(
    ("observations", "actions", "field", "change", "message"),
    [
        ("vector", "discrete", "observations", lambda o: o.astype(float), "episode 1: observations: dtype float64"),
        ("vector", "discrete", "observations", lambda o: o[:, :2], r"episode 1: observations: shape \(2,\)"),
        ("vector", "discrete", "actions", lambda a: a - 2, "episode 1: actions: .* lies outside .* after clipping"),
        ("vector", "discrete", "actions", lambda a: a + 4, "lies outside"),
        ("vector", "box", "actions", lambda a: a * 0 + np.nextafter(np.float32(1), 2, dtype=np.float32), "outside"),
        ("vector", "multi", "actions", lambda a: a + np.array([0, 7]), "lies outside"),
        ("vector", "binary", "actions", lambda a: a + np.int8(2), "lies outside"),
        ("number", "discrete", "observations", lambda o: o + 5, "episode 1: observations: .* lies outside"),
        ("vector", "discrete", "observations", lambda o: {"a": o}, r"episode 1: observations has \['observations.a'\]"),
        ("vector", "discrete", "rewards", lambda r: r.astype(np.float32), "rewards: dtypes"),
    ],
)
def test_demonstrations_that_do_not_fit_their_spaces_are_refused(
    observations: str, actions: str, field: str, change: Callable[[Any], Any], message: str
) -> None:
    demos = random_demos(observations, actions)
    episodes = list(demos.episodes)
    episodes[1] = replace(episodes[1], **{field: change(getattr(episodes[1], field))})
    with pytest.raises(ValueError, match=message):
        replace(demos, episodes=tuple(episodes))


@pytest.mark.parametrize("space", [spaces.Text(3), spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})})], ids=str)
def test_spaces_without_arrays_are_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(ValueError, match="is not a space of arrays"):
        replace(random_demos(), observation_space=space)
    with pytest.raises(ValueError, match=r"actions: .* is not a space of arrays"):
        replace(random_demos(), action_space=spaces.Dict({"a": spaces.Discrete(2)}))


def test_observations_may_leave_their_box() -> None:
    demos = random_demos()
    assert len(replace(demos, observation_space=spaces.Box(-1e-3, 1e-3, (3,), np.float32))) == 3


def test_nothing_can_be_changed() -> None:
    mine = np.arange(3) * 1.0
    episode = Episode(**episode_parts() | dict(rewards=mine))
    assert episode.rewards is not None
    with pytest.raises(ValueError, match="read-only"):
        episode.rewards[0] = 1
    with pytest.raises(FrozenInstanceError):
        episode.terminated = False  # type: ignore[misc]
    mine[0] = 0  # the caller's own stays writeable
    with pytest.raises(ValueError, match="read-only"):
        random_demos("dict").episodes[0].observations["z"][:] = 0


def test_equality_is_of_bits() -> None:
    zero, minus = (Episode(**episode_parts(1) | dict(rewards=np.array([x]))) for x in (0.0, -0.0))
    assert zero == zero and zero != minus
    assert zero != Episode(**episode_parts(1) | dict(rewards=np.zeros(1, np.float32)))
    assert zero != replace(zero, seed=1) and zero != replace(zero, truncated=True)


def test_returns_and_lengths() -> None:
    demos = random_demos()
    assert demos.n_steps == 11 and demos.lengths.tolist() == [4, 1, 6]
    assert demos.returns.tolist() == pytest.approx(
        [sum(e.rewards.tolist()) for e in demos.episodes if e.rewards is not None]
    )
    assert np.isnan(random_demos(rewards=False).returns).all()


def many(n: int = 10, length: int = 7) -> Demonstrations:
    return random_demos(lengths=(length,) * n)


def test_split_takes_whole_episodes_once() -> None:
    demos = many()
    for fraction, n in [(0.3, 3), (0.01, 1), (0.99, 9)]:
        first, second = demos.split(fraction, seed=1)
        assert len(first) == n and len(second) == 10 - n
        found = [demos.episodes.index(e) for part in (first, second) for e in part.episodes]
        assert sorted(found) == list(range(10))
    assert demos.split(0.5, seed=1) == demos.split(0.5, seed=1)
    assert demos.split(0.5, seed=1) != demos.split(0.5, seed=2)


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_split_refuses_other_fractions(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        many().split(fraction)
    with pytest.raises(ValueError, match="two episodes"):
        many(1).split(0.5)


def test_limit() -> None:
    demos = many()
    assert demos.limit(3).episodes == demos.episodes[:3]
    for n in (0, 11):
        with pytest.raises(ValueError, match=f"n_episodes {n} must be in 1 to 10"):
            demos.limit(n)


def test_subsample_keeps_every_kth_step_from_a_random_offset() -> None:
    demos = random_demos(lengths=(7, 7, 7) * 20)
    sub = demos.subsample(3, seed=1)
    offsets = []
    for before, after in zip(demos.episodes, sub.episodes, strict=True):
        assert after.kept is not None
        steps = list(range(7 + bool(before.terminated)))  # the absorbing one is there before the draw
        offsets.append(int(after.kept[0]))
        assert after.kept.tolist() == steps[offsets[-1] :: 3]
        assert replace(after, kept=None) == before
    assert set(offsets) == {0, 1, 2}
    assert sub == demos.subsample(3, seed=1) and sub != demos.subsample(3, seed=2)
    assert demos.subsample(1).transitions(True).actions.tobytes() == demos.transitions(True).actions.tobytes()
    with pytest.raises(ValueError, match="every 0"):
        demos.subsample(0)


def test_subsample_of_more_than_an_episode_keeps_one_step() -> None:
    sub = random_demos(lengths=(3, 1, 2)).subsample(50)
    assert [len(e.kept) for e in sub.episodes if e.kept is not None] == [1, 1, 1]


def test_subsample_twice_keeps_of_what_was_kept() -> None:
    once = many(3, 30).subsample(2, seed=1)
    for a, b in zip(once.episodes, once.subsample(3, seed=2).episodes, strict=True):
        assert a.kept is not None and b.kept is not None
        assert b.kept.tolist() in [a.kept[offset::3].tolist() for offset in range(3)]


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("absorbing", [False, True])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("observations", ["vector", "image", "dict"])
def test_transitions_against_a_loop(observations: str, every: int, absorbing: bool, unknown: bool) -> None:
    demos = random_demos(observations)
    demos = (with_unknowns(demos) if unknown else demos).subsample(every, seed=3)
    final = not unknown
    rows: list[tuple[Any, ...]] = []
    for e in demos.episodes:
        obs = dict(nested.named(e.observations, ""))
        for t in e.kept if e.kept is not None else range(len(e) + (e.terminated is True)):
            n_rows = len(next(iter(obs.values())))
            if t < len(e):
                here = {k: v[t] for k, v in obs.items()}
                there = {k: np.zeros_like(v[0]) if t + 1 == n_rows else v[t + 1] for k, v in obs.items()}
                last = t == len(e) - 1
                known = not last or (n_rows > len(e) and e.terminated is not None)
                rows.append((here, e.actions[t], there, False, last and e.terminated is True, known))
            elif absorbing:
                end = {k: v[len(e) - (not final)] for k, v in obs.items()}
                rows.append((end, np.zeros_like(e.actions[0]), end, True, True, True))
    found = demos.transitions(absorbing, from_final=final)
    for i, name in [(0, "observations"), (2, "next_observations")]:
        for key, values in nested.named(getattr(found, name), ""):
            np.testing.assert_array_equal(values, np.stack([row[i][key] for row in rows]), strict=True)
    np.testing.assert_array_equal(found.actions, np.stack([row[1] for row in rows]), strict=True)
    assert found.absorbing.tolist() == [row[3] for row in rows]
    assert found.next_absorbing.tolist() == [row[4] for row in rows]
    assert found.next_known.tolist() == [row[5] for row in rows]
    if unknown and absorbing:
        with pytest.raises(ValueError, match="final observation of an episode that terminated is unknown"):
            demos.transitions(absorbing)
