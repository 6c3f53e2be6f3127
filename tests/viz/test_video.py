"""Episodes and videos: nothing is shifted by a step, nothing is black or half written, training does not notice."""

from __future__ import annotations

import pathlib
import re
import subprocess
from typing import Any

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch as th
from gymnasium import spaces
from PIL import Image
from sb3_contrib import QRDQN, TQC, RecurrentPPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize

from sb3_ext import R2D2, TD3, Rainbow, RainbowR
from sb3_ext.viz.callback import RecordEpisodeCallback
from sb3_ext.viz.insight import Mind, mind_of
from sb3_ext.viz.trace import watch
from sb3_ext.viz.video import write_video

LENGTH = 7
GREY = 30  # of a frame: this times the step


class FilmedEnv(gym.Env):
    """The observation is the step, the picture is as grey as the step is late, the reward is the step reached."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012 - gymnasium declares it so
    observation_space = spaces.Box(0, 100, (2,), np.float32)

    def __init__(
        self, render_mode: str | None = "rgb_array", continuous: bool = False, truncates: bool = False
    ) -> None:
        self.render_mode = render_mode
        self.truncates = truncates
        self.action_space: spaces.Space[Any] = spaces.Box(-2, 6, (3,)) if continuous else spaces.Discrete(3)
        self.now = self.n_episodes = 0
        self.screen = np.zeros((6, 9, 3), dtype=np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.now = 0
        self.n_episodes += 1
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.now += 1
        is_over = self.now == LENGTH
        return self._observation(), float(self.now), is_over and not self.truncates, is_over and self.truncates, {}

    def render(self) -> np.ndarray:
        self.screen[:] = GREY * (self.now + 1)  # into the same memory, as renderers do
        return self.screen

    def _observation(self) -> np.ndarray:
        return np.array([self.now, self.n_episodes], dtype=np.float32)


def q_model(cls: Any = R2D2, policy: str = "MlpLstmPolicy", **kwargs: Any) -> Any:
    return cls(policy, FilmedEnv(), seed=0, device="cpu", **kwargs)


# ---------------------------------------------------------------------- the episode


@pytest.mark.parametrize("truncates", [False, True])
def test_frames_observations_and_rewards_stand_side_by_side(truncates: bool) -> None:
    trace = watch(q_model(), FilmedEnv(truncates=truncates), seed=3)
    assert len(trace) == LENGTH and trace.frames.shape == (LENGTH + 1, 6, 9, 3)
    np.testing.assert_array_equal(trace.frames[:, 0, 0, 0], GREY * np.arange(1, LENGTH + 2))
    assert isinstance(trace.observations, np.ndarray)
    np.testing.assert_array_equal(trace.observations[:, 0], np.arange(LENGTH + 1))
    assert len(set(trace.observations[:, 1])) == 1, "the last observation is of this episode, not of the next"
    np.testing.assert_array_equal(trace.rewards, np.arange(1, LENGTH + 1))
    assert trace.episode_return == trace.rewards.sum() and trace.fps == 12
    assert (trace.terminated, trace.truncated) == (not truncates, truncates)


def test_an_episode_cut_short_is_neither_terminated_nor_truncated() -> None:
    trace = watch(q_model(), FilmedEnv(), max_steps=4)
    assert len(trace) == 4 and not trace.terminated and not trace.truncated
    np.testing.assert_array_equal(trace.frames[:, 0, 0, 0], GREY * np.arange(1, 6))


def test_a_second_episode_and_the_environment_afterwards() -> None:
    env = DummyVecEnv([lambda: Monitor(FilmedEnv())])
    inner = env.envs[0]
    first, second = watch(q_model(), env), watch(q_model(), env, max_steps=2)
    assert env.envs[0] is inner, "the filming wrapper is gone"
    assert isinstance(first.observations, np.ndarray) and isinstance(second.observations, np.ndarray)
    assert first.observations[0, 1] < second.observations[0, 1] and second.observations[0, 0] == 0


class LosesLives(gym.Wrapper):
    """Ends an episode for the learner at every third step, and goes on with the same game, as Atari's wrapper does."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.is_over = True

    def reset(self, **kwargs: Any) -> Any:
        if self.is_over:
            return self.env.reset(**kwargs)
        return self.env.unwrapped._observation(), {}  # type: ignore[attr-defined]

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.is_over = terminated or truncated
        is_life = self.env.unwrapped.now % 3 == 0  # type: ignore[attr-defined]
        return observation, np.sign(float(reward)), terminated or is_life, truncated, info


