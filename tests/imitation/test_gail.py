"""GAIL in small worlds: which rewards reach PPO, what the discriminator was shown, and what is saved."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import TRPO, MaskablePPO, RecurrentPPO
from sb3_contrib.common.envs import InvalidActionEnvDiscrete
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback
from stable_baselines3.common.envs import IdentityEnvBox, IdentityEnvMultiBinary, IdentityEnvMultiDiscrete
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecFrameStack, VecNormalize
from support.demo_worlds import sampled
from support.experts import absorbed, demonstrations_of, upright
from support.worlds import TaggedEnv

from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.imitation import GAIL, AdversarialCallback, LearnedReward, RewardSettings, behaviour_cloning
from sb3_ext.imitation.discriminator import ShapedDiscriminator
from sb3_ext.imitation.reward import AdversarialReward, ReturnScale
from sb3_ext.imitation.rollouts import RolloutRecorder, discounted_returns, log_prob_of
from sb3_ext.imitation.steps import Steps
from sb3_ext.networks.normalizer import RunningNormalizer

SMALL: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "seed": 0, "device": "cpu"}


def tagged(n_envs: int = 3) -> VecEnv:
    """Ends alternate between terminations and truncations."""
    return DummyVecEnv([lambda i=i: TaggedEnv(i, lengths=(5, 2, 7, 3)) for i in range(n_envs)])  # type: ignore[misc]


def gail(env: VecEnv | None = None, demonstrations: Demonstrations | None = None, **keywords: Any) -> GAIL:
    env = tagged() if env is None else env
    if demonstrations is None:
        demonstrations = demonstrations_of(TaggedEnv())
    return GAIL("MlpPolicy", env, demonstrations, **{**SMALL, **keywords})


class Collected(RolloutRecorder):
    """Keeps what SB3 computed, and what relabelling with the environment's own reward makes of it."""

    def _on_rollout_end(self) -> None:
        super()._on_rollout_end()
        self.before = self._contents()
        self.relabel(self.env_rewards)
        self.after = self._contents()

    def _contents(self) -> dict[str, np.ndarray]:
        buffer = self.model.rollout_buffer
        return {name: getattr(buffer, name).copy() for name in ("rewards", "advantages", "returns")}


# ---------------------------------------------------------------------- relabelling


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "VecNormalize"])
@pytest.mark.parametrize("algorithm", [PPO, A2C, TRPO, RecurrentPPO])
def test_relabelling_with_the_environments_own_reward_changes_nothing(
    algorithm: Callable[..., OnPolicyAlgorithm], normalized: bool
) -> None:
    env = VecNormalize(tagged(4)) if normalized else tagged(4)
    policy = "MlpLstmPolicy" if algorithm is RecurrentPPO else "MlpPolicy"
    model = algorithm(policy, env, n_steps=32, seed=0, device="cpu")
    recorder = Collected()
    model.learn(1, callback=recorder)
    assert (recorder.timeout_values != 0).sum() > 3 and recorder.terminated.sum() > 3
    for name, wanted in recorder.before.items():
        np.testing.assert_allclose(recorder.after[name], wanted, atol=1e-5, rtol=1e-5, err_msg=name)


