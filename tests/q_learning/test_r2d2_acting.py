"""
What R2D2 does between environment steps: the state it acts with is the state it stores, and `predict` changes nothing.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from support.attributions import IMAGE, VECTOR, Anything
from support.q_models import QValueLog, assert_replayed_as_acted, assert_windows_are_contiguous, make_env, make_model
from support.worlds import TaggedEnv

from sb3_ext import Rainbow, nested
from sb3_ext.networks import GRUCore, LSTMCore, RecurrentCore
from sb3_ext.ops.exploration import EpsilonGreedy
from sb3_ext.r2d2 import R2D2


@pytest.mark.parametrize("n_envs", [1, 2, 3, 4])
@pytest.mark.parametrize("core", [LSTMCore, GRUCore])
@pytest.mark.parametrize("geometry", [(4, 6, 3, 2), (5, 4, 4, 3), (0, 4, 2, 1), (6, 6, 2, 5)])
def test_trap_09_replayed_windows_reproduce_the_acting_q_values(
    n_envs: int, core: type[RecurrentCore[Any]], geometry: tuple[int, int, int, int]
) -> None:
    burn_in, sequence_length, period, n_steps = geometry
    model = make_model(
        n_envs, burn_in=burn_in, sequence_length=sequence_length, period=period, n_steps=n_steps, gradient_steps=0,
        buffer_size=150 * n_envs, policy_kwargs=dict(lstm_hidden_size=16, core_class=core, n_lstm_layers=2),
    )  # fmt: skip
    assert_replayed_as_acted(model, 400)


def test_trap_17_random_actions_of_the_warm_up_step_the_core() -> None:
    model = make_model(n_envs=1, learning_starts=10_000)
    seen: list[np.ndarray] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            seen.append(self.locals["self"]._last_obs.copy())
            return self.n_calls < 6

    model.learn(100, callback=Watch())
    state = None
    for obs in seen[:6]:
        _, state = model.predict(obs, state, deterministic=True)
    assert state is not None and model._next_state is not None
    for ours, theirs in zip(nested.leaves(model._next_state), state, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)
        assert np.abs(theirs).max() > 0


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_what_is_not_finite_gets_no_action_and_reaches_no_state(value: float) -> None:
    """Of every kind of policy, of a part of a Dict, and of one environment among others."""
    space = spaces.Dict(speed=VECTOR, seen=IMAGE)
    for model, key in (
        (R2D2("MlpLstmPolicy", Anything(VECTOR), device="cpu"), None),
        (R2D2("MultiInputLstmPolicy", Anything(space), device="cpu"), "speed"),
        (Rainbow("MlpPolicy", Anything(VECTOR), device="cpu"), None),
    ):
        given = {name: np.stack([part.sample()] * 3) for name, part in space.items()}
        obs: Any = given["speed"] if key is None else given
        model.predict(obs)
        given["speed"][1, 2] = value
        for predict in (model.predict, model.policy.predict):
            with pytest.raises(ValueError, match=rf"^{key or 'observation'} of env 1 is not finite \({value} at \[2\]"):
                predict(obs)


def test_state_is_zeroed_where_an_episode_ended() -> None:
    model = make_model(n_envs=2, gradient_steps=0)
    model.learn(14)  # 7 steps of each env: both first episodes (7 steps) have just ended
    assert model._state is not None
    assert all(float(s.abs().max()) == 0.0 for s in nested.leaves(model._state))
    model.learn(6, reset_num_timesteps=False)
    assert all(float(s.abs().max()) > 0.0 for s in nested.leaves(model._state))


def test_trap_22_every_environment_has_its_own_epsilon() -> None:
    model = make_model(n_envs=4)
    model.learn(50)
    q_values = np.tile([1.0, 0.0, 0.0], (4, 1))
    chosen = np.stack([model.exploration.choose(q_values, 0.5) for _ in range(4000)])
    expected = [0.4 ** (1 + 7 * i / 3) for i in range(4)]
    np.testing.assert_allclose((chosen != 0).mean(axis=0) * 3 / 2, expected, atol=0.04)  # a third of them is action 0


def test_a_single_environment_follows_the_linear_schedule() -> None:
    model = make_model(n_envs=1, exploration=EpsilonGreedy(1.0, 0.1, 0.5))
    rates: list[float] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            model = self.model
            assert isinstance(model, R2D2)
            rates.append(model.exploration.rate(model._current_progress_remaining, 1))
            return True

    model.learn(100, callback=Watch())
    np.testing.assert_allclose(rates[0], 1.0)
    np.testing.assert_allclose(rates[26], 1.0 - 0.9 * 26 / 50, atol=1e-9)  # before step 27 is counted: 26 steps done
    np.testing.assert_allclose(rates[60:], 0.1)


def test_predict_depends_on_its_arguments_alone() -> None:
    model = make_model(n_envs=3)
    model.learn(60)
    obs = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    inner = [s.clone() for s in nested.leaves(model._state)]
    first, state = model.predict(obs, deterministic=True)
    second, _ = model.predict(obs, deterministic=True)
    np.testing.assert_array_equal(first, second)
    assert state is not None and len(state) == 2 and state[0].shape == (5, 1, 16)
    for before, after in zip(inner, nested.leaves(model._state), strict=True):
        assert th.equal(before, after)
    # episode_start wipes the rows it names, and only those
    starts = np.array([True, False, False, True, False])
    _, mixed = model.predict(obs, state, starts, deterministic=True)
    _, fresh = model.predict(obs, None, deterministic=True)
    _, kept = model.predict(obs, state, deterministic=True)
    assert mixed is not None and fresh is not None and kept is not None
    np.testing.assert_allclose(mixed[0][starts], fresh[0][starts], atol=1e-6)
    np.testing.assert_allclose(mixed[0][~starts], kept[0][~starts], atol=1e-6)
    # a single observation is not a batch
    action, single = model.predict(obs[2], deterministic=True)
    assert action.shape == () and int(action) == int(first[2])
    assert single is not None and single[0].shape == (1, 1, 16)


def test_predict_without_determinism_explores_at_the_evaluation_rate() -> None:
    model = make_model(evaluation_eps=0.3)
    obs = np.zeros((4000, 3), dtype=np.float32)
    np.random.seed(0)
    greedy, _ = model.predict(obs, deterministic=True)
    actions, _ = model.predict(obs, deterministic=False)
    differs = float((actions != greedy).mean())
    assert abs(differs - 0.3 * 2 / 3) < 0.03


def test_the_stateless_predictions_of_the_policy_work() -> None:
    model = make_model()
    obs = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    expected, _ = model.predict(obs, deterministic=True)
    tensor, _ = model.policy.obs_to_tensor(obs)
    np.testing.assert_array_equal(model.policy._predict(tensor).numpy(), expected)
    np.testing.assert_array_equal(model.q_net.predict(obs, deterministic=True)[0], expected)


def test_evaluate_policy_carries_the_recurrent_state() -> None:
    """An agent that is fed its own state must act as one long unroll does."""
    model = make_model()
    env = make_env(1, lengths=(9,))
    actions: list[int] = []
    observations: list[np.ndarray] = []

    def watch(local: dict[str, Any], _: dict[str, Any]) -> None:
        actions.append(int(local["actions"][0]))
        observations.append(local["observations"].copy())

    evaluate_policy(model, env, n_eval_episodes=1, callback=watch)
    with th.no_grad():
        out, _ = model.q_net.unroll(th.as_tensor(np.stack(observations, axis=1)), model.q_net.initial_state(1))
    assert actions == out.argmax(-1).reshape(-1).tolist()


def test_a_callback_stop_loses_a_step_but_breaks_no_window() -> None:
    model = make_model(n_envs=2, gradient_steps=0)

    class StopAt(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls < 5

    for _ in range(6):
        model.learn(200, callback=StopAt(), reset_num_timesteps=False)
    model.learn(200, reset_num_timesteps=False)
    assert_windows_are_contiguous(model)


def test_learning_again_and_set_env_break_no_window() -> None:
    model = make_model(n_envs=2, gradient_steps=0)
    model.learn(31)
    model.learn(31)  # resets the env in mid-episode
    model.learn(31, reset_num_timesteps=False)  # goes on in mid-episode
    model.set_env(make_env(2))
    model.learn(60, reset_num_timesteps=False)
    assert_windows_are_contiguous(model)


def test_going_on_in_mid_episode_keeps_the_acting_state() -> None:
    model = make_model(n_envs=1, gradient_steps=0)
    log = QValueLog(model)
    model.learn(12)  # episodes of 7, 1 and 4 of 23 steps
    model.learn(12, reset_num_timesteps=False)
    assert model.replay_buffer is not None
    batch = model.replay_buffer._get_samples(np.flatnonzero(model.replay_buffer._active))
    assert isinstance(batch.observations, th.Tensor)
    q = model.learner.unroll(model.q_net, batch).detach().numpy()
    for i in range(len(q)):
        for t in range(int(batch.mask[i].sum())):
            np.testing.assert_allclose(q[i, t], log.q[tuple(batch.observations[i, t].tolist())], atol=1e-5)


def test_vec_normalize_keeps_the_cells_raw() -> None:
    env = VecNormalize(make_env(2), norm_reward=True)
    model = R2D2(
        "MlpLstmPolicy", env, burn_in=4, sequence_length=6, period=3, n_steps=2, learning_starts=10, batch_size=8,
        seed=0, policy_kwargs=dict(lstm_hidden_size=8), device="cpu",
    )  # fmt: skip
    model.learn(300)
    assert_windows_are_contiguous_up_to_rounding(model)
    assert model.replay_buffer is not None
    sample = model.replay_buffer.sample(16, env=env)
    assert isinstance(sample.observations, th.Tensor)
    assert float(sample.observations.abs().max()) <= 10.0  # VecNormalize clips
    assert float(sample.rewards.abs().max()) <= 10.0


def assert_windows_are_contiguous_up_to_rounding(model: R2D2) -> None:
    buffer = model.replay_buffer
    assert buffer is not None
    batch = buffer._get_samples(np.flatnonzero(buffer._active))
    assert isinstance(batch.observations, th.Tensor)
    steps = batch.observations[..., 2].numpy() * 16
    for i in range(len(steps)):
        n = int(batch.mask[i].sum())
        np.testing.assert_allclose(steps[i, : n + 1], steps[i, 0] + np.arange(n + 1), atol=1e-2)


@pytest.mark.parametrize("policy", ["MultiInputLstmPolicy", "CnnLstmPolicy"])
def test_dict_and_image_observations_train(policy: str) -> None:
    class Pictures(TaggedEnv):
        def __init__(self) -> None:
            super().__init__()
            image = gym.spaces.Box(0, 255, (36, 36, 1), np.uint8)
            vector = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
            self.observation_space = image if policy == "CnnLstmPolicy" else gym.spaces.Dict(image=image, vector=vector)

        def _obs(self) -> Any:
            image = np.full((36, 36, 1), self.t, dtype=np.uint8)
            return image if policy == "CnnLstmPolicy" else {"image": image, "vector": np.zeros(2, np.float32)}

    env = DummyVecEnv([lambda: Monitor(Pictures())] * 2)
    model = R2D2(
        policy, env, burn_in=2, sequence_length=4, period=2, n_steps=2, learning_starts=20, batch_size=4, seed=0,
        device="cpu", policy_kwargs=dict(lstm_hidden_size=8), buffer_size=1000,
    )  # fmt: skip
    model.learn(80)
    assert model._n_updates > 0
    evaluate_policy(model, env, n_eval_episodes=2)
