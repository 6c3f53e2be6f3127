"""Every mismatch that `check` names is made here on purpose, and sound demonstrations are left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from support.demo_worlds import without_final

from sb3_ext.demonstrations import Demonstrations, Episode, Finding, compare_spaces, inconsistency, record
from sb3_ext.demonstrations.check import check
from sb3_ext.demonstrations.info import info, plot


class Walk(gym.Env):
    """
    A walk on a line from a random start, and a component that drifts. Terminates beyond 3.

    :param rush: added to every step, a difference of dynamics
    :param dies: whether it terminates
    :param noisy: whether no seed is heeded
    """

    def __init__(self, rush: float = 0.0, dies: bool = True, noisy: bool = False) -> None:
        self.observation_space = spaces.Box(-5, 5, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.rush, self.dies, self.noisy = rush, dies, noisy

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=None if self.noisy else seed)
        self.at = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.at.copy(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at[0] += (0.5 if action else -0.5) + self.rush
        self.at[1] += self.np_random.uniform(-0.1, 0.1)
        return self.at.copy(), 1.0, bool(abs(self.at[0]) > 3) and self.dies, False, {}


LIMIT = 30


@pytest.fixture(autouse=True)
def registered() -> Any:
    gym.register("Walk-v0", lambda **kwargs: Walk(**kwargs), max_episode_steps=LIMIT)
    yield
    del gym.registry["Walk-v0"]


def walks(policy: Callable[[np.ndarray], int], n_episodes: int = 6, **kwargs: Any) -> Demonstrations:
    env = gym.make("Walk-v0", **kwargs)
    episodes = []
    for seed in range(n_episodes):
        rows, actions, over = [env.reset(seed=seed)[0]], [], False
        while not over:
            actions.append(policy(rows[-1]))
            row, _, terminated, truncated, _ = env.step(actions[-1])
            rows.append(row)
            over = terminated or truncated
        rewards = np.ones(len(actions))
        episodes.append(Episode(np.stack(rows), np.array(actions), rewards, terminated, truncated, seed))
    return Demonstrations(tuple(episodes), env.observation_space, env.action_space, "Walk-v0", {"numpy": "1"})


def home(row: np.ndarray) -> int:
    return int(row[0] < 0)


def away(row: np.ndarray) -> int:
    return 1


def each(demos: Demonstrations, change: Callable[[Episode], Episode]) -> Demonstrations:
    return replace(demos, episodes=tuple(change(episode) for episode in demos.episodes))


def the(findings: list[Finding], part: str) -> Finding:
    (found,) = (finding for finding in findings if part in finding.text)
    return found


def test_sound_demonstrations_are_left_alone() -> None:
    (found,) = check(walks(home), "Walk-v0")
    assert found.level == "warning" and "your expert never terminates in 6 episodes, but the environment" in found.text
    assert "All reach the time limit of 30" in found.text
    env = gym.make("Walk-v0")
    (constant,) = check(walks(away), env)
    assert constant.text.startswith("actions: all ") and "are 1; they teach nothing else" in constant.text
    assert check(walks(home, dies=False), gym.make("Walk-v0", dies=False)) == []
    assert check(walks(home)) == []


@pytest.mark.parametrize(
    ("observations", "actions", "texts"),
    [
        (spaces.Box(-5, 5, (2,), np.float64), None, ["observations: dtype Box(-5 to 5, (2,), float32)"]),
        (spaces.Box(-5, 5, (1, 2)), None, ["observations: shape ", "same number of components"]),
        (spaces.Box(-5, 5, (3,)), None, ["observations: shape ", "other wrappers"]),
        (spaces.Discrete(2), None, ["observations: space Box"]),
        (spaces.Dict({"a": spaces.Box(-5, 5, (2,))}), None, ["observations: ['observations'] in", "'observations.a'"]),
        (None, spaces.Discrete(1), ["actions: ", "lie outside Discrete(1)", "90 of 180"]),
        (None, spaces.Box(-1, 1, (2,)), ["actions: space Discrete(2) in the demonstrations, Box(-1 to 1"]),
    ],
)
def test_other_spaces_are_errors_with_both_sides(
    observations: spaces.Space[Any] | None, actions: spaces.Space[Any] | None, texts: list[str]
) -> None:
    demos = walks(home)
    balanced = each(demos, lambda e: replace(e, actions=np.arange(len(e)) % 2))
    findings = compare_spaces(balanced, observations or demos.observation_space, actions or demos.action_space)
    (found,) = findings
    assert found.level == "error"
    assert all(text in found.text for text in texts), found.text


def test_other_bounds_are_a_warning() -> None:
    demos = walks(home)
    (found,) = compare_spaces(demos, demos.observation_space, spaces.Discrete(3))
    assert found == Finding(
        "warning", "actions: bounds Discrete(2) in the demonstrations, Discrete(3) in the environment"
    )
    assert compare_spaces(demos, demos.observation_space, demos.action_space) == []


def test_images_with_channels_elsewhere_are_told_so() -> None:
    space = spaces.Box(0, 255, (48, 40, 3), np.uint8)
    episode = Episode(np.zeros((2, 48, 40, 3), np.uint8), np.zeros(1, int), None, True, False)
    demos = Demonstrations((episode,), space, spaces.Discrete(2))
    (found,) = compare_spaces(demos, spaces.Box(0, 255, (3, 48, 40), np.uint8), spaces.Discrete(2))
    assert "the channels are on another axis" in found.text


@pytest.mark.parametrize(("scale", "level"), [(9.0, "error"), (1.0, "warning")])
def test_observations_outside_the_box(scale: float, level: str) -> None:
    demos = walks(home)
    spoiled = np.array(demos.episodes[2].observations) * np.float32(scale)
    spoiled[4, 1] = 7.5
    episodes = [*demos.episodes[:2], replace(demos.episodes[2], observations=spoiled), *demos.episodes[3:]]
    for findings in (
        check(replace(demos, episodes=tuple(episodes))),
        check(replace(demos, episodes=tuple(episodes)), gym.make("Walk-v0")),
    ):
        found = the(findings, "lie outside Box(-5 to 5")
        assert found.level == level
        outside = int((np.abs(spoiled) > 5).any(axis=1).sum())
        assert f"observations: {outside} of {6 * 31} (" in found.text and "episode 2 at step" in found.text


def test_copies_and_equal_seeds() -> None:
    demos = walks(home)
    twice = replace(demos, episodes=(*demos.episodes, demos.episodes[1], replace(demos.episodes[3], rewards=None)))
    findings = check(twice)
    assert "episodes: 1, 6 are the same step by step, and 1 more groups; 2 of 8" in the(findings, "step by step").text
    assert "rewards: unknown in episodes 7" in the(findings, "rewards").text
    seeded = each(demos, lambda episode: replace(episode, seed=5))
    text = the(check(seeded), "start alike").text
    assert text.startswith("seed: episodes 0, 1, 2, 3, 4, ... (6 in all) have the same, 5")


def test_ends() -> None:
    def cut(episode: Episode) -> Episode:
        n = 10 + (episode.seed or 0)
        assert episode.rewards is not None
        return replace(
            episode,
            observations=np.asarray(episode.observations)[: n + 1],
            actions=episode.actions[:n],
            rewards=episode.rewards[:n],
        )

    env = gym.make("Walk-v0")
    found = the(check(each(walks(home), cut), env), "never terminates")
    assert found.level == "error"
    assert "the episodes end after 10 to 15 steps with a time limit of 30" in found.text
    merged = each(walks(home), lambda episode: replace(episode, terminated=True, truncated=False))
    assert "terminate exactly at the time limit of 30; were truncations" in the(check(merged, env), "exactly").text
    short = gym.make("Walk-v0", max_episode_steps=20)
    assert "are longer, up to 30, than the time limit of 20" in the(check(walks(home), short), "lengths").text
    mixed = replace(walks(away), episodes=(*walks(away).episodes, cut(walks(home).episodes[0])))
    assert "truncated: episodes 6 are cut before the time limit" in the(check(mixed, env), "truncated:").text
    immortal = gym.make("Walk-v0", dies=False)
    assert not [f for f in check(walks(home), immortal) if "never terminates" in f.text]


def shortened(episode: Episode, n: int, **ends: Any) -> Episode:
    rewards = None if episode.rewards is None else episode.rewards[:n]
    return replace(
        episode,
        observations=np.asarray(episode.observations)[: n + 1],
        actions=episode.actions[:n],
        rewards=rewards,
        **ends,
    )


def about_ends(demos: Demonstrations, env: Any = None) -> list[str]:
    demos = each(demos, lambda e: replace(e, seed=None))  # files that do not say how they ended know no seeds
    findings = check(demos, env, n_random_steps=5)  # too few to terminate
    return [f"{f.level}: {f.text}" for f in findings if f.text.startswith(("term", "trunc", "observations: the final"))]


def test_an_expert_that_is_always_cut_is_told_of_though_random_steps_do_not_terminate() -> None:
    # As a file that lost its terminations: episodes of many lengths, all of them cut.
    cut = each(walks(away), lambda e: replace(e, terminated=False, truncated=True))
    assert len(set(cut.lengths)) > 1
    (found,) = about_ends(cut, gym.make("Walk-v0"))
    assert found.startswith(
        "warning: truncated: episodes 0, 1, 2, 3, 4, ... (6 in all) are cut before the time limit of 30"
    )
    assert "none terminates: who imitates them learns never to finish" in found
    (alone,) = about_ends(cut)
    assert alone.startswith(
        f"warning: truncated: all 6 episodes, after {cut.lengths.min()} to {cut.lengths.max()} steps"
    )
    assert about_ends(each(walks(home), lambda e: shortened(e, 20))) == [], "one length may be a time limit"
    assert about_ends(walks(away)) == []


def test_a_time_limit_recorded_as_a_termination_is_told_of_without_an_environment() -> None:
    same = each(walks(home), lambda e: replace(e, terminated=True, truncated=False))
    (found,) = about_ends(same)
    assert found.startswith("warning: terminated: all 6 episodes terminate after exactly 30 steps: a time limit")


def test_what_is_unknown_is_told() -> None:
    (found,) = about_ends(each(walks(away), lambda e: replace(e, terminated=None, truncated=None)), gym.make("Walk-v0"))
    assert found.startswith("warning: terminated: nobody knows how episodes 0, 1, 2, 3, 4, ... (6 in all) ended")
    lacking = each(walks(away), without_final)
    (found,) = about_ends(lacking, gym.make("Walk-v0"))
    assert found.startswith("warning: observations: the final one of episodes 0, 1, 2")
    assert "last state and action count" in found
    text = info(lacking)
    assert "final         observation unknown in 6 episodes" in text
    assert "6 unknown" in info(each(walks(away), lambda e: replace(e, terminated=None, truncated=None)))


def test_a_file_may_claim_a_vast_number_of_actions() -> None:
    demos = walks(home)
    vast = Demonstrations(demos.episodes, demos.observation_space, spaces.Discrete(2**40))
    assert inconsistency(vast) == inconsistency(demos)
    assert "inconsistency" in info(vast)


def test_lost_final_observations() -> None:
    demos = walks(away)
    starts = [np.asarray(episode.observations)[0] for episode in demos.episodes]

    def with_last(i: int, last: np.ndarray) -> Episode:
        rows = np.array(demos.episodes[i].observations)
        rows[-1] = last
        return replace(demos.episodes[i], observations=rows)

    after_reset = tuple(with_last(i, starts[(i + 1) % len(starts)]) for i in range(len(starts)))
    found = the(check(replace(demos, episodes=after_reset)), "the observation after the reset")
    assert found.level == "error" and "last one of 5 episodes" in found.text
    repeated = tuple(with_last(i, np.asarray(demos.episodes[i].observations)[-2]) for i in range(len(starts)))
    assert the(check(replace(demos, episodes=repeated)), "the last two are equal").level == "warning"


def test_replay_finds_other_dynamics_seeds_rewards_and_ends() -> None:
    demos = walks(home)
    rushed = the(check(demos, gym.make("Walk-v0", rush=0.1)), "replaying episode 0 from its seed 0")
    assert rushed.level == "error"
    assert (
        rushed.text.startswith("observations: replaying")
        and "other observations from step 1 on, by up to 0.1" in rushed.text
    )
    other = the(check(each(demos, lambda e: replace(e, seed=(e.seed or 0) + 100)), gym.make("Walk-v0")), "replaying")
    assert other.level == "warning" and "the start is another" in other.text
    doubled = the(check(each(demos, lambda e: replace(e, rewards=np.full(len(e), 2.0))), gym.make("Walk-v0")), "replay")
    assert doubled.text.startswith("rewards: replaying episode 0 from its seed 0 gives 1 at step 0, recorded 2")
    ends = the(check(walks(away), gym.make("Walk-v0", dies=False)), "replaying")
    assert ends.text.startswith("terminated: ") and "goes on after step" in ends.text
    # An environment that does not repeat itself proves nothing.
    assert not [f for f in check(walks(home, noisy=True), gym.make("Walk-v0", noisy=True)) if "replay" in f.text]


@pytest.mark.parametrize("wrapped", ["normalized", "stacked"])
def test_the_environment_of_a_learner_will_do(wrapped: str) -> None:
    class Home:
        def predict(
            self,
            observation: Any,
            state: Any = None,
            episode_start: np.ndarray | None = None,
            deterministic: bool = False,
        ) -> tuple[np.ndarray, None]:
            return (observation[:, -2] < 0).astype(int), None

    env: Any = DummyVecEnv([lambda: gym.make("Walk-v0")] * 2)
    env = VecNormalize(env) if wrapped == "normalized" else VecFrameStack(env, 3)
    demos = record(Home(), env, 4, seed=3)
    assert [f for f in check(demos, env) if "never terminates" not in f.text] == []
    assert demos.observation_space.shape == ((2,) if wrapped == "normalized" else (6,))


def test_inconsistency_is_zero_for_a_function_of_the_state_and_one_for_a_coin() -> None:
    rng = np.random.default_rng(0)
    sure = inconsistency(walks(home, 20))
    coin = inconsistency(walks(lambda _: int(rng.integers(2)), 60))
    tenth = inconsistency(walks(lambda row: home(row) if rng.random() > 0.2 else int(rng.integers(2)), 40))
    assert sure is not None and coin is not None and tenth is not None
    assert sure.share < 0.05
    assert 0.85 < coin.share < 1.15
    # Every tenth action is the other one: 2 pq of the pairs differ, where of any two 1/2 do.
    assert 0.25 < tenth.share < 0.5
    found = the(check(walks(lambda _: int(rng.integers(2)), 60)), "nearly equal states")
    assert found.level == "warning" and "imitate worse" in found.text
    # One episode alone has no other to compare with.
    assert inconsistency(walks(home, 1)) is None


def test_inconsistency_of_continuous_actions_and_equal_states() -> None:
    rng = np.random.default_rng(0)
    episodes, sure = [], []
    for _ in range(10):
        states = rng.integers(0, 4, 41)
        noise = rng.normal(size=(40, 2))
        exact = np.stack([states[:-1] - 1.5, 1.5 - states[:-1]], axis=1)
        # Signal and noise have the same variance, so half of it remains where the state is known.
        noisy = exact + noise * exact.std(axis=0)
        sure.append(Episode(states, exact.astype(np.float32), None, True, False))
        episodes.append(Episode(states, noisy.astype(np.float32), None, True, False))
    box = spaces.Box(-50, 50, (2,))
    half = inconsistency(Demonstrations(tuple(episodes), spaces.Discrete(4), box))
    none = inconsistency(Demonstrations(tuple(sure), spaces.Discrete(4), box))
    assert half is not None and none is not None
    assert 0.35 < half.share < 0.65
    assert none.share == 0


def test_info_tells_each_episode_and_their_mean() -> None:
    demos = walks(away)
    lines = info(demos).splitlines()
    assert lines[0].split() == ["environment", "Walk-v0"]
    (header,) = [i for i, line in enumerate(lines) if line.split() == ["episode", "return", "steps", "end", "seed"]]
    for i, episode in enumerate(demos.episodes):
        assert lines[header + 1 + i].split() == [str(i), f"{len(episode)}", str(len(episode)), "terminated", str(i)]
    text = "\n".join(lines)
    assert f"{demos.returns.mean():.4g} ± {demos.returns.std():.4g}" in text
    assert f"6 (6 terminated), {demos.n_steps} steps" in text
    assert "0: 0%, 1: 100%" in text
    unknown = each(walks(home), lambda episode: replace(episode, rewards=None, seed=None))
    text = info(replace(unknown, env_id=None), most_rows=2)
    assert "environment   unknown" in text and "return        unknown" in text and "and 4 more" in text
    assert "kept " not in text
    assert "kept          " in info(demos.subsample(5))


@pytest.mark.parametrize("kind", ["discrete", "continuous", "many", "unknown", "one"])
def test_plot_draws_a_picture(kind: str, tmp_path: Path) -> None:
    demos = walks(home, 1 if kind == "one" else 6)
    if kind in ("continuous", "many"):
        size = 1 if kind == "continuous" else 6
        rng = np.random.default_rng(0)
        moved = tuple(replace(e, actions=rng.uniform(-1, 1, (len(e), size)).astype(np.float32)) for e in demos.episodes)
        demos = Demonstrations(moved, demos.observation_space, spaces.Box(-1, 1, (size,)))
    if kind == "unknown":
        demos = each(demos, lambda episode: replace(episode, rewards=None))
    path = plot(demos, tmp_path / "drawn")
    assert path == tmp_path / "drawn.png"
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[0] > 500 and pixels.shape[1] > 900
    # Something of both colours: points above, bars below.
    upper, lower = np.split(pixels, [pixels.shape[0] // 2])
    assert (np.abs(upper.astype(int) - (0x2F, 0x6F, 0x9F)).sum(axis=2) < 12).any()
    assert (np.abs(lower.astype(int) - (0x4C, 0x8C, 0x6B)).sum(axis=2) < 12).sum() > 1000


def test_plot_refuses_other_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no picture ends in \.npz; use one of .*png"):
        plot(walks(home), tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())
