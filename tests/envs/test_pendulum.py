"""The swing-up shown as pictures: torques, rewards, and the drawing against a brute-force one."""

from __future__ import annotations

import time
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from sb3_ext.envs import (
    DiscreteTorque,
    PendulumPixelsEnv,
    draw_pendulum,
)


@pytest.mark.parametrize(
    ("n", "torques"), [(5, [-2, -1, 0, 1, 2]), (2, [-2, 2]), (9, [-2 + 0.5 * i for i in range(9)])]
)
def test_torques_are_evenly_spaced_with_both_ends(n: int, torques: list[float]) -> None:
    env = DiscreteTorque(PendulumEnv(), n_torques=n)
    assert env.action_space == spaces.Discrete(n)
    for action, torque in enumerate(torques):
        np.testing.assert_array_equal(env.action(np.int64(action)), np.array([torque], np.float32))
        env.reset(seed=0)
        env.step(np.int64(action))
        assert env.unwrapped.last_u == torque  # type: ignore[attr-defined]


@pytest.mark.parametrize("n_torques", [5, None])
def test_pendulum_pixels_moves_and_pays_as_pendulum_v1(n_torques: int | None) -> None:
    pixels, plain = gym.make("sb3_ext/PendulumPixels-v0", n_torques=n_torques), gym.make("Pendulum-v1")
    picture, _ = pixels.reset(seed=11)
    plain.reset(seed=11)
    rng = np.random.default_rng(0)
    for _ in range(200):
        action = int(rng.integers(5))
        torque = np.array([action - 2.0], np.float32)
        picture, *ours = pixels.step(torque if n_torques is None else action)
        (cos, sin, _), *theirs = plain.step(torque)
        assert ours == theirs
        np.testing.assert_array_equal(pixels.unwrapped.pendulum.state, plain.unwrapped.state)  # type: ignore[attr-defined]
        # atan2 of rounded float32 is not the exact angle; a hundredth of a grey level at most decides a pixel
        difference = picture[:, :, 0].astype(int) - draw_pendulum(np.arctan2(sin, cos))
        assert np.abs(difference).max() <= 1


def test_pendulum_pixels_passes_reset_options_on() -> None:
    env = PendulumPixelsEnv()
    for seed in range(10):
        env.reset(seed=seed, options={"x_init": 0.01, "y_init": 0.0})
        assert abs(env.pendulum.state[0]) <= 0.01
        assert env.pendulum.state[1] == 0.0


def test_pendulum_picture_hides_the_velocity_and_shows_the_angle() -> None:
    def picture(theta: float, velocity: float) -> np.ndarray:
        env = PendulumPixelsEnv(render_mode="rgb_array")
        env.reset(seed=0)
        env.pendulum.state = np.array([theta, velocity])
        rendered = env.render()
        assert rendered is not None
        return rendered

    for theta in np.linspace(-3.0, 3.0, 13):
        np.testing.assert_array_equal(picture(theta, -8.0), picture(theta, 5.0))
        assert (picture(theta, 0.0) != picture(theta + 0.01, 0.0)).any()
    assert picture(0.0, 0.0).shape == (84, 84, 3)


def brute_force_picture(theta: float, subpixels: int = 8) -> np.ndarray:
    """Coverage counted by hard-edged samples: a rectangle, the bob's disc and the hub's disc."""
    samples = (np.arange(84 * subpixels) + 0.5) / subpixels - 42.0
    x, y = np.meshgrid(samples, samples)
    tip_x, tip_y = 30.0 * np.cos(theta + np.pi / 2), -30.0 * np.sin(theta + np.pi / 2)  # y down
    along, across = (x * tip_x + y * tip_y) / 30.0, (x * tip_y - y * tip_x) / 30.0
    inside = (np.abs(across) <= 3.0) & (along >= 0.0) & (along <= 30.0)
    inside |= np.hypot(x - tip_x, y - tip_y) <= 7.0
    inside |= np.hypot(x, y) <= 3.0
    grey: np.ndarray = 255.0 * inside.reshape(84, subpixels, 84, subpixels).mean(axis=(1, 3))
    return grey


@pytest.mark.parametrize("theta", [0.0, 0.3, np.pi / 2, 2.0, np.pi, -0.7, -np.pi / 2, -2.5])
def test_pendulum_picture_is_the_sampled_coverage_of_rod_and_bob(theta: float) -> None:
    difference = np.abs(draw_pendulum(theta) - brute_force_picture(theta))
    assert difference.max() < 50.0  # at edges only, a fifth of a pixel
    assert difference.mean() < 0.5


def test_pendulum_picture_points_where_gymnasium_draws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pygame's own imports
        pytest.importorskip("pygame")
    env = PendulumEnv(render_mode="rgb_array")
    env.reset(seed=0)
    for theta in [0.0, 0.8, 2.2, -1.0, -2.7]:
        env.state = np.array([theta, 0.0])
        drawn = env.render()
        assert drawn is not None
        directions = []
        for white in (draw_pendulum(theta).astype(float), 255.0 - np.asarray(drawn)[:, :, 1]):
            rows, columns = np.indices(white.shape)
            middle = (len(white) - 1) / 2
            directions.append(np.arctan2((white * (middle - columns)).sum(), (white * (middle - rows)).sum()))
        assert directions[0] == pytest.approx(theta, abs=0.01)
        assert directions[1] == pytest.approx(theta, abs=0.05)
    env.close()


def test_pendulum_picture_is_fast() -> None:
    fastest = np.inf
    for repeat in range(20):
        start = time.perf_counter()
        for i in range(50):
            draw_pendulum(repeat + i)
        fastest = min(fastest, (time.perf_counter() - start) / 50)
    assert fastest < 500e-6  # 25 microseconds on an idle core; this bound only catches a loop over pixels