class IntegerRewards(VecEnvWrapper):
    """As SubprocVecEnv stacks the rewards of environments that give integers."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards.astype(np.int64), dones, infos


def test_integer_rewards_do_not_round_the_value_at_timeouts() -> None:
    model = PPO("MlpPolicy", IntegerRewards(tagged()), n_steps=32, batch_size=32, seed=0, device="cpu")
    recorder = Collected()
    model.learn(1, callback=recorder)
    wanted = recorder.env_rewards + model.gamma * recorder.timeout_values
    assert (wanted != np.round(wanted)).sum() == (recorder.timeout_values != 0).sum() > 0
    np.testing.assert_allclose(recorder.after["rewards"], wanted, rtol=1e-6)


def test_only_terminations_pay_and_each_for_the_state_in_which_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gail(normalize_reward=False)
    monkeypatch.setattr(PPO, "train", lambda self: None)
    model.learn(1)
    recorder, adversary = model._recorder, model.adversary
    steps = recorder.steps(adversary)
    shape = recorder.terminated.shape
    ended = recorder.terminated.reshape(-1)
    assert 0 < ended.sum() < (recorder.terminated | (recorder.timeout_values != 0)).sum()
    paid = absorbed(adversary, steps)
    assert (paid[ended] > 0).all() and len(np.unique(paid[ended])) > 1 and not paid[~ended].any()
    wanted = adversary.rewards(steps) + paid + model.gamma * recorder.timeout_values.reshape(-1)
    np.testing.assert_allclose(model.rollout_buffer.rewards, wanted.reshape(shape), rtol=1e-4)


def test_the_environments_reward_is_mixed_in_and_logged_as_it_is() -> None:
    learned, mixed = (gail(normalize_reward=False, env_reward_coef=c).learn(1) for c in (0.0, 2.0))
    assert (learned._recorder.actions == mixed._recorder.actions).all()
    difference = mixed.rollout_buffer.rewards - learned.rollout_buffer.rewards
    np.testing.assert_allclose(difference, 2.0 * mixed._recorder.env_rewards, rtol=1e-4, atol=1e-4)
    assert mixed._recorder.env_rewards.max() == 7


@pytest.mark.parametrize("unit", [1 / 500, 100.0])
def test_nothing_depends_on_the_unit_of_the_environments_reward(unit: float) -> None:
    def scaled(i: int) -> gym.Env:
        return gym.wrappers.TransformReward(TaggedEnv(i, lengths=(5, 2, 7, 3)), lambda r: unit * float(r))

    env = DummyVecEnv([lambda i=i: scaled(i) for i in range(3)])  # type: ignore[misc]
    other, plain = gail(env).learn(96), gail().learn(96)
    np.testing.assert_allclose(other._recorder.env_rewards, unit * plain._recorder.env_rewards, rtol=1e-6)
    for a, b in zip(other.policy.parameters(), plain.policy.parameters(), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_an_environment_may_have_no_reward_to_mix_in() -> None:
    env = DummyVecEnv([lambda: gym.wrappers.TransformReward(TaggedEnv(), lambda _: float("nan"))])
    assert np.isfinite(gail(env).learn(1).rollout_buffer.advantages).all()


def test_returns_that_set_the_scale_stop_at_the_ends_of_episodes() -> None:
    n_steps = 30
    model = PPO("MlpPolicy", tagged(2), **{**SMALL, "n_steps": n_steps, "batch_size": 60})
    recorder = Collected()
    model.learn(1, callback=recorder)
    ends = recorder.terminated | (recorder.timeout_values != 0)
    rewards = np.random.default_rng(0).normal(size=(n_steps, 2))
    wanted = np.zeros((n_steps, 2))
    for t, e in np.ndindex(n_steps, 2):
        for step in range(t, n_steps):
            wanted[t, e] += 0.9 ** (step - t) * rewards[step, e]
            if ends[step, e]:
                break
    np.testing.assert_allclose(discounted_returns(rewards, recorder, 0.9), wanted, rtol=1e-9)


def test_scaling_keeps_the_sign_of_rewards() -> None:
    for form, sign in (("gail", 1), ("logd", -1)):
        model = gail(reward=form, absorbing=False)
        model.learn(48)
        at_timeouts = model._recorder.timeout_values
        rewards = model.rollout_buffer.rewards - model.gamma * at_timeouts
        assert (np.sign(rewards) == sign).all(), form
        assert model.adversary.scale.divisor != 1.0


# ---------------------------------------------------------------------- what the discriminator is shown


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "VecNormalize"])
def test_steps_are_raw_and_next_observations_are_the_true_ones(normalized: bool) -> None:
    model = gail(VecNormalize(tagged()) if normalized else tagged())
    model.learn(48)
    recorder = model._recorder
    assert isinstance(recorder.observations, np.ndarray) and isinstance(recorder.next_observations, np.ndarray)
    now, after = recorder.observations * 16, recorder.next_observations * 16  # [T, E, (env, episode, step)]
    np.testing.assert_allclose(now[..., 0], np.broadcast_to(np.arange(3), now.shape[:2]), atol=1e-4)
    np.testing.assert_allclose(after[..., :2], now[..., :2], atol=1e-4)
    np.testing.assert_allclose(after[..., 2], now[..., 2] + 1, atol=1e-4)
    lengths = np.array((5, 2, 7, 3))[np.round(now[..., 1]).astype(int) % 4]
    last = np.isclose(after[..., 2], lengths, atol=1e-3)
    np.testing.assert_array_equal(recorder.terminated, last & (np.round(now[..., 1]) % 2 == 0))
    steps = recorder.steps(model.adversary)
    np.testing.assert_array_equal(steps.next_absorbing.numpy().reshape(now.shape[:2]), recorder.terminated)


def test_executed_actions_are_judged_not_the_gaussians() -> None:
    env = DummyVecEnv([lambda: gym.make("Pendulum-v1")])
    model = GAIL("MlpPolicy", env, demonstrations_of(gym.make("Pendulum-v1")), **SMALL)
    with th.no_grad():
        model.policy.log_std.fill_(2.0)
    model.learn(1)
    raw = model.rollout_buffer.actions.reshape(16, 1, 1)
    assert (np.abs(raw) > 2).any()
    np.testing.assert_array_equal(model._recorder.actions, np.clip(raw, -2, 2))


def test_the_discriminator_leaves_the_policys_random_numbers_alone() -> None:
    stock = PPO("MlpPolicy", tagged(), **SMALL)
    weights = [parameter.detach().clone() for parameter in stock.policy.parameters()]
    recorder = Collected()
    stock.learn(1, callback=recorder)
    ours = gail()
    for a, b in zip(ours.policy.parameters(), weights, strict=True):
        th.testing.assert_close(a.detach(), b, rtol=0, atol=0)
    ours.learn(1)
    np.testing.assert_array_equal(ours._recorder.actions, recorder.actions)


def test_the_discriminator_seeds_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gail()
    seeded: list[int] = []
    monkeypatch.setattr(th.cuda, "manual_seed_all", seeded.append)
    AdversarialReward(model.observation_space, model.action_space, 0.99, model.device, 0, RewardSettings())
    assert not seeded


def test_a_user_sees_the_environments_return_and_the_discriminators_health() -> None:
    model = gail(held_out=0.4)
    logged: dict[str, float] = {}

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            logged.update(self.model.logger.name_to_value)
            return True

    model.set_env(DummyVecEnv([lambda i=i: Monitor(TaggedEnv(i, lengths=(5,))) for i in range(3)]))  # type: ignore[misc]
    model.learn(200, callback=Watch(), log_interval=100)
    wanted = {"loss", "accuracy_policy", "accuracy_expert", "accuracy_held_out", "learning_rate"}
    wanted |= {"reward_mean", "reward_std", "reward_scale", "absorbing_value"}
    assert wanted <= {name.removeprefix("discriminator/") for name in logged}
    assert model.ep_info_buffer is not None
    assert {info["r"] for info in model.ep_info_buffer} == {15.0}  # 1 + 2 + 3 + 4 + 5


def test_the_penalty_of_the_settings_pulls_the_slope_to_one() -> None:
    slopes = []
    for weight in (0.0, 100.0):
        model = gail(gradient_penalty=weight, discriminator_updates=200, discriminator_learning_rate=3e-3).learn(1)
        encoded = model.discriminator.encode(model._recorder.steps(model.adversary)).detach().requires_grad_()
        logits = model.discriminator.logits(encoded, th.zeros(len(encoded)))
        (gradients,) = th.autograd.grad(logits.sum(), encoded)
        slopes.append((gradients.norm(dim=1) - 1).abs().mean().item())
    assert slopes[1] < 0.2 < 0.5 < slopes[0]


def test_the_discriminator_is_shown_an_absorbing_step_for_each_termination(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gail()
    shown: list[Steps] = []

    def update(seen: Steps, *_: Any) -> dict[str, float]:
        shown.append(seen)
        return {}

    monkeypatch.setattr(model.adversary, "update", update)
    model.learn(1)
    recorder = model._recorder
    rows = shown[0].absorbing > 0
    assert rows.sum() == recorder.terminated.sum() > 0
    assert isinstance(recorder.next_observations, np.ndarray)
    for observations in (shown[0].observations, shown[0].next_observations):
        assert isinstance(observations, th.Tensor)
        np.testing.assert_array_equal(observations[rows], recorder.next_observations[recorder.terminated])


def test_the_experts_absorbing_steps_stay_where_its_episodes_ended() -> None:
    demonstrations = demonstrations_of(TaggedEnv())
    model = gail(demonstrations=demonstrations, held_out=0.0).learn(1)
    expert = model.adversary.expert
    assert expert is not None and isinstance(expert.observations, th.Tensor)
    finals = [
        e.observations[-1] for e in demonstrations.episodes if e.terminated and isinstance(e.observations, np.ndarray)
    ]
    np.testing.assert_array_equal(expert.observations[expert.absorbing > 0], np.array(finals))
    assert len(np.unique(finals, axis=0)) == len(finals) > 1


class FarOff(TaggedEnv):
    """Whole numbers, and a final observation that no statistics expect."""

    def __init__(self, dtype: type) -> None:
        super().__init__(lengths=(5, 2, 7, 3))
        self.dtype = dtype
        self.observation_space = spaces.Box(0, 200, (3,), dtype)

    def _obs(self) -> np.ndarray:
        far = self.t == self.lengths[self.episode % len(self.lengths)]
        return np.array([200 if far else 1, self.episode % 100, self.t], dtype=self.dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_final_observations_are_raw_where_vecnormalize_clips_them(dtype: type) -> None:
    env = VecNormalize(DummyVecEnv([lambda: FarOff(dtype)]), clip_obs=1.5)
    model = gail(env, sampled(env.observation_space, env.action_space), n_steps=32).learn(64)
    recorder = model._recorder
    ended = recorder.terminated | (recorder.timeout_values != 0)
    assert ended.sum() > 5 and isinstance(recorder.next_observations, np.ndarray)
    assert (recorder.next_observations[ended][:, 0] == 200).all()
    assert (recorder.next_observations[~ended][:, 0] == 1).all()


# ---------------------------------------------------------------------- SB3 around it


def test_schedules_advance_over_the_whole_training() -> None:
    model = gail(learning_rate=lambda p: 1e-3 * p, discriminator_learning_rate=lambda p: 2e-3 * p, clip_range=0.2)
    rates: list[tuple[float, ...]] = []
    weights: list[th.Tensor] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            rates.append(
                (model.policy.optimizer.param_groups[0]["lr"], model.adversary.optimizer.param_groups[0]["lr"])
            )
            weights.append(next(model.policy.parameters()).detach().clone())

    model.learn(48 * 4, callback=Watch())
    np.testing.assert_allclose(rates[1:], [(7.5e-4, 1.5e-3), (5e-4, 1e-3), (2.5e-4, 5e-4)], rtol=1e-6)
    assert all((a != b).any() for a, b in pairwise(weights))


def test_rates_that_fall_to_zero_stay_there_when_the_last_rollout_overshoots() -> None:
    model = gail(learning_rate=lambda p: 1e-3 * p, discriminator_learning_rate=lambda p: 2e-3 * p)
    model.learn(50)  # rollouts of 48 steps: the second ends at 96
    assert model.policy.optimizer.param_groups[0]["lr"] == model.adversary.optimizer.param_groups[0]["lr"] == 0.0
    adversary = adversary_of(discriminator_learning_rate=lambda p: 2e-3 * p)  # what the callback asks
    adversary.update(separable(adversary)[0], progress_remaining=-0.5)
    assert adversary.optimizer.param_groups[0]["lr"] == 0.0


def test_callbacks_of_every_kind_are_called(tmp_path: Path) -> None:
    calls: list[str] = []

    class Counts(BaseCallback):
        def _init_callback(self) -> None:
            calls.append("init")

        def _on_step(self) -> bool:
            return True

    def function(locals_: dict[str, Any], globals_: dict[str, Any]) -> bool:
        calls.append("function")
        return True

    gail().learn(1, callback=[Counts(), Counts()])
    assert calls == ["init", "init"]
    gail().learn(1, callback=CallbackList([Counts()]))
    gail().learn(1, callback=function)
    assert calls.count("function") == 16
    stop = gail()
    stop.learn(1000, callback=lambda *_: False)
    assert stop.num_timesteps == 3
    evaluated = gail()
    watched = Monitor(TaggedEnv())
    evaluated.learn(96, callback=EvalCallback(watched, eval_freq=16, best_model_save_path=str(tmp_path), verbose=0))
    assert (tmp_path / "best_model.zip").is_file()


@pytest.mark.parametrize(
    "env",
    [IdentityEnvBox(), IdentityEnvMultiDiscrete(3), IdentityEnvMultiBinary(3)],
    ids=["Box", "MultiDiscrete", "MultiBinary"],
)
def test_every_action_space_trains(env: gym.Env) -> None:
    model = GAIL("MlpPolicy", env, demonstrations_of(env), **SMALL)
    model.learn(32)
    assert np.isfinite(model.rollout_buffer.advantages).all()


class Pictures(gym.Env):
    """Random images, alone or in a dictionary, channels last as environments give them."""

    def __init__(self, in_dict: bool) -> None:
        self.picture = spaces.Box(0, 255, (36, 36, 1), np.uint8)
        speed = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = spaces.Dict({"picture": self.picture, "speed": speed}) if in_dict else self.picture
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self.observation_space.sample(), 0.0, self.t == 5, False, {}


@pytest.mark.parametrize("in_dict", [False, True], ids=["image", "dictionary"])
@pytest.mark.parametrize("inputs", ["sa", "ss"])
def test_images_train_from_demonstrations_with_channels_last(in_dict: bool, inputs: str) -> None:
    env = Pictures(in_dict)
    policy = "MultiInputPolicy" if in_dict else "CnnPolicy"
    small = {"discriminator_batch_size": 8, "discriminator_updates": 2}
    model = GAIL(policy, env, demonstrations_of(env), inputs=inputs, **{**SMALL, **small})
    model.learn(16)
    assert model.adversary.expert is not None
    seen: Any = model.adversary.expert.observations
    assert (seen["picture"] if in_dict else seen).shape[1:] == (1, 36, 36)


@pytest.mark.parametrize(
    "keywords", [{"shaped": True, "reward": "airl"}, {"reward": "fairl"}, {"use_sde": True}], ids=str
)
def test_the_family_trains(keywords: dict[str, Any]) -> None:
    env = gym.make("Pendulum-v1")
    model = GAIL(
        "MlpPolicy",
        VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")])),
        demonstrations_of(env),
        **SMALL,
        **keywords,
    )
    model.learn(48)
    assert isinstance(model.discriminator, ShapedDiscriminator) == keywords.get("shaped", False)
    assert np.isfinite(model.rollout_buffer.advantages).all()


def test_shaped_logits_use_the_policys_own_probabilities() -> None:
    model = gail(shaped=True, reward="airl", normalize_reward=False)
    model.learn(1)
    steps = model._recorder.steps(model.adversary)
    flat = model.rollout_buffer.log_probs.reshape(3, -1).T  # PPO has flattened them, environment by environment
    np.testing.assert_array_equal(steps.log_prob.numpy(), flat.reshape(-1))
    assert (steps.log_prob < 0).all()


@pytest.mark.parametrize("squashed", [False, True])
def test_log_probabilities_of_executed_actions_are_those_of_the_rollout(squashed: bool) -> None:
    """Pendulum's executed actions are twice the squashed policy's own."""
    squash: dict[str, Any] = {"use_sde": True, "policy_kwargs": {"squash_output": True}} if squashed else {}
    env = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), training=False)
    statistics: Any = env.obs_rms  # Any: one, or a dictionary of them
    statistics.mean += 3.0  # frozen, so that the rollout and the call below see the same
    demonstrations = demonstrations_of(gym.make("Pendulum-v1"))
    model = GAIL("MlpPolicy", env, demonstrations, shaped=True, learning_rate=0.0, **SMALL, **squash)
    model.policy.log_std.data.fill_(-2.0)  # no action is clipped, and tanh can be inverted
    model.learn(1)
    steps = model._recorder.steps(model.adversary)
    assert steps.actions.abs().max() < 1.9
    th.testing.assert_close(log_prob_of(model, steps), steps.log_prob, rtol=1e-3, atol=1e-3)
    ended = steps._replace(next_absorbing=th.ones(len(steps.absorbing)))
    assert (log_prob_of(model, model.adversary.absorbing_steps(ended)) == 0).all()


def test_multibinary_demonstrations_have_log_probabilities() -> None:
    env = IdentityEnvMultiBinary(3)
    losses = behaviour_cloning(PPO("MlpPolicy", env, seed=0, device="cpu"), demonstrations_of(env), n_epochs=1)
    assert np.isfinite(losses).all()
    model = GAIL("MlpPolicy", env, demonstrations_of(env), shaped=True, **SMALL)
    model.learn(16)
    steps = model._recorder.steps(model.adversary)
    assert (steps.log_prob < 0).all()


# ---------------------------------------------------------------------- files


def test_save_load_and_resume(tmp_path: Path) -> None:
    env, demonstrations = tagged(), demonstrations_of(TaggedEnv())
    model = gail(env, demonstrations, reward="airl", inputs="s", discriminator_learning_rate=3e-3)
    model.learn(96)
    model.save(tmp_path / "model")
    loaded = GAIL.load(tmp_path / "model", device="cpu")
    observation = np.ones((3, 3), dtype=np.float32)
    np.testing.assert_array_equal(
        loaded.predict(observation, deterministic=True)[0], model.predict(observation, deterministic=True)[0]
    )
    assert loaded.reward_settings == model.reward_settings and loaded.demonstrations is None
    for name, value in model.discriminator.state_dict().items():
        th.testing.assert_close(loaded.discriminator.state_dict()[name], value, rtol=0, atol=0)
    assert loaded.adversary.scale.divisor == model.adversary.scale.divisor
    moments = [o.state_dict()["state"][0]["exp_avg"] for o in (loaded.adversary.optimizer, model.adversary.optimizer)]
    th.testing.assert_close(*moments, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"GAIL learns from demonstrations and has none"):
        loaded.learn(1)
    resumed = GAIL.load(tmp_path / "model", env=env, demonstrations=demonstrations, device="cpu")
    resumed.learn(96, reset_num_timesteps=False)
    assert resumed.num_timesteps == 192


def test_keywords_of_load_replace_the_saved_settings(tmp_path: Path) -> None:
    gail(discriminator_updates=2).save(tmp_path / "model")
    changed: dict[str, Any] = {"discriminator_updates": 3, "reward": "logd", "discriminator_learning_rate": 1e-4}
    loaded = GAIL.load(tmp_path / "model", device="cpu", **changed)
    settings = loaded.reward_settings
    assert (settings.discriminator_updates, settings.reward, loaded.adversary.settings) == (3, "logd", settings)
    assert float(loaded.adversary.form(th.zeros(1))) < 0 and loaded.adversary.learning_rate(1.0) == 1e-4
    decaying = GAIL.load(
        tmp_path / "model",
        env=tagged(),
        demonstrations=demonstrations_of(TaggedEnv()),
        device="cpu",
        weight_decay=0.5,
    )
    decaying.learn(1)
    assert [group["weight_decay"] for group in decaying.adversary.optimizer.param_groups] == [0.5]
    with pytest.raises(ValueError, match="discriminator_updates 0 must be at least 1"):
        GAIL.load(tmp_path / "model", device="cpu", discriminator_updates=0)


def test_demonstrations_are_not_in_the_zip(tmp_path: Path) -> None:
    marker = np.float32(123456.789)
    episode = Episode(np.full((4, 3), marker, dtype=np.float32), np.zeros(3, dtype=np.int64), None, True, False)
    space = TaggedEnv()
    model = gail(demonstrations=Demonstrations((episode,), space.observation_space, space.action_space))
    model.learn(48)
    model.save(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert not any(marker.tobytes() in archive.read(name) for name in archive.namelist())
        assert b"demonstrations" not in archive.read("data")


def test_the_same_seed_gives_the_same_run() -> None:
    one = gail().learn(150)
    other = gail().learn(150)
    for a, b in zip(one.discriminator.parameters(), other.discriminator.parameters(), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_without_a_seed_runs_differ() -> None:
    one, other = (next(gail(seed=None).discriminator.parameters()) for _ in range(2))
    assert (one != other).any()


# ---------------------------------------------------------------------- around GAIL


@pytest.mark.parametrize("algorithm", [A2C, TRPO, RecurrentPPO, PPO])
def test_other_generators_learn_through_the_callback(algorithm: Callable[..., OnPolicyAlgorithm]) -> None:
    policy = "MlpLstmPolicy" if algorithm is RecurrentPPO else "MlpPolicy"
    model = algorithm(policy, tagged(4), n_steps=32, seed=0, device="cpu")
    adversarial = AdversarialCallback(demonstrations_of(TaggedEnv()), RewardSettings(normalize_reward=False), seed=0)
    model.learn(256, callback=adversarial)
    assert adversarial.adversary is not None
    adversary = adversarial.adversary
    steps = adversarial.steps(adversary)
    shape = adversarial.terminated.shape
    wanted = (adversary.rewards(steps) + absorbed(adversary, steps)).reshape(shape)
    wanted += model.gamma * adversarial.timeout_values
    np.testing.assert_allclose(model.rollout_buffer.rewards.reshape(shape), wanted, rtol=1e-4, atol=1e-4)


def test_maskable_ppo_learns_through_the_callback() -> None:
    env = DummyVecEnv([lambda: InvalidActionEnvDiscrete(dim=6, n_invalid_actions=2)])
    model = MaskablePPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu")
    demonstrations = sampled(env.observation_space, env.action_space)
    adversarial = AdversarialCallback(demonstrations, seed=0)
    model.learn(32, callback=adversarial)
    assert adversarial.adversary is not None and adversarial.actions.max() < 6


def test_a_rollout_of_one_step_is_not_divided_by_nothing() -> None:
    model = A2C("MlpPolicy", tagged(1), n_steps=1, seed=0, device="cpu")
    largest: list[float] = []

    class Watch(AdversarialCallback):
        def _on_rollout_end(self) -> None:
            super()._on_rollout_end()
            largest.append(float(np.abs(self.model.rollout_buffer.rewards).max()))

    model.learn(20, callback=Watch(sampled(TaggedEnv().observation_space, spaces.Discrete(3)), seed=0))
    assert 0 < max(largest) < 50


def adversary_of(**settings: Any) -> AdversarialReward:
    space = TaggedEnv().observation_space
    return AdversarialReward(space, spaces.Discrete(3), 0.9, th.device("cpu"), 0, RewardSettings(**settings))


def separable(adversary: AdversarialReward) -> tuple[Steps, Steps]:
    """:return: steps of the policy at -1 and of the expert at +1"""
    no, actions = np.zeros(50, dtype=bool), np.zeros(50, dtype=np.int64)
    policy, expert = (np.full((50, 3), value, dtype=np.float32) for value in (-1, 1))
    adversary.expert = Steps.of(expert, actions, expert, no, no, adversary.device)
    return Steps.of(policy, actions, policy, no, no, adversary.device), adversary.expert


def test_the_experts_logits_become_the_higher_ones() -> None:
    adversary = adversary_of()
    policy, expert = separable(adversary)
    metrics = [adversary.update(policy, 1.0) for _ in range(10)][-1]
    assert adversary.logits(policy).max() < -0.5 and adversary.logits(expert).min() > 0.5
    assert metrics["accuracy_policy"] == metrics["accuracy_expert"] == 1.0


def test_statistics_are_of_both_sides_in_equal_numbers() -> None:
    adversary = adversary_of()
    policy, expert = separable(adversary)
    ends = th.ones(50)
    adversary.expert = expert.join(expert)._replace(absorbing=th.cat([ends, 0 * ends]))
    both = policy.join(policy)._replace(absorbing=th.cat([ends, 0 * ends]))
    adversary.update(both, 1.0)
    discriminator = adversary.discriminator
    for normalizers in (discriminator.normalizers, discriminator.final_normalizers):
        (normalizer,) = normalizers.values()
        assert isinstance(normalizer, RunningNormalizer)
        assert normalizer.mean.abs().max() < 0.3 and normalizer.variance.min() > 0.9, "at -1 and +1"


def test_only_steps_of_the_living_enter_an_absorbing_state() -> None:
    adversary = adversary_of()
    policy, _ = separable(adversary)
    ended = policy._replace(next_absorbing=th.ones(50))
    absorbing = adversary.absorbing_steps(ended)
    assert absorbing.n_steps == 50 and adversary.absorbing_steps(absorbing).n_steps == 0
    assert adversary.values_of_absorbing(ended).all() and not adversary.values_of_absorbing(absorbing).any()


def test_the_scale_is_the_deviation_of_all_returns_so_far() -> None:
    """It begins as if two returns, of -1 and +1, had half the weight each."""
    rng = np.random.default_rng(0)
    scale, seen = ReturnScale(), []
    for mean in (5.0, -3.0, 100.0):
        seen.append(rng.normal(mean, 2.0, (16, 3)))
        scale.update(seen[-1])
        values = np.concatenate([np.array([-1.0, 1.0]), *(x.reshape(-1) for x in seen)])
        weights = np.array([0.5, 0.5] + [1.0] * (len(values) - 2))
        mean_of_all = np.average(values, weights=weights)
        assert float(scale.mean) == pytest.approx(mean_of_all)
        assert scale.divisor == pytest.approx(np.sqrt(np.average((values - mean_of_all) ** 2, weights=weights)))


def test_the_entropy_bonus_makes_the_discriminator_less_sure() -> None:
    sure = []
    for coefficient in (0.0, 1.0):
        adversary = adversary_of(discriminator_entropy_coef=coefficient, gradient_penalty=0.0)
        policy, _ = separable(adversary)
        for _ in range(10):
            adversary.update(policy, 1.0)
        sure.append(float(adversary.logits(policy).abs().mean()))
    assert sure[1] < 0.7 * sure[0]


def test_the_penalty_is_measured_between_policy_and_expert(monkeypatch: pytest.MonkeyPatch) -> None:
    adversary = adversary_of()
    seen: list[th.Tensor] = []

    def logits(encoded: th.Tensor, log_prob: th.Tensor) -> th.Tensor:
        seen.append(encoded.detach())
        return encoded.sum(dim=1)

    monkeypatch.setattr(adversary.discriminator, "logits", logits)
    adversary._gradient_penalty(th.full((200, 7), 2.0), th.full((200, 7), 3.0))
    (between,) = seen
    assert 2 < between.min() < 2.1 and 2.9 < between.max() < 3
    assert (between == between[:, :1]).all(), "on the straight line from one to the other"


def test_the_callback_refuses_what_it_cannot_relabel() -> None:
    with pytest.raises(ValueError, match="DQN has not; DAC is for a replay"):
        DQN("MlpPolicy", TaggedEnv()).learn(1, callback=AdversarialCallback(demonstrations_of(TaggedEnv())))
    recurrent = RecurrentPPO("MlpLstmPolicy", TaggedEnv(), n_steps=16, device="cpu")
    with pytest.raises(ValueError, match="a recurrent policy has not"):
        recurrent.learn(1, callback=AdversarialCallback(demonstrations_of(TaggedEnv()), RewardSettings(shaped=True)))


def test_masks_of_the_experts_steps_are_not_known() -> None:
    env = DummyVecEnv([lambda: InvalidActionEnvDiscrete(dim=6, n_invalid_actions=2)])
    model = MaskablePPO("MlpPolicy", env, n_steps=16, batch_size=16, device="cpu")
    adversarial = AdversarialCallback(sampled(env.observation_space, env.action_space), RewardSettings(shaped=True))
    with pytest.raises(ValueError, match="shaped=True needs the masks of the expert's steps"):
        model.learn(1, callback=adversarial)


def test_the_callback_does_not_go_from_one_task_to_another() -> None:
    adversarial = AdversarialCallback(demonstrations_of(TaggedEnv()), seed=0)
    PPO("MlpPolicy", tagged(), **SMALL).learn(1, callback=adversarial)
    with pytest.raises(ValueError, match=r"demonstrations: actions of Discrete\(3\), the policy has Discrete\(2\)"):
        PPO("MlpPolicy", "CartPole-v1", **SMALL).learn(1, callback=adversarial)


@pytest.mark.parametrize("keywords", [{}, {"inputs": "ss"}, {"shaped": True}], ids=str)
def test_the_learned_reward_goes_with_a_new_policy(keywords: dict[str, Any]) -> None:
    shaped = "shaped" in keywords
    model = gail(reward="airl", **keywords)
    model.learn(96)
    env = LearnedReward(tagged(), model.adversary)
    observations = env.reset()
    assert isinstance(observations, np.ndarray)
    adversary = model.adversary
    ended = 0
    for _ in range(12):
        actions = np.array([0, 1, 2])
        before = observations
        observations, rewards, dones, infos = env.step(actions)
        assert isinstance(observations, np.ndarray) and isinstance(before, np.ndarray)
        final = np.array(
            [i["terminal_observation"] if d else o for i, d, o in zip(infos, dones, observations, strict=True)]
        )
        ends = np.array([d and not i["TimeLimit.truncated"] for i, d in zip(infos, dones, strict=True)])
        steps = Steps.of(before, actions, final, np.zeros(3, dtype=bool), ends, adversary.device)
        one = np.ones(3, dtype=bool)
        for_ever = Steps.of(final, np.zeros(3, dtype=np.int64), final, one, one, adversary.device)
        if shaped:
            assert isinstance(adversary.discriminator, ShapedDiscriminator)
            wanted, after = (adversary.discriminator.state_reward(x).detach().numpy() for x in (steps, for_ever))
        else:
            wanted, after = adversary.logits(steps).numpy(), adversary.logits(for_ever).numpy()
        wanted = (wanted + ends * 99.0 * after) / adversary.scale.divisor
        np.testing.assert_allclose(rewards, wanted, rtol=1e-4, atol=1e-5)
        assert [info["env_reward"] for info in infos] == (final[:, 2] * 16).tolist()
        ended += int(ends.sum())
    assert ended > 0
    PPO("MlpPolicy", VecNormalize(env), n_steps=16, batch_size=16, device="cpu").learn(48)


def test_the_learned_reward_wants_raw_observations_of_the_same_task() -> None:
    model = gail()
    with pytest.raises(ValueError, match=r"VecNormalize\(LearnedReward\(env\)"):
        LearnedReward(VecNormalize(tagged()), model.adversary)
    with pytest.raises(ValueError, match="action_space Box"):
        LearnedReward(DummyVecEnv([BoxActions]), model.adversary)


class BoxActions(TaggedEnv):
    """The same observations, other actions."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "VecNormalize"])
