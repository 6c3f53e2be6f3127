"""Episodes whose actions are labels, beside what the environment executed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from sb3_ext.demonstrations import Demonstrations, Episode, check, info, load, save, to_trajectories


def pole(n_episodes: int = 2) -> Demonstrations:
    """CartPole driven by a coin from its seed, and labelled by a rule."""
    env = gym.make("CartPole-v1")
    episodes = []
    for seed in range(n_episodes):
        observation, _ = env.reset(seed=seed)
        coin, observations, done, over = np.random.default_rng(seed), [observation], [], False
        while not over:
            done.append(int(coin.integers(2)))
            observation, _, terminated, truncated, _ = env.step(done[-1])
            observations.append(observation)
            over = terminated or truncated
        rows = np.array(observations)
        labels = (rows[:-1, 2] + 0.3 * rows[:-1, 3] > 0).astype(np.int64)
        ones = np.ones(len(done))
        episodes.append(Episode(rows, labels, ones, terminated, truncated, seed, executed=np.array(done)))
    return Demonstrations(tuple(episodes), env.observation_space, env.action_space, "CartPole-v1")


def test_a_replay_executes_what_was_executed() -> None:
    labelled = pole()
    assert not [finding for finding in check(labelled, "CartPole-v1") if "replaying" in finding.text]
    as_if_driven = replace(labelled, episodes=tuple(replace(e, executed=None) for e in labelled.episodes))
    assert [finding for finding in check(as_if_driven, "CartPole-v1") if "replaying episode" in finding.text]


def test_a_file_gives_back_labels_and_executed_actions_bit_for_bit(tmp_path: Path) -> None:
    labelled = pole()
    driven = tuple(replace(e, executed=None, actions=e.executed) for e in labelled.episodes if e.executed is not None)
    for episodes in (labelled.episodes, driven, (driven[0], labelled.episodes[1])):
        mixed = replace(labelled, episodes=episodes)
        save(mixed, tmp_path / "labels.npz")
        assert load(tmp_path / "labels.npz") == mixed
        with np.load(tmp_path / "labels.npz") as file:
            assert ("executed" in file.files) == (episodes is not driven)
    assert labelled.episodes[0] != driven[0]


def test_behind_an_action_that_was_not_executed_nothing_is_known() -> None:
    labelled = pole(1)
    (episode,) = labelled.episodes
    assert episode.executed is not None and episode.terminated
    steps = labelled.transitions(absorbing=True)
    followed = episode.actions == episode.executed
    assert 0 < followed.sum() < len(followed) and (episode.followed == followed).all()
    n_steps = len(episode)
    assert (steps.next_known[:n_steps] == followed).all()
    # The end is the expert's only where the last step was.
    assert steps.next_absorbing[n_steps - 1] == followed[-1] == (len(steps.actions) == n_steps + 1)
    for last in (0, 1):
        other = replace(episode, executed=np.append(episode.executed[:-1], last))
        ends = replace(labelled, episodes=(other,)).transitions(absorbing=True)
        assert len(ends.actions) == n_steps + (last == episode.actions[-1])


def test_it_is_said_and_other_formats_refuse_it() -> None:
    labelled = pole()
    n_other = sum(int((~episode.followed).sum()) for episode in labelled.episodes)
    assert f"labels        in 2 episodes; another action was executed in {n_other} steps" in info(labelled)
    with pytest.raises(ValueError, match="executed: imitation's format has no place for labels"):
        to_trajectories(labelled)


def test_executed_actions_are_as_many_and_of_the_space() -> None:
    labelled = pole(1)
    (episode,) = labelled.episodes
    assert episode.executed is not None
    with pytest.raises(ValueError, match="executed: shape"):
        replace(episode, executed=episode.executed[1:])
    outside = replace(episode, executed=episode.executed + 5)
    with pytest.raises(ValueError, match=r"episode 0: executed: .* lies outside"):
        replace(labelled, episodes=(outside,))