def test_a_lost_life_is_no_end_and_the_return_is_the_game_s() -> None:
    trace = watch(q_model(), DummyVecEnv([lambda: LosesLives(Monitor(FilmedEnv()))]))
    assert len(trace) == LENGTH and trace.terminated
    assert trace.rewards.sum() == LENGTH and trace.episode_return == sum(range(1, LENGTH + 1))
    np.testing.assert_array_equal(trace.frames[:, 0, 0, 0], GREY * np.arange(1, LENGTH + 2))


def test_actions_are_those_of_predict() -> None:
    model = q_model(RainbowR)
    trace = watch(model, FilmedEnv())
    state, starts = None, np.ones(1, dtype=bool)
    for t in range(LENGTH):
        assert isinstance(trace.observations, np.ndarray)
        action, state = model.predict(trace.observations[None, t], state, starts, deterministic=True)
        assert action[0] == trace.actions[t]
        starts[:] = False


def test_continuous_actions_are_clipped_as_they_are_executed() -> None:
    env = FilmedEnv(continuous=True)
    model = sb3.PPO("MlpPolicy", env, device="cpu", policy_kwargs={"log_std_init": 5.0})
    trace = watch(model, env, deterministic=False)
    assert trace.actions.min() == -2 and trace.actions.max() == 6


def test_shrunk_frames() -> None:
    trace = watch(q_model(), FilmedEnv(), max_side=3)
    assert trace.frames.shape == (LENGTH + 1, 2, 3, 3)
    np.testing.assert_array_equal(trace.frames[:, 0, 0, 0], GREY * np.arange(1, LENGTH + 2))
    assert watch(q_model(), FilmedEnv(render_mode=None), film=False).frames.size == 0


def test_wrong_environments_are_named() -> None:
    model = q_model()
    with pytest.raises(ValueError, match=r"render_mode None cannot be filmed.*rgb_array"):
        watch(model, FilmedEnv(render_mode=None))
    with pytest.raises(ValueError, match="2 environments in a DummyVecEnv"):
        watch(model, DummyVecEnv([FilmedEnv, FilmedEnv]))
    env = SubprocVecEnv([FilmedEnv], start_method="fork")
    try:
        with pytest.raises(ValueError, match="in a SubprocVecEnv"):
            watch(model, env)
    finally:
        env.close()
    with pytest.raises(ValueError, match="max_steps 0 must be >= 1"):
        watch(model, FilmedEnv(), max_steps=0)
    with pytest.raises(ValueError, match="max_side 0 must be >= 1"):
        watch(model, FilmedEnv(), max_side=0)


class Undrawable(FilmedEnv):
    def render(self) -> np.ndarray:
        raise AttributeError("'NoneType' object has no attribute 'glGetError'")  # as MuJoCo without its library


def test_a_renderer_that_fails_is_named_with_what_to_set() -> None:
    with pytest.raises(ValueError, match=r"cannot be drawn here \(AttributeError: .*glGetError.*MUJOCO_GL=egl"):
        watch(q_model(), Undrawable())


# ---------------------------------------------------------------------- what the agent thinks


