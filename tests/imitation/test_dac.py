"""DAC: every batch is judged by the discriminator of now, and the replay keeps what happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from support.experts import absorbed
from support.worlds import TaggedEnv

from sb3_ext.buffers import PrioritizedReplayBuffer
from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.imitation import DAC, DACSAC
from sb3_ext.imitation.steps import Steps

SMALL: dict[str, Any] = {"learning_starts": 40, "batch_size": 32, "seed": 0, "device": "cpu"}


class Steered(TaggedEnv):
    """Tagged, with an action between -1 and 3 whose first number is not scaled as the second."""

    def __init__(self) -> None:
        super().__init__(0, lengths=(5, 2, 7, 3))
        self.action_space = spaces.Box(np.array([-1, 0], dtype=np.float32), np.array([3, 1], dtype=np.float32))


def demonstrations() -> Demonstrations:
    rng = np.random.default_rng(0)
    env = Steered()
    env.action_space.seed(0)
    episodes = [
        Episode(
            rng.normal(size=(8, 3)).astype(np.float32),
            np.array([env.action_space.sample() for _ in range(7)]),
            None,
            i % 2 == 0,
            i % 2 == 1,
        )
        for i in range(4)
    ]
    return Demonstrations(tuple(episodes), env.observation_space, env.action_space)


def trained(cls: type[DAC] | type[DACSAC], n_steps: int = 80, normalized: bool = False, **keywords: Any) -> Any:
    env: VecEnv = DummyVecEnv([Steered])
    env = VecNormalize(env) if normalized else env
    noise = {"action_noise": NormalActionNoise(np.zeros(2), 0.3 * np.ones(2))} if cls is DAC else {}
    model: Any = cls("MlpPolicy", env, demonstrations(), **{**SMALL, **noise, **keywords})
    model.learn(n_steps)
    return model


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "VecNormalize"])
@pytest.mark.parametrize("cls", [DAC, DACSAC])
def test_a_batch_carries_the_rewards_of_the_discriminator_of_now(
    cls: type[DAC] | type[DACSAC], normalized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(cls, normalized=normalized, env_reward_coef=0.5)
    replay, adversary, env = model.replay_buffer, model.adversary, model.get_vec_normalize_env()
    assert type(replay) is ReplayBuffer, "the view is gone after training"
    rows = np.arange(60)
    raw = replay._get_samples(rows, env=None)
    monkeypatch.setattr(replay, "sample", lambda batch_size, env=None: replay._get_samples(rows, env=env))
    batch = model._view().sample(60, env=env)
    judged = replay._get_samples(rows, env=env)  # what the algorithm would have got
    for name in ("observations", "next_observations", "actions", "dones"):
        np.testing.assert_allclose(getattr(batch, name), getattr(judged, name), rtol=1e-6, err_msg=name)
    executed = np.array([-1, 0]) + (raw.actions.numpy() + 1) / 2 * np.array([4, 1])
    ends = raw.dones.flatten().numpy()
    assert 0 < ends.sum() < 60
    no = np.zeros(60, dtype=bool)
    now, after = raw.observations.numpy(), raw.next_observations.numpy()
    steps = Steps.of(now, executed.astype(np.float32), after, no, ends > 0, adversary.device)
    paid = absorbed(adversary, steps)
    assert len(np.unique(paid[ends > 0])) > 1 and not paid[ends == 0].any()
    wanted = adversary.rewards(steps) + paid
    wanted += 0.5 * judged.rewards.flatten().numpy()
    np.testing.assert_allclose(batch.rewards.flatten(), wanted, rtol=1e-4, atol=1e-5)


def test_the_discriminator_is_shown_an_absorbing_step_for_each_termination(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(DAC)
    shown: list[tuple[Any, ...]] = []

    def update(*given: Any) -> dict[str, float]:
        shown.append(given)
        return {}

    monkeypatch.setattr(model.adversary, "update", update)
    model._train_discriminator()
    ((seen, progress),) = shown
    entered = (seen.next_absorbing * (1 - seen.absorbing)) > 0
    assert seen.absorbing.sum() == entered.sum() > 0
    assert (seen.observations[seen.absorbing > 0] == seen.next_observations[entered]).all()
    assert progress == model._current_progress_remaining < 1


def test_without_absorbing_states_a_termination_is_a_step_like_others() -> None:
    model = trained(DACSAC, absorbing=False)
    batch = model.replay_buffer._get_samples(np.arange(60), env=None)
    steps = model._view().steps(batch)
    assert batch.dones.sum() > 0 and not model.adversary.values_of_absorbing(steps).any()
    assert model.adversary.absorbing_steps(steps).n_steps == 0


def test_timeouts_that_count_as_terminations_are_refused() -> None:
    careless: dict[str, Any] = {"replay_buffer_kwargs": {"handle_timeout_termination": False}}
    with pytest.raises(ValueError, match="handle_timeout_termination=False takes timeouts for terminations"):
        DAC("MlpPolicy", Steered(), demonstrations(), **SMALL, **careless)
    DAC("MlpPolicy", Steered(), demonstrations(), absorbing=False, **SMALL, **careless)


@pytest.mark.parametrize("cls", [DAC, DACSAC])
def test_final_observations_are_raw_where_vecnormalize_clips_them(cls: type[DAC] | type[DACSAC]) -> None:
    class FarOff(Steered):
        def _obs(self) -> np.ndarray:
            far = self.t == self.lengths[self.episode % len(self.lengths)]
            return np.full(3, 200.0 if far else self.t / 8, dtype=np.float32)

    env = VecNormalize(DummyVecEnv([FarOff]), clip_obs=1.5)
    model: Any = cls("MlpPolicy", env, demonstrations(), **SMALL)
    model.learn(80)
    batch = model.replay_buffer._get_samples(np.arange(80), env=None)
    assert (batch.next_observations == 200).all(dim=1).sum() > 10
    assert (batch.next_observations != 200).any(dim=1).eq((batch.next_observations <= 1).all(dim=1)).all()


@pytest.mark.parametrize("cls", [DAC, DACSAC])
def test_learn_warns_where_the_policys_episodes_end_and_the_experts_never(cls: type[DAC] | type[DACSAC]) -> None:
    never = [replace(e, terminated=False, truncated=True) for e in demonstrations().episodes]
    with pytest.warns(UserWarning, match="none of the 4 demonstrations terminates") as caught:
        cls("MlpPolicy", Steered(), replace(demonstrations(), episodes=tuple(never)), **SMALL).learn(80)
    assert len(caught) == 1


@pytest.mark.parametrize("cls", [DAC, DACSAC])
def test_rates_that_fall_to_zero_stay_there_when_the_last_rollout_overshoots(cls: type[DAC] | type[DACSAC]) -> None:
    model = trained(cls, 50, learning_rate=lambda p: 1e-3 * p, discriminator_learning_rate=lambda p: p, train_freq=45)
    assert model.num_timesteps == 90 and model._current_progress_remaining == 0.0
    assert model.actor.optimizer.param_groups[0]["lr"] == model.adversary.optimizer.param_groups[0]["lr"] == 0.0


def test_the_replay_keeps_what_happened() -> None:
    model = trained(DAC)
    rewards = model.replay_buffer.rewards[:5].flatten()
    np.testing.assert_array_equal(rewards, [1, 2, 3, 4, 5])


@pytest.mark.parametrize("cls", [DAC, DACSAC])
def test_save_load_and_resume_with_the_replay(cls: type[DAC] | type[DACSAC], tmp_path: Path) -> None:
    model = trained(cls)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded: Any = cls.load(tmp_path / "model", device="cpu")
    observation = np.ones((1, 3), dtype=np.float32)
    actions = [agent.predict(observation, deterministic=True)[0] for agent in (loaded, model)]
    np.testing.assert_array_equal(*actions)
    with pytest.raises(ValueError, match="learns from demonstrations and has none"):
        loaded.learn(1)
    resumed: Any = cls.load(
        tmp_path / "model", env=DummyVecEnv([Steered]), demonstrations=demonstrations(), device="cpu"
    )
    resumed.load_replay_buffer(tmp_path / "replay")
    for a, b in zip(resumed.discriminator.parameters(), model.discriminator.parameters(), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)
    resumed.learn(20, reset_num_timesteps=False)
    assert resumed.num_timesteps == 100


def test_several_environments_and_the_log() -> None:
    env = DummyVecEnv([Steered, Steered])
    model = DACSAC("MlpPolicy", env, demonstrations(), **SMALL)
    model.learn(100)
    logged = set(model.logger.name_to_value)
    wanted = {"loss", "accuracy_policy", "accuracy_expert", "reward_mean", "reward_std", "absorbing_value"}
    assert {f"discriminator/{name}" for name in wanted} <= logged


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"normalize_reward": True}, "normalize_reward=True needs the returns of a rollout"),
        ({"shaped": True}, "shaped=True needs the policy's log-probabilities"),
        ({"n_steps": 3}, "n_steps 3 must be 1"),
        ({"sampler": "proportional"}, "sampler Proportional.* ranks steps by rewards that change"),
        ({"reward": "wgan"}, "reward 'wgan' must be one of"),
    ],
    ids=str,
)
def test_impossible_settings_are_named(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DAC("MlpPolicy", Steered(), demonstrations(), **SMALL, **keywords)


@pytest.mark.parametrize("cls", [DAC, DACSAC])
def test_actions_of_two_axes(cls: type[DAC] | type[DACSAC]) -> None:
    class Grid(Steered):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = spaces.Box(-1, 3, (2, 2), np.float32)

    env = Grid()
    episodes = [
        Episode(
            e.observations, np.stack([env.action_space.sample() for _ in e.actions]), None, e.terminated, e.truncated
        )
        for e in demonstrations().episodes
    ]
    demos = Demonstrations(tuple(episodes), env.observation_space, env.action_space)
    assert cls("MlpPolicy", Grid(), demos, **SMALL).learn(60)._n_updates > 0


def test_load_refuses_what_the_constructor_does(tmp_path: Path) -> None:
    DAC("MlpPolicy", Steered(), demonstrations(), **SMALL).save(tmp_path / "dac")
    for keyword in ("normalize_reward", "shaped"):
        given: dict[str, Any] = {keyword: True}
        with pytest.raises(ValueError, match=f"{keyword}=True needs"):
            DAC.load(tmp_path / "dac", **given)


def test_a_replay_of_several_steps_is_refused() -> None:
    prioritized: dict[str, Any] = {"replay_buffer_class": PrioritizedReplayBuffer, **SMALL}
    for kwargs in ({"n_steps": 3, "gamma": 0.99}, {"n_steps": 1}):
        keywords = {**prioritized, "replay_buffer_kwargs": kwargs}
        if kwargs["n_steps"] > 1:
            with pytest.raises(ValueError, match="n_steps 3 must be 1: rewards are judged step by step"):
                DAC("MlpPolicy", Steered(), demonstrations(), **keywords)
        else:
            DAC("MlpPolicy", Steered(), demonstrations(), **keywords).learn(60)


def test_discrete_actions_are_refused_by_the_algorithm_below() -> None:
    with pytest.raises(ValueError, match=r"DAC has no actions Discrete"):
        DAC("MlpPolicy", gym.make("CartPole-v1"), **SMALL)