def test_behaviour_cloning_fits_the_demonstrations(normalized: bool) -> None:
    env: VecEnv = DummyVecEnv([lambda: gym.make("CartPole-v1")])
    env = VecNormalize(env, norm_reward=False) if normalized else env
    demonstrations = upright(n_episodes=5)
    model = PPO("MlpPolicy", env, seed=0, device="cpu")
    losses = behaviour_cloning(model, demonstrations, n_epochs=10)
    assert losses[-1] < 0.5 * losses[0]
    steps = demonstrations.transitions(absorbing=False)
    observations = env.normalize_obs(steps.observations) if isinstance(env, VecNormalize) else steps.observations
    actions, _ = model.predict(observations, deterministic=True)  # type: ignore[arg-type]
    assert (actions == steps.actions).mean() > 0.8  # of a rule that switches at every step


def test_the_entropy_bonus_keeps_a_clone_from_being_sure() -> None:
    demonstrations = upright(n_episodes=1)
    observations = th.as_tensor(demonstrations.transitions(absorbing=False).observations)
    entropies = []
    for ent_coef in (0.0, 10.0):
        model = PPO("MlpPolicy", gym.make("CartPole-v1"), seed=0, device="cpu")
        behaviour_cloning(model, demonstrations, n_epochs=10, ent_coef=ent_coef)
        with th.no_grad():
            entropy = model.policy.get_distribution(observations).entropy()
        assert entropy is not None
        entropies.append(float(entropy.mean()))
    assert entropies[1] > 0.65 > 0.5 > entropies[0]


