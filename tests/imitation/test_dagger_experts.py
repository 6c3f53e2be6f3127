"""Whoever DAgger can ask: models with a memory and with statistics of their own, functions, the planner, a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize
from support.labels import TINY, by_tags, lake, tagged
from support.worlds import TaggedEnv

from sb3_ext import R2D2, DAgger
from sb3_ext.imitation import Normalized
from sb3_ext.planning import PlannerPolicy


class Counts:
    """A model with a memory: it answers with the number of steps since the episode began, modulo 3."""

    observation_space, action_space = TaggedEnv().observation_space, TaggedEnv().action_space

    def predict(
        self, observation: Any, state: Any = None, episode_start: np.ndarray | None = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        assert deterministic and episode_start is not None
        count = np.zeros(len(observation), np.int64) if state is None else state[0]
        count = np.where(episode_start, 0, count)
        return count % 3, (count + 1,)


def actions_and_states(model: DAgger) -> list[tuple[np.ndarray, np.ndarray]]:
    demonstrations = model.demonstrations
    assert demonstrations is not None
    return [(episode.actions, np.asarray(episode.observations)[:-1]) for episode in demonstrations.episodes]


def test_a_memory_goes_along_the_driven_trajectory_and_ends_with_the_episode() -> None:
    model = DAgger("MlpPolicy", tagged(), expert=Counts(), **TINY)
    model.learn(48)
    model.learn(24, reset_num_timesteps=False)  # goes on in the middle of episodes
    model.learn(24)  # begins new ones
    assert len(actions_and_states(model)) > 20
    for actions, _ in actions_and_states(model):
        assert actions.tolist() == [t % 3 for t in range(len(actions))]


@pytest.mark.parametrize("kind", ["RecurrentPPO", "R2D2"])
def test_recurrent_models_are_asked_as_they_would_answer_on_the_way(kind: str) -> None:
    def make() -> Any:
        if kind == "R2D2":
            return R2D2("MlpLstmPolicy", tagged(), device="cpu", seed=1)
        return RecurrentPPO("MlpLstmPolicy", tagged(), n_steps=8, device="cpu", seed=1)

    expert = make()
    model = DAgger("MlpPolicy", tagged(), expert=expert, **TINY).learn(96)
    for actions, states in actions_and_states(model):
        state, alone = None, []
        for t, observation in enumerate(states):
            starts = np.array([t == 0])
            action, state = expert.predict(observation[None], state=state, episode_start=starts, deterministic=True)
            alone.append(int(action[0]))
        assert actions.tolist() == alone


def test_an_expert_is_shown_the_statistics_that_it_was_trained_with_whatever_becomes_of_them(tmp_path: Path) -> None:
    """Expert and learner share one VecNormalize, which goes on changing while the learner drives."""
    env = VecNormalize(tagged(), norm_reward=False)
    expert = PPO("MlpPolicy", env, n_steps=32, batch_size=16, n_epochs=5, learning_rate=0.05, device="cpu", seed=0)
    expert.learn(96)
    env.save(str(tmp_path / "statistics.pkl"))
    grid = np.random.default_rng(0).random((200, 3)).astype(np.float32)
    before = expert.predict(env.normalize_obs(grid), deterministic=True)[0]
    assert len(set(before.tolist())) > 1

    def answers(model: DAgger) -> list[tuple[int, int]]:
        frozen = VecNormalize.load(str(tmp_path / "statistics.pkl"), tagged())
        pairs = []
        for actions, states in actions_and_states(model):
            right = expert.predict(frozen.normalize_obs(states), deterministic=True)[0]
            pairs += list(zip(actions.tolist(), right.tolist(), strict=True))
        return pairs

    expert.save(tmp_path / "expert")
    alone = PPO.load(tmp_path / "expert", device="cpu")
    for given in (expert, Normalized(alone, env), Normalized(alone, tmp_path / "statistics.pkl")):
        env.training = True
        model = DAgger("MlpPolicy", env, expert=given, **TINY).learn(120)
        if given is not expert:  # the statistics of now were frozen only when it began to learn
            continue
        assert all(told == right for told, right in answers(model))
    assert all(told == right for told, right in answers(model))  # of the file
    with pytest.warns(UserWarning, match="PPO was loaded without its own: it is shown them as they are"):
        DAgger("MlpPolicy", env, expert=alone, **TINY).learn(24)
    DAgger("MlpPolicy", env, expert=Normalized(alone, None), **TINY).learn(24)
    (tmp_path / "other.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(ValueError, match="holds a NoneType, and no VecNormalize"):
        DAgger("MlpPolicy", env, expert=Normalized(alone, tmp_path / "other.pkl"), **TINY).learn(24)


def test_the_planner_solves_the_learners_own_environment() -> None:
    model = DAgger("MlpPolicy", make_vec_env(lake, 2, seed=0), expert="planner", **TINY).learn(64)
    best = PlannerPolicy.from_env(lake())
    for actions, states in actions_and_states(model):
        assert (actions == best.predict(states, deterministic=True)[0]).all()


def test_another_environment_has_another_planner() -> None:
    model = DAgger("TablePolicy", make_vec_env(lake, 1), expert="planner", **TINY).learn(8)
    model.set_env(make_vec_env(lambda: lake(is_slippery=True), 1))
    model.learn(64)
    on_ice = PlannerPolicy.from_env(lake(is_slippery=True))
    for actions, states in actions_and_states(model)[-1:]:
        assert (actions == on_ice.predict(states, deterministic=True)[0]).all()


def test_an_expert_of_another_task_and_answers_of_another_shape_are_named() -> None:
    other = PPO("MlpPolicy", gym.make("CartPole-v1"), device="cpu")
    with pytest.raises(ValueError, match=r"expert: actions of Discrete\(2\), the policy has Discrete\(3\)"):
        DAgger("MlpPolicy", tagged(), expert=other, **TINY)
    with pytest.raises(ValueError, match=r"expert: actions of Discrete\(2\)"):
        DAgger("MlpPolicy", tagged(), expert=Normalized(other, None), **TINY)
    with pytest.raises(ValueError, match="gave shape"):
        DAgger("MlpPolicy", tagged(), expert=lambda x: np.zeros(2, np.int64), **TINY).learn(24)


def test_an_answer_that_is_no_action_is_neither_executed_nor_kept() -> None:
    model = DAgger("MlpPolicy", tagged(), expert=lambda x: np.full(len(x), 7), **TINY)
    with pytest.raises(ValueError, match=r"expert: its action 7 lies outside Discrete\(3\)"):
        model.learn(24)
    assert model.num_timesteps == 0 and model.demonstrations is None
    model.expert = by_tags
    assert model.learn(24).demonstrations is not None
    unknown = DAgger("MlpPolicy", gym.make("Pendulum-v1"), expert=lambda x: np.full((len(x), 1), np.nan), **TINY)
    with pytest.raises(ValueError, match=r"expert: its action \[nan\] lies outside Box"):
        unknown.learn(8)
    assert unknown.num_timesteps == 0


def test_what_needs_the_environment_itself_says_so() -> None:
    with pytest.raises(ValueError, match="the keyboard labels one environment, and there are 2: n_envs=1"):
        DAgger("TablePolicy", make_vec_env(lake, 2), expert="keyboard", **TINY).learn(8)
    with pytest.raises(ValueError, match="with render_mode None gives no picture"):
        DAgger("TablePolicy", lake(), expert="keyboard", **TINY).learn(8)
    workers: VecEnv = SubprocVecEnv([lake], start_method="fork")
    try:
        with pytest.raises(ValueError, match="an environment of this process: use DummyVecEnv, not SubprocVecEnv"):
            DAgger("TablePolicy", workers, expert="planner", **TINY).learn(8)
    finally:
        workers.close()


def test_functions_see_what_the_environment_gives() -> None:
    """And an expert that wants to see more than the learner is a function of its own."""
    seen: list[np.ndarray] = []

    def expert(observations: np.ndarray) -> np.ndarray:
        seen.append(observations.copy())
        return by_tags(observations)

    env = VecNormalize(DummyVecEnv([TaggedEnv]), norm_reward=False)
    DAgger("MlpPolicy", env, expert=expert, **TINY).learn(16)
    assert np.allclose(np.concatenate(seen) * 16, np.rint(np.concatenate(seen) * 16), atol=1e-4)
    assert isinstance(env.observation_space, spaces.Box)