def test_q_values_of_a_recurrent_agent_are_those_of_one_unroll_in_units_of_the_reward() -> None:
    model = q_model(R2D2, value_rescaling=True)
    trace = watch(model, FilmedEnv())
    net = model.policy.q_net
    with th.no_grad():
        obs = th.as_tensor(trace.observations)[None, :LENGTH]
        out, _ = net.unroll(obs, net.initial_state(1))
        expected = model.transform.invert(net.head.q_values(out))[0].numpy()
    assert trace.q_values is not None and trace.values is not None and trace.hidden is not None
    np.testing.assert_allclose(trace.q_values, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(trace.values, trace.q_values.max(axis=1))
    np.testing.assert_array_equal(trace.actions, trace.q_values.argmax(axis=1))
    assert trace.hidden.shape == (LENGTH, net.core.hidden_size)
    assert np.ptp(trace.hidden, axis=0).max() > 0


def test_values_of_recurrent_ppo_are_those_of_its_own_evaluation_of_the_sequence() -> None:
    """`predict` hands out the actor's state alone; the critic's has to be carried along too."""
    model = RecurrentPPO("MlpLstmPolicy", FilmedEnv(), device="cpu", seed=0)
    trace = watch(model, FilmedEnv())
    policy: Any = model.policy
    n_layers, _, n_hidden = policy.lstm_hidden_state_shape
    zeros = th.zeros(n_layers, 1, n_hidden)
    states = type(model._last_lstm_states)((zeros, zeros), (zeros, zeros))  # type: ignore[misc]
    starts = th.zeros(LENGTH)
    starts[0] = 1
    assert isinstance(trace.observations, np.ndarray) and trace.values is not None and trace.probabilities is not None
    with th.no_grad():
        obs, actions = th.as_tensor(trace.observations[:LENGTH]), th.as_tensor(trace.actions)
        values, log_probs, _ = policy.evaluate_actions(obs, actions, states, starts)
    np.testing.assert_allclose(trace.values, values[:, 0].numpy(), rtol=1e-4)
    of_taken = np.take_along_axis(trace.probabilities, trace.actions[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(np.log(of_taken), log_probs.numpy(), rtol=1e-4)
    np.testing.assert_allclose(trace.probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("cls", [Rainbow, sb3.DQN, QRDQN])
def test_q_values_of_feed_forward_agents(cls: Any) -> None:
    model = cls("MlpPolicy", FilmedEnv(), device="cpu", seed=0)
    trace = watch(model, FilmedEnv())
    assert trace.q_values is not None and trace.q_values.shape == (LENGTH, 3) and trace.probabilities is None
    np.testing.assert_array_equal(trace.actions, trace.q_values.argmax(axis=1))


@pytest.mark.parametrize("cls", [TD3, sb3.DDPG, sb3.SAC, TQC])
def test_actor_critics_with_q_functions(cls: Any) -> None:
    env = FilmedEnv(continuous=True)
    model = cls("MlpPolicy", env, device="cpu", seed=0)
    trace = watch(model, env)
    assert trace.means is not None and trace.values is not None
    np.testing.assert_allclose(trace.means, trace.actions, rtol=1e-5, atol=1e-5)
    obs = th.as_tensor(trace.observations)[:LENGTH]
    with th.no_grad():
        q = model.critic(obs, th.as_tensor(model.policy.scale_action(trace.actions)))
        q = q.mean(dim=(1, 2)) if isinstance(q, th.Tensor) else th.cat(list(q), dim=1).mean(dim=1)
    np.testing.assert_allclose(trace.values, q.numpy(), rtol=1e-4, atol=1e-5)


def test_ppo_on_continuous_actions() -> None:
    env = FilmedEnv(continuous=True)
    trace = watch(sb3.PPO("MlpPolicy", env, device="cpu", policy_kwargs={"log_std_init": -1.0}), env)
    assert trace.means is not None and trace.stds is not None and trace.probabilities is None
    np.testing.assert_allclose(trace.stds, np.exp(-1), rtol=1e-6)
    np.testing.assert_allclose(trace.means, trace.actions, rtol=1e-6)


def test_normalised_observations_and_original_rewards() -> None:
    env: Any = VecNormalize(DummyVecEnv([FilmedEnv]), norm_reward=True)
    model = Rainbow("MlpPolicy", env, device="cpu", seed=0)
    env.obs_rms.mean[:] = 50.0
    env.obs_rms.var[:] = 4.0
    env.clip_obs = 1000.0
    count = env.obs_rms.count
    trace = watch(model, env)
    assert isinstance(trace.observations, np.ndarray) and trace.q_values is not None
    np.testing.assert_allclose(trace.observations[:, 0], (np.arange(LENGTH + 1) - 50) / 2, rtol=1e-5)
    np.testing.assert_array_equal(trace.rewards, np.arange(1, LENGTH + 1))
    with th.no_grad():
        q_values = model.q_net(th.as_tensor(trace.observations[:LENGTH]))
    np.testing.assert_allclose(trace.q_values, model.transform.invert(q_values).numpy(), rtol=1e-4, atol=1e-6)
    assert env.obs_rms.count == count, "statistics do not move"


def test_stacked_frames_pass_through() -> None:
    env = VecFrameStack(DummyVecEnv([FilmedEnv]), 3)
    trace = watch(sb3.DQN("MlpPolicy", env, device="cpu"), env)
    assert isinstance(trace.observations, np.ndarray) and trace.observations.shape == (LENGTH + 1, 6)
    np.testing.assert_array_equal(trace.observations[-1, 4], LENGTH)


def test_frames_stacked_on_top_of_normalised_ones() -> None:
    """As rl-zoo3 stacks them."""
    inner: Any = VecNormalize(DummyVecEnv([FilmedEnv]), training=False)
    inner.obs_rms.mean[:] = 2.0
    env = VecFrameStack(inner, 2)
    trace = watch(sb3.DQN("MlpPolicy", env, device="cpu"), env)
    assert isinstance(trace.observations, np.ndarray) and trace.observations.shape == (LENGTH + 1, 4)
    np.testing.assert_allclose(trace.observations[:, 2], np.arange(LENGTH + 1) - 2.0, rtol=1e-5)
    np.testing.assert_array_equal(trace.rewards, np.arange(1, LENGTH + 1))


def test_of_a_model_of_another_family_only_the_actions_are_known() -> None:
    from sb3_contrib import ARS

    model = ARS("LinearPolicy", FilmedEnv(), device="cpu")
    trace = watch(model, FilmedEnv())
    assert trace.values is None and trace.q_values is None and len(trace.actions) == LENGTH
    assert type(mind_of(model)) is Mind


# ---------------------------------------------------------------------- videos


def colours(n: int = 9, height: int = 33, width: int = 47) -> np.ndarray:
    """Frames with a white square that moves, odd-sized."""
    frames = np.full((n, height, width, 3), 40, dtype=np.uint8)
    for t in range(n):
        frames[t, 8:24, 4 * t : 4 * t + 8] = (200, 120, 30)
    return frames


def test_mp4_holds_the_frames(tmp_path: pathlib.Path) -> None:
    frames = colours()
    path = write_video(frames, tmp_path / "a" / "video.mp4", fps=10)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    result = subprocess.run(command, capture_output=True, check=True)
    assert re.search(rb"h264.*yuv420p.*46x32.* 10 fps", result.stderr)
    read = np.frombuffer(result.stdout, dtype=np.uint8).reshape(-1, 32, 46, 3)
    assert len(read) == len(frames)
    for t in range(len(frames)):
        np.testing.assert_allclose(read[t, 12:20, 4 * t + 2 : 4 * t + 6].mean(axis=(0, 1)), (200, 120, 30), atol=12)
        np.testing.assert_allclose(read[t, 28:, :].mean(), 40, atol=4)
    assert [x.name for x in path.parent.iterdir()] == ["video.mp4"]


def test_gif_holds_the_frames(tmp_path: pathlib.Path) -> None:
    frames = colours()
    image: Any
    with Image.open(write_video(frames, tmp_path / "video.gif", fps=10)) as image:
        assert image.n_frames == len(frames) and image.info["duration"] == 100 and image.info["loop"] == 0
        for t in range(len(frames)):
            image.seek(t)
            read = np.asarray(image.convert("RGB"), dtype=float)
            np.testing.assert_allclose(read, frames[t], atol=3)


def test_what_is_no_video_is_refused_before_anything_is_written(tmp_path: pathlib.Path) -> None:
    cases: list[tuple[np.ndarray, str, float, str]] = [
        (np.zeros((5, 8, 8, 3), dtype=np.uint8), "a.mp4", 10, r"5 frames are black \(mean 0.00 of 255\).*MUJOCO_GL"),
        (np.ones((5, 8, 8, 3)), "a.mp4", 10, "of float64"),
        (np.ones((0, 8, 8, 3), dtype=np.uint8), "a.mp4", 10, "was the episode filmed"),
        (colours(), "a.avi", 10, r"a.avi: a video ends in .mp4 or .gif"),
        (colours(), "a.gif", 0, "fps 0 must be > 0"),
        (colours(3, 1, 1), "a.mp4", 10, "1 x 1 pixels are too small"),
    ]
    for frames, path, fps, message in cases:
        with pytest.raises(ValueError, match=message):
            write_video(frames, tmp_path / path, fps)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- while training


def trained(folder: pathlib.Path | None, env: Any = None) -> Any:
    env = env or DummyVecEnv([FilmedEnv, FilmedEnv])
    model = RainbowR("MlpLstmPolicy", env, learning_starts=20, batch_size=4, seed=0, device="cpu")
    callback = None if folder is None else RecordEpisodeCallback(FilmedEnv(), folder, every=30, suffix=".gif")
    return model.learn(100, callback=callback)


def test_filming_does_not_change_what_is_learned(tmp_path: pathlib.Path) -> None:
    with_videos, without = trained(tmp_path), trained(None)
    for key, value in without.policy.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), with_videos.policy.state_dict()[key].numpy())
    names = sorted(x.name for x in tmp_path.iterdir())
    assert names == ["episode-30-steps.gif", "episode-60-steps.gif", "episode-90-steps.gif"]
    image: Any
    with Image.open(tmp_path / names[0]) as image:
        assert image.n_frames == LENGTH + 1


def test_a_second_learn_goes_on_counting(tmp_path: pathlib.Path) -> None:
    model = sb3.PPO("MlpPolicy", FilmedEnv(), n_steps=8, batch_size=8, device="cpu")
    callback = RecordEpisodeCallback(FilmedEnv(), tmp_path, every=20, name="x", max_steps=2)
    model.learn(24, callback=callback)
    model.learn(24, callback=callback, reset_num_timesteps=False)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["x-20-steps.mp4", "x-44-steps.mp4"]


def test_the_training_s_statistics_reach_the_film(tmp_path: pathlib.Path) -> None:
    env: Any = VecNormalize(DummyVecEnv([FilmedEnv]))
    own: Any = VecNormalize(DummyVecEnv([FilmedEnv]), training=False)
    model = sb3.DQN("MlpPolicy", env, learning_starts=10, device="cpu")
    model.learn(60, callback=RecordEpisodeCallback(own, tmp_path, every=60))
    np.testing.assert_array_equal(own.obs_rms.mean, env.obs_rms.mean)
    assert len(list(tmp_path.iterdir())) == 1


def test_wrong_settings_of_the_callback(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="every 0 must be >= 1"):
        RecordEpisodeCallback(FilmedEnv(), tmp_path, every=0)
    with pytest.raises(ValueError, match=r"suffix '.avi' must be one of .mp4, .gif"):
        RecordEpisodeCallback(FilmedEnv(), tmp_path, every=1, suffix=".avi")


def test_progress_is_told_step_by_step() -> None:
    counted: list[int] = []
    watch(q_model(), FilmedEnv(), on_step=counted.append)
    assert counted == list(range(1, LENGTH + 1))