def test_gail_starts_from_behaviour_cloning_once() -> None:
    model = GAIL("MlpPolicy", gym.make("CartPole-v1"), upright(5), bc_epochs=10, learning_rate=0.0, **SMALL)
    untrained = next(model.policy.parameters()).detach().clone()
    model.learn(16)
    cloned = next(model.policy.parameters()).detach().clone()
    assert (untrained != cloned).any()
    model.learn(16, reset_num_timesteps=False)
    th.testing.assert_close(next(model.policy.parameters()).detach(), cloned, rtol=0, atol=0)


# ---------------------------------------------------------------------- ends of the expert's and the policy's episodes


def cut(n_steps: tuple[int, ...], env: gym.Env, **changes: Any) -> Demonstrations:
    """:return: demonstrations none of which terminates"""
    episodes = sampled(env.observation_space, env.action_space, len(n_steps), max(n_steps)).episodes
    ends: dict[str, Any] = {"terminated": False, "truncated": True, **changes}
    short = [
        replace(e, observations=e.observations[: n + 1], actions=e.actions[:n], rewards=None, **ends)  # type: ignore[index]
        for e, n in zip(episodes, n_steps, strict=True)
    ]
    return Demonstrations(tuple(short), env.observation_space, env.action_space)


@pytest.mark.parametrize("unknown", [False, True])
def test_learn_warns_once_where_the_policys_episodes_end_and_the_experts_never(unknown: bool) -> None:
    changes: dict[str, Any] = {"terminated": None, "truncated": None} if unknown else {}
    demonstrations = cut((4, 9, 6), TaggedEnv(), **changes)
    with pytest.warns(UserWarning, match="none of the 3 demonstrations terminates") as caught:
        gail(demonstrations=demonstrations).learn(96)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="none of the 3 demonstrations terminates"):
        PPO("MlpPolicy", tagged(), **SMALL).learn(1, callback=AdversarialCallback(demonstrations, seed=0))
    gail(demonstrations=demonstrations, absorbing=False).learn(1)
    never = DummyVecEnv([lambda: TaggedEnv(truncates=True)])
    gail(never, demonstrations).learn(1)


