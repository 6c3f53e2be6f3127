"""DAgger: who drives, who is asked, what is kept and what is fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from support.labels import TINY, Logged, by_tags, lake, shaky_lake, tagged, worth
from support.worlds import SpaceEnv, TaggedEnv, TaggedPictures

from sb3_ext import DAgger
from sb3_ext.demonstrations import Demonstrations, check, load, record, save
from sb3_ext.imitation import behaviour_cloning
from sb3_ext.planning import PlannerPolicy, TabularMDP


def dagger(n_envs: int = 3, **keywords: Any) -> DAgger:
    return DAgger("MlpPolicy", tagged(n_envs), expert=by_tags, **{**TINY, **keywords})


def kept(model: DAgger) -> Demonstrations:
    found = model.demonstrations
    assert found is not None
    return found


# ------------------------------------------------------------------ who drives


@pytest.mark.parametrize(("beta", "expected"), [(0.0, [1, 0, 0, 0]), (0.5, [1, 0.5, 0.25, 0.125]), (1.0, [1, 1, 1, 1])])
def test_the_expert_drives_in_round_i_with_probability_beta_to_the_i_minus_1(
    beta: float, expected: list[float]
) -> None:
    """The learner never answers as the expert does here, so what was executed tells who drove."""
    n_steps, n_envs = 100, 4
    model = DAgger(
        "MlpPolicy", tagged(n_envs), expert=lambda x: np.full(len(x), 2), beta=beta, **{**TINY, "n_steps": n_steps}
    )
    model.predict = lambda observations, **_: (np.zeros(len(observations), np.int64), None)  # type: ignore[method-assign]
    model.learn(4 * n_steps * n_envs)
    by_lane: list[list[np.ndarray]] = [[] for _ in range(n_envs)]
    for episode in kept(model).episodes:
        assert episode.executed is not None
        lane = round(float(np.asarray(episode.observations)[0, 0] * 16))
        by_lane[lane].append(episode.executed == 2)
    drove = np.stack([np.concatenate(parts).reshape(4, n_steps) for parts in by_lane])  # [E, round, step]
    share = drove.mean(axis=(0, 2))
    error = 5 * np.sqrt(np.array(expected) * (1 - np.array(expected)) / (n_steps * n_envs))
    assert (np.abs(share - expected) <= error).all()
    if beta == 0.5:  # each step and each environment for itself
        changes = (drove[:, 1, 1:] != drove[:, 1, :-1]).mean()
        assert 0.35 < changes < 0.65 and (drove[0, 1] != drove[1, 1]).any()


def test_beta_may_be_a_function_of_the_progress_and_given_episodes_are_the_first_round() -> None:
    model = dagger(beta=lambda progress: progress, n_steps=4, demonstrations=kept(dagger().learn(24)))
    log = Logged()
    model.learn(48, callback=log)
    assert [of_round["beta"] for of_round in log.rounds] == [1.0, 0.75, 0.5, 0.25]
    log = Logged()
    dagger(demonstrations=kept(dagger().learn(24))).learn(48, callback=log)
    assert [(of_round["beta"], of_round["labels"]) for of_round in log.rounds] == [(0.0, 48), (0.0, 72)]


# ------------------------------------------------------------------ what is kept


def test_labels_are_the_experts_in_exactly_the_states_that_were_visited() -> None:
    """The world is run again from the executed actions alone, which change nothing in it: every state is known."""
    n_envs, n_steps = 3, 40
    model = dagger(n_envs, n_steps=n_steps).learn(2 * n_envs * n_steps)
    lengths, seen = (5, 2, 7, 3), {}
    for episode in kept(model).episodes:
        observations = np.rint(np.asarray(episode.observations) * 16).astype(int)
        lane, number = observations[0, :2]
        seen[lane, number] = episode
        steps = [[lane, number, t] for t in range(len(episode) + 1)]
        assert observations.tolist() == steps
        assert episode.actions.tolist() == [sum(step) % 3 for step in steps[:-1]]
        whole = lengths[number % 4]
        if len(episode) < whole:  # under way
            assert (episode.terminated, episode.truncated) == (False, True)
        else:
            assert len(episode) == whole and episode.terminated == (number % 2 == 0) != episode.truncated
        assert episode.rewards is not None and episode.rewards.tolist() == list(range(1, len(episode) + 1))
    per_lane = [sum(len(e) for (lane, _), e in seen.items() if lane == i) for i in range(n_envs)]
    assert per_lane == [2 * n_steps] * n_envs
    assert model.labels is not None and len(model.labels) == model.num_timesteps == 2 * n_envs * n_steps


def test_t22_labels_are_counted_and_not_episodes() -> None:
    short = DAgger("MlpPolicy", DummyVecEnv([lambda: TaggedEnv(0, lengths=(2,))]), expert=by_tags, **TINY)
    long = DAgger("MlpPolicy", DummyVecEnv([lambda: TaggedEnv(0, lengths=(20,))]), expert=by_tags, **TINY)
    for model in (short, long):
        log = Logged()
        model.learn(40, callback=log)
        assert [of_round["labels"] for of_round in log.rounds] == [8, 16, 24, 32, 40]
    assert len(kept(short)) == 20 and len(kept(long)) == 2


def test_t22_dagger_beats_cloning_at_equal_labels_where_the_expert_never_errs_and_on_a_slippery_lake_does_not() -> None:
    """Exact values, no rollout noise. On ice the expert itself is thrown off its path, and shows what to do there."""
    planner = PlannerPolicy.from_env(lake())
    mdp = TabularMDP.from_env(lake(), 0.99)
    seen = record(planner, lake(), 50, seed=0)
    clone = DAgger("TablePolicy", lake(), expert=planner, demonstrations=seen, **TINY)
    clone.learn(0)
    first = record(planner, lake(), 1, seed=0)
    model = DAgger("TablePolicy", make_vec_env(shaky_lake, 1, seed=0), planner, first, **TINY)
    model.learn(seen.n_steps - first.n_steps)
    assert len(kept(model).transitions(False).actions) - seen.n_steps < TINY["n_steps"]
    best, cloned, asked = worth(planner, mdp), worth(clone, mdp), worth(model, mdp)
    assert cloned < best - 0.07 and asked > cloned + 0.04

    slippery = TabularMDP.from_env(lake(is_slippery=True), 0.99)
    on_ice = PlannerPolicy.from_env(lake(is_slippery=True))
    seen = record(on_ice, lake(is_slippery=True), 10, seed=0)
    clone = DAgger("TablePolicy", lake(is_slippery=True), on_ice, seen, **TINY)
    clone.learn(0)
    model = DAgger("TablePolicy", lake(is_slippery=True), on_ice, **TINY).learn(seen.n_steps)
    assert abs(worth(model, slippery, 0.0) - worth(clone, slippery, 0.0)) < 0.1


def test_t23_labels_are_never_noisy_and_beta_mixes_who_drives() -> None:
    planner = PlannerPolicy.from_env(lake(), epsilon=0.5)
    best = planner.predict(np.arange(64), deterministic=True)[0]
    model = DAgger("TablePolicy", lake(), expert=planner, beta=0.7, **TINY).learn(400)
    n_off = 0
    for episode in kept(model).episodes:
        states = np.asarray(episode.observations)[:-1]
        assert (episode.actions == best[states]).all()
        n_off += int((~episode.followed).sum())
    assert 0 < n_off < 300
    table = model.policy.state_dict()["probabilities"].numpy()
    asked = table.max(axis=1) == 1.0
    assert (table[asked].argmax(axis=1) == best[asked]).all() and (table[~asked] == 0.25).all()


def test_what_is_kept_can_be_saved_checked_and_given_to_others_that_imitate(tmp_path: Path) -> None:
    env = make_vec_env("CartPole-v1", 2, seed=0)
    model = DAgger("MlpPolicy", env, expert=lambda x: (x[:, 2] + 0.3 * x[:, 3] > 0).astype(int), **TINY).learn(200)
    demonstrations = kept(model)
    save(demonstrations, tmp_path / "labels.npz")
    assert load(tmp_path / "labels.npz") == demonstrations
    assert not [finding for finding in check(demonstrations, "CartPole-v1") if finding.level == "error"]
    assert behaviour_cloning(PPO("MlpPolicy", "CartPole-v1", device="cpu"), demonstrations, 1)
    again = DAgger("MlpPolicy", env, expert=by_tags, demonstrations=tmp_path / "labels.npz", **TINY)
    assert kept(again).episodes == demonstrations.episodes


def test_given_episodes_may_be_of_another_width_and_subsampled() -> None:
    """As files of other makers: the spaces agree but for dtypes, and rewards are of whatever kind."""
    first = kept(dagger().learn(48)).subsample(4)
    wide = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    episodes = tuple(
        replace(e, observations=np.asarray(e.observations, np.float64), rewards=np.ones(len(e), np.float32))
        for e in first.episodes
    )
    given = replace(first, episodes=episodes, observation_space=wide)
    model = dagger(demonstrations=given)
    log = Logged()
    model.learn(24, callback=log)
    n_kept = len(first.transitions(False).actions)
    assert log.rounds[0]["labels"] == n_kept + 24 and n_kept < 24
    assert np.asarray(kept(model).episodes[0].observations).dtype == np.float32
    pictures = DAgger("CnnPolicy", TaggedPictures(), expert=lambda x: np.zeros(len(x), np.int64), **TINY).learn(16)
    last = tuple(
        replace(e, observations=np.moveaxis(np.asarray(e.observations), 1, -1)) for e in kept(pictures).episodes
    )
    channels_last = replace(kept(pictures), episodes=last, observation_space=TaggedPictures().observation_space)
    again = DAgger("CnnPolicy", TaggedPictures(), lambda x: np.zeros(len(x), np.int64), channels_last, **TINY)
    assert kept(again).episodes == kept(pictures).episodes


# ------------------------------------------------------------------ going on


def test_a_second_learn_goes_on_and_a_reset_cuts() -> None:
    whole = dagger().learn(96)
    parts = dagger().learn(48)  # after the other: the learner's draws are torch's own
    parts.learn(48, reset_num_timesteps=False)
    assert kept(parts).episodes == kept(whole).episodes and parts.num_timesteps == 96
    for ours, theirs in zip(parts.policy.parameters(), whole.policy.parameters(), strict=True):
        th.testing.assert_close(ours, theirs, rtol=0, atol=0)
    parts.learn(24)
    assert len(kept(parts).transitions(False).actions) == 120
    for episode in kept(parts).episodes:  # none spans the reset
        assert np.ptp(np.asarray(episode.observations)[:, 1]) == 0


def test_a_callback_that_ends_training_loses_no_step() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls < 5

    env = VecNormalize(tagged(), norm_reward=False)
    model = DAgger("MlpPolicy", env, expert=by_tags, **TINY)
    model.learn(96, callback=Stop())
    assert model.num_timesteps == 15 == kept(model).n_steps
    model.learn(33, reset_num_timesteps=False)
    assert kept(model).n_steps == model.num_timesteps >= 48
    assert n_seen(env) == model.num_timesteps + 3  # and none twice
    for episode in kept(model).episodes:
        steps = np.rint(np.asarray(episode.observations)[:, 2] * 16)
        assert (np.diff(steps) == 1).all()


def test_a_zip_holds_labels_and_no_expert_and_goes_on_with_one(tmp_path: Path) -> None:
    class Unpicklable:
        def __call__(self, observations: np.ndarray) -> np.ndarray:
            return by_tags(observations)

        def __reduce__(self) -> Any:
            raise AssertionError("the expert is saved")

    model = DAgger("MlpPolicy", tagged(), expert=Unpicklable(), **TINY).learn(48)
    model.save(tmp_path / "model")
    loaded = DAgger.load(tmp_path / "model", device="cpu")
    observations = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    assert (
        loaded.predict(observations, deterministic=True)[0] == model.predict(observations, deterministic=True)[0]
    ).all()
    loaded = DAgger.load(tmp_path / "model", env=tagged(), device="cpu")
    with pytest.raises(ValueError, match=r"DAgger asks an expert and has none: .*DAgger\.load\(path, env=env, expert="):
        loaded.learn(24)
    loaded = DAgger.load(tmp_path / "model", env=tagged(2), expert=by_tags, device="cpu")
    loaded.learn(16, reset_num_timesteps=False)
    assert loaded.num_timesteps == 64 and loaded.n_rounds == 3
    assert kept(loaded).n_steps == 64 and kept(loaded).episodes[0] == kept(model).episodes[0]
    model.save(tmp_path / "without", exclude=["labels"])
    bare = DAgger.load(tmp_path / "without", env=tagged(), expert=by_tags, demonstrations=kept(model), device="cpu")
    assert kept(bare).episodes == kept(model).episodes


def test_resumed_and_uninterrupted_learning_are_the_same(tmp_path: Path) -> None:
    """A table has no order of labels: what is in the zip is all there is."""
    planner = PlannerPolicy.from_env(lake())
    model = DAgger("TablePolicy", make_vec_env(shaky_lake, 2, seed=3), planner, **TINY).learn(64)
    model.save(tmp_path / "model")
    loaded = DAgger.load(tmp_path / "model", device="cpu")
    th.testing.assert_close(loaded.policy.state_dict(), model.policy.state_dict(), rtol=0, atol=0)
    assert loaded.demonstrations == model.demonstrations


# ------------------------------------------------------------------ policies, spaces, wrappers


def test_it_fits_by_the_labels_and_is_evaluated_as_any_model(tmp_path: Path) -> None:
    def rule(x: np.ndarray) -> np.ndarray:
        answers: np.ndarray = (x[:, 2] + 0.3 * x[:, 3] + 0.02 * x[:, 0] + 0.05 * x[:, 1] > 0).astype(np.int64)
        return answers

    evaluation = EvalCallback(
        make_vec_env("CartPole-v1", 1), eval_freq=100, best_model_save_path=str(tmp_path), verbose=0
    )
    env = make_vec_env("CartPole-v1", 4, seed=0)
    model = DAgger("MlpPolicy", env, expert=rule, n_steps=50, seed=0, device="cpu")
    log = Logged()
    model.learn(1000, callback=[log, evaluation])
    wrong = [of_round["disagreement"] for of_round in log.rounds]
    assert len(wrong) == 5 and wrong[0] > 0.1 > wrong[-1]
    best = DAgger.load(tmp_path / "best_model", device="cpu")
    for trained, least in ((model, 400.0), (best, 100.0)):
        returns, _ = evaluate_policy(trained, make_vec_env("CartPole-v1", 4, seed=9), 8, return_episode_rewards=True)
        assert np.mean(returns) > least


def test_vectors_of_actions_are_fitted_as_they_are_executed() -> None:
    """The expert asks for more than the bounds allow: the labels are clipped, and so is what they are compared with."""
    env = make_vec_env("Pendulum-v1", 2, seed=0)
    policy_kwargs = {"log_std_init": -1.0}

    def torque(x: np.ndarray) -> np.ndarray:
        return 9.0 * x[:, :1]

    model = DAgger("MlpPolicy", env, expert=torque, policy_kwargs=policy_kwargs, n_steps=100, seed=0, device="cpu")
    log = Logged()
    model.learn(1200, callback=log)
    actions = kept(model).transitions(False).actions
    assert np.abs(actions).max() == 2.0 and (np.abs(actions) < 2.0).any()
    wrong = [of_round["disagreement"] for of_round in log.rounds]
    assert wrong[-1] < 0.5 * wrong[0]


@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete([2, 3]),
        spaces.Dict({"a": spaces.Box(-1, 1, (2,), np.float32), "b": spaces.Discrete(4)}),
        spaces.Box(0, 255, (36, 36, 1), np.uint8),
    ],
    ids=["multi_discrete", "dict", "image"],
)
def test_observations_of_every_kind_are_kept_and_fitted(space: spaces.Space[Any]) -> None:
    name = {spaces.Dict: "MultiInputPolicy", spaces.MultiDiscrete: "MlpPolicy"}.get(type(space), "CnnPolicy")
    env = DummyVecEnv([lambda: SpaceEnv(space), lambda: SpaceEnv(space)])

    def expert(observations: Any) -> np.ndarray:
        return np.ones(len(observations["a"] if isinstance(observations, dict) else observations), np.int64)

    model = DAgger(name, env, expert=expert, **TINY).learn(48)
    demonstrations = kept(model)
    assert demonstrations.n_steps == 48 and demonstrations.observation_space == model.observation_space
    assert {(e.terminated, e.truncated) for e in demonstrations.episodes} >= {(True, False), (False, True)}


@pytest.mark.parametrize("action_space", [spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(2)])
def test_actions_of_several_parts(action_space: spaces.Space[Any]) -> None:
    class Parts(TaggedEnv):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = action_space

    model = DAgger("MlpPolicy", Parts(), expert=lambda x: np.ones((len(x), 2), np.int64), **TINY).learn(16)
    assert (kept(model).transitions(False).actions == 1).all()


def n_seen(env: VecNormalize) -> int:
    """:return: observations that its statistics have taken in"""
    statistics: Any = env.obs_rms  # SB3's type leaves out that there is one for all, where it is no dictionary
    return int(statistics.count)


def test_under_vec_normalize_labels_are_kept_raw_and_statistics_are_those_of_the_steps() -> None:
    env = VecNormalize(tagged(), norm_reward=True)
    model = DAgger("MlpPolicy", env, expert=by_tags, **TINY)
    model.learn(72)
    assert n_seen(env) == 72 + 3
    for episode in kept(model).episodes:
        observations = np.rint(np.asarray(episode.observations) * 16)
        assert np.allclose(observations, np.asarray(episode.observations) * 16, atol=1e-4)
        assert (np.diff(observations[:, 2]) == 1).all()
        assert episode.rewards is not None and episode.rewards[0] == 1.0
        assert (episode.actions == by_tags(np.asarray(episode.observations)[:-1])).all()


def test_demonstrations_under_vec_normalize_are_taken_in_once() -> None:
    first = kept(dagger().learn(24))
    env = VecNormalize(tagged(), norm_reward=False)
    model = DAgger("MlpPolicy", env, by_tags, first, **TINY).learn(48)
    assert n_seen(env) == 24 + 48 + 3
    assert kept(model).n_steps == 72


@pytest.mark.parametrize("normalized", [False, True])
def test_pictures_are_kept_channels_first(normalized: bool) -> None:
    """SB3 turns them above a VecNormalize, of rewards, that is there already."""
    env: VecEnv = DummyVecEnv([TaggedPictures])
    env = VecNormalize(env, norm_obs=False) if normalized else env
    model = DAgger("CnnPolicy", env, expert=lambda x: x[:, 0, 0, 0].astype(np.int64) % 3, **TINY).learn(16)
    for episode in kept(model).episodes:
        observations = np.asarray(episode.observations)
        assert observations.shape[1:] == (1, 36, 36)
        assert observations[:, 0, 0, 0].tolist() == list(range(len(observations)))
        assert episode.actions.tolist() == (observations[:-1, 0, 0, 0] % 3).tolist()


def test_an_environment_that_reuses_its_arrays_is_copied() -> None:
    class Same(TaggedEnv):
        def _obs(self) -> np.ndarray:
            self.row = getattr(self, "row", np.zeros(3, np.float32))
            self.row[:] = super()._obs()
            return self.row

    model = DAgger("MlpPolicy", DummyVecEnv([Same]), expert=by_tags, **TINY).learn(64)
    for episode in kept(model).episodes:
        steps = np.rint(np.asarray(episode.observations)[:, 2] * 16)
        assert steps.tolist() == list(range(len(episode) + 1))


# ------------------------------------------------------------------ wrong input


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"beta": 1.5}, r"beta 1\.5 must lie in \[0, 1\]"),
        ({"n_epochs": 0}, "n_epochs 0 must be at least 1"),
        ({"n_steps": 0}, "n_steps 0 must be at least 1"),
        ({"batch_size": -1}, "batch_size -1 must be at least 1"),
        ({"expert": "planer"}, r"expert 'planer' is no model: 'planner' or 'keyboard'.*did you mean 'planner'"),
        ({"expert": 3}, "expert 3 is neither a model with `predict` nor a function"),
        ({"expert": PlannerPolicy(spaces.Discrete(4), spaces.Discrete(3))}, "expert: observations of Discrete"),
        ({"expert": PlannerPolicy(spaces.Discrete(4), spaces.Discrete(2))}, "expert: actions of Discrete"),
        ({"demonstrations": "nowhere.npz"}, "nowhere"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_at_the_constructor(keywords: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=words) as error:
        dagger(**keywords) if "expert" not in keywords else DAgger("MlpPolicy", tagged(), **keywords, **TINY)
    assert "\n" not in str(error.value)


def test_a_table_needs_numbers_of_states_and_beta_a_probability() -> None:
    with pytest.raises(ValueError, match=r"observation space Box.* must be Discrete"):
        DAgger("TablePolicy", tagged(), expert=by_tags, **TINY)
    with pytest.raises(ValueError, match="beta gave 3"):
        dagger(beta=lambda _: 3.0).learn(24)
    with pytest.raises(ValueError, match="publishes no transition table"):
        DAgger("MlpPolicy", gym.make("CartPole-v1"), expert="planner", **TINY).learn(8)