def test_an_expert_that_lasts_as_long_as_the_task_allows_never_ends() -> None:
    env = gym.make("CartPole-v1", max_episode_steps=40)
    model = gail(DummyVecEnv([lambda: env]), cut((40, 40, 40), env), n_steps=64).learn(1)
    assert model._recorder.terminated.any()
    with pytest.warns(UserWarning, match="none of the 2 demonstrations terminates"):
        gail(DummyVecEnv([lambda: gym.make("CartPole-v1")]), cut((40, 40), env), n_steps=64).learn(1)


class OtherProcess(DummyVecEnv):
    """As SubprocVecEnv: what is asked for is pickled, and a worker that cannot do so dies."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        answer: list[Any] = pickle.loads(pickle.dumps(super().get_attr(attr_name, indices)))
        return answer


def test_the_tasks_limit_is_asked_of_other_processes_without_what_they_cannot_send() -> None:
    env = gym.make("CartPole-v1", max_episode_steps=40)
    assert env.spec is not None
    env.spec.kwargs["reward"] = lambda: None  # as of gym.make(..., reward=lambda: None)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        OtherProcess([lambda: env]).get_attr("spec")
    gail(OtherProcess([lambda: env]), cut((40, 40), env), n_steps=64).learn(1)
    with pytest.warns(UserWarning, match="none of the 2 demonstrations terminates"):
        gail(OtherProcess([lambda: env]), cut((40, 39), env), n_steps=64).learn(1)


# ---------------------------------------------------------------------- bad input


def test_discrete_values_must_begin_at_0() -> None:
    """SB3's PPO hands actions from 0 on to the environment, and cannot encode the observations."""
    plain = TaggedEnv()
    shifted = gym.wrappers.TransformAction(plain, lambda a: a - 2, spaces.Discrete(3, start=2))
    many = gym.wrappers.TransformAction(plain, lambda a: a[0] - 1, spaces.MultiDiscrete([3], start=[1]))
    for env, space in ((shifted, r"Discrete\(3, start=2\)"), (many, r"MultiDiscrete\(\[3\], start=\[1\]\)")):
        demonstrations = demonstrations_of(env)
        for bc_epochs in (0, 1):
            with pytest.raises(ValueError, match=f"action space {space} must begin at 0"):
                GAIL("MlpPolicy", env, demonstrations, bc_epochs=bc_epochs, **SMALL)
        model = PPO("MlpPolicy", env, **SMALL)
        with pytest.raises(ValueError, match=r"action space .* must begin at 0"):
            model.learn(1, callback=AdversarialCallback(demonstrations))
        with pytest.raises(ValueError, match=r"action space .* must begin at 0"):
            behaviour_cloning(model, demonstrations, 1)


@pytest.mark.parametrize("part", [spaces.Discrete(5, start=-2), spaces.MultiDiscrete([3, 4], start=[1, -1])], ids=str)
@pytest.mark.parametrize("in_dict", [False, True])
def test_discrete_observations_must_begin_at_0(part: spaces.Space[Any], in_dict: bool) -> None:
    space: spaces.Space[Any] = spaces.Dict({"x": part, "y": spaces.Discrete(2)}) if in_dict else part
    env = gym.wrappers.TransformObservation(TaggedEnv(), lambda _: space.sample(), space)
    policy = "MultiInputPolicy" if in_dict else "MlpPolicy"
    with pytest.raises(ValueError, match=r"observation space .* must begin at 0"):
        GAIL(policy, env, demonstrations_of(env), **SMALL)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"reward": "wgan"}, "reward 'wgan' must be one of"),
        ({"inputs": "a"}, "inputs 'a' must be one of"),
        ({"gamma": 1.0}, "gamma 1.0 must be below 1 with absorbing states"),
        ({"label_smoothing": 0.5}, r"label_smoothing 0.5 must be in \[0, 0.5\)"),
        ({"held_out": 1.0}, r"held_out 1.0 must be in \[0, 1\)"),
        ({"discriminator_updates": 0}, "discriminator_updates 0 must be at least 1"),
        ({"discriminator_batch_size": 0}, "discriminator_batch_size 0 must be at least 1"),
        ({"gradient_penalty": -1.0}, "gradient_penalty -1.0 must be a number, and not negative"),
        ({"weight_decay": float("nan")}, "weight_decay nan must be a number"),
        ({"env_reward_coef": float("nan")}, "env_reward_coef nan must be a finite number"),
        ({"bc_epochs": -1}, "bc_epochs -1 must not be negative"),
        ({"discriminator_kwargs": {"dropout": 1.5}}, "dropout 1.5"),
    ],
    ids=str,
)
def test_impossible_settings_are_named_in_the_constructor(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gail(**keywords)


def test_a_wrapper_around_vecnormalize_must_not_change_observations() -> None:
    env = VecFrameStack(VecNormalize(tagged()), 2)
    demonstrations = sampled(env.observation_space, env.action_space)
    with pytest.raises(ValueError, match="make VecNormalize the outer one"):
        GAIL("MlpPolicy", env, demonstrations, **SMALL).learn(1)
    outer = VecNormalize(VecFrameStack(tagged(), 2))
    GAIL("MlpPolicy", outer, demonstrations, **SMALL).learn(1)


def test_around_a_vecnormalize_that_leaves_observations_alone_wrappers_may_change_them() -> None:
    """As zoos normalise the rewards of image tasks: SB3 itself puts VecTransposeImage there."""
    env = VecFrameStack(VecNormalize(tagged(), norm_obs=False), 2)
    model = GAIL("MlpPolicy", env, sampled(env.observation_space, env.action_space), **SMALL).learn(1)
    recorder = model._recorder
    observations, finals = recorder.observations, recorder.next_observations
    assert isinstance(observations, np.ndarray) and isinstance(finals, np.ndarray)
    assert recorder.terminated.any()
    # The newer frame is one step on, and the older one is the frame before.
    np.testing.assert_array_equal(finals[..., 5], observations[..., 5] + np.float32(1 / 16))
    np.testing.assert_array_equal(finals[..., :3], observations[..., 3:])


@pytest.mark.parametrize(("n_episodes", "n_unseen"), [(1, 0), (4, 0), (10, 1), (25, 2)])
def test_a_tenth_is_held_out_where_that_is_an_episode(n_episodes: int, n_unseen: int) -> None:
    model = gail(demonstrations=sampled(TaggedEnv().observation_space, spaces.Discrete(3), n_episodes, n_steps=4))
    model.learn(1)
    adversary = model.adversary
    assert adversary.expert is not None
    assert (adversary.unseen is None) == (n_unseen == 0)
    assert adversary.unseen is None or len(adversary.unseen.absorbing) == 5 * n_unseen
    assert len(adversary.expert.absorbing) == 5 * (n_episodes - n_unseen)


def test_demonstrations_that_keep_nothing_are_named() -> None:
    arrays = np.zeros((4, 3), dtype=np.float32), np.zeros(3, dtype=np.int64)
    only_absorbing = Episode(*arrays, None, True, False, kept=np.array([3]))
    space = TaggedEnv()
    demonstrations = Demonstrations((only_absorbing,), space.observation_space, space.action_space)
    message = "of 3 steps in 1 episodes none is kept but absorbing ones"
    with pytest.raises(ValueError, match=message):
        gail(demonstrations=demonstrations, absorbing=False).learn(1)
    with pytest.raises(ValueError, match=message):
        behaviour_cloning(PPO("MlpPolicy", tagged(), device="cpu"), demonstrations, n_epochs=1)


def test_runs_are_named_after_the_algorithm(tmp_path: Path) -> None:
    gail(tensorboard_log=str(tmp_path)).learn(1)
    assert [path.name for path in tmp_path.iterdir()] == ["GAIL_1"]


def test_demonstrations_of_another_task_are_named_in_the_constructor(tmp_path: Path) -> None:
    cartpole = demonstrations_of(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match=r"demonstrations: actions of Discrete\(2\), the policy has Discrete\(3\)"):
        gail(demonstrations=cartpole)
    other = demonstrations_of(TaggedEnv())
    wide = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    env = gym.wrappers.TransformObservation(TaggedEnv(), lambda o: np.append(o, o[:1]), wide)
    with pytest.raises(ValueError, match=r"demonstrations: observations of Box.*\(3,\).*the policy has Box.*\(4,\)"):
        GAIL("MlpPolicy", env, other, **SMALL)
    five = gym.wrappers.TransformObservation(TaggedEnv(), lambda _: np.int64(0), spaces.Discrete(5))
    for n in (4, 6):  # the smaller one could be encoded: other states would look the same
        with pytest.raises(ValueError, match=rf"of Discrete\({n}\), the policy has Discrete\(5\)"):
            GAIL("MlpPolicy", five, sampled(spaces.Discrete(n), five.action_space), **SMALL)
    with pytest.raises((ValueError, OSError), match=r"nothing\.npz"):
        GAIL("MlpPolicy", TaggedEnv(), tmp_path / "nothing.npz", **SMALL)
