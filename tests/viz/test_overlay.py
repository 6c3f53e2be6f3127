"""Heat over frames and inputs over time: what is painted, how strongly, and what is refused."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image
from stable_baselines3 import DQN

from sb3_ext import R2D2
from sb3_ext.viz.attribution import GradCam, Saliency
from sb3_ext.viz.overlay import beside, input_bars, overlay, usual_change
from sb3_ext.viz.trace import watch

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (3, 21, 16, 3)).astype(np.uint8)


def change(painted: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """[T, height, width] over the colours"""
    changes: np.ndarray = np.abs(painted.astype(int) - frames).sum(axis=3)
    return changes


def test_frames_without_heat_are_unchanged() -> None:
    heat = np.zeros((3, 84, 84))
    np.testing.assert_array_equal(overlay(FRAMES, heat), FRAMES)
    heat[1] = RNG.random((84, 84))
    painted = overlay(FRAMES, heat)
    np.testing.assert_array_equal(painted[[0, 2]], FRAMES[[0, 2]])
    assert (painted[1] != FRAMES[1]).any()
    np.testing.assert_array_equal(overlay(FRAMES, heat, strength=0), FRAMES)


@pytest.mark.parametrize("grey", [0, 100, 255])
def test_the_hotter_the_more_it_shows_on_black_and_on_white(grey: int) -> None:
    frames = np.full((1, 5, 12, 3), grey, dtype=np.uint8)
    heat = np.tile(np.linspace(0, 1, 12), (1, 5, 1))
    painted = overlay(frames, heat)
    assert painted.dtype == np.uint8 and painted.shape == frames.shape
    shown = change(painted, frames)[0, 0]
    assert (np.diff(shown) >= 0).all() and shown[0] == 0 and shown[-1] > 90


def test_a_whole_episode_has_one_scale_that_single_pixels_do_not_darken() -> None:
    frames = np.zeros((2, 50, 50, 3), dtype=np.uint8)
    heat = np.stack([np.full((50, 50), 0.5), np.ones((50, 50))])
    cold, hot = (int(shown.max()) for shown in change(overlay(frames, heat), frames))
    assert 0 < cold < 0.7 * hot
    heat[1, 0, 0] = 1000.0
    np.testing.assert_array_equal(overlay(frames, heat), overlay(frames, heat.clip(0, 1)))
    np.testing.assert_array_equal(overlay(frames, 1e-6 * heat), overlay(frames, heat))  # units do not matter


def test_heat_of_another_shape_is_stretched_over_the_whole_frame() -> None:
    """Atari: 84 x 84 is a squashed picture of 210 x 160."""
    frames = np.zeros((1, 210, 160, 3), dtype=np.uint8)
    heat = np.zeros((1, 84, 84))
    heat[0, 20:22, 60:62] = 1.0
    rows, columns = np.nonzero(change(overlay(frames, heat), frames)[0] > 100)
    assert abs(rows.mean() - (21 * 210 / 84 - 0.5)) < 0.5 and abs(columns.mean() - (61 * 160 / 84 - 0.5)) < 0.5
    assert 3 <= np.ptp(rows) <= 7 and 2 <= np.ptp(columns) <= 5


def test_streams_stand_beside_the_frame_under_their_names() -> None:
    heats = {"value": np.zeros((3, 4, 4)), "advantage": RNG.random((3, 4, 4))}
    pictures = list(beside(FRAMES, heats, enlarge=4))
    assert len(pictures) == 3 and len({picture.shape for picture in pictures}) == 1
    height, width, _ = pictures[0].shape
    assert height % 2 == 0 and width % 2 == 0
    large = FRAMES.repeat(4, axis=1).repeat(4, axis=2)
    warm = overlay(large, heats["advantage"])
    top, column = next(
        (row, at) for row in range(height - 84) for at in range(4, width) if same(pictures[0], row, at, large[0])
    )
    left = [at for at in range(width - 63) if same(pictures[0], top, at, large[0])]
    assert len(left) == 2 and left[0] == column  # the frame, and the stream without heat
    pitch = left[1] - left[0]
    for t, picture in enumerate(pictures):
        assert same(picture, top, left[1], large[t]) and same(picture, top, left[1] + pitch, warm[t])
        labels = picture[:top]
        inked = [bool((labels[:, at : at + pitch - 4] != 255).any()) for at in (left[0], left[1], left[1] + pitch)]
        assert inked == [True] * 3
    widths = [np.ptp(np.nonzero((labels[:, at : at + pitch - 4] != 255).any(axis=(0, 2)))[0]) for at in left]
    assert widths[0] != widths[1]  # "frame" and "value" are different words


def same(picture: np.ndarray, row: int, at: int, panel: np.ndarray) -> bool:
    return np.array_equal(picture[row : row + panel.shape[0], at : at + panel.shape[1]], panel)


def test_a_recurrent_agent_is_watched_with_its_streams(tmp_path: Path) -> None:
    env = gym.make("sb3_ext/PendulumPixels-v0", render_mode="rgb_array")
    model = R2D2("CnnLstmPolicy", env, device="cpu", seed=0, policy_kwargs=dict(lstm_hidden_size=8))
    for how in (Saliency(), GradCam(streams=("advantage",))):
        trace = watch(model, env, seed=0, max_steps=3, explain=how)
        assert set(trace.attributions) == set(how.streams or ("value", "advantage"))
        assert all(heat.shape == (3, 84, 84) for heat in trace.attributions.values())
        assert len(list(beside(trace.frames[:-1], trace.attributions))) == 3


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        size: tuple[int, int] = image.size
        return size


def test_bars_of_a_vector(tmp_path: Path) -> None:
    env = gym.make("CartPole-v1")
    model = DQN("MlpPolicy", env, buffer_size=1, device="cpu", seed=0)
    trace = watch(model, env, seed=0, max_steps=6, film=False, explain=Saliency())
    assert isinstance(trace.observations, np.ndarray)
    path = input_bars(trace.attributions, trace.observations, tmp_path / "bars", ["x", "v", "angle", "spin"])
    assert path == tmp_path / "bars.png" and size_of(path)[0] > 500
    assert list(tmp_path.iterdir()) == [path]


def test_a_usual_change_is_the_spread_over_the_episode() -> None:
    observations = np.array([[0.0, 5.0, 1.0], [2.0, 5.0, 5.0]])
    gradients = np.array([[1.0, 9.0, 0.5], [3.0, 9.0, 0.0]])
    np.testing.assert_allclose(usual_change(gradients, observations), [[1.0, 0.0, 1.0], [3.0, 0.0, 0.0]])


def test_many_inputs_and_no_heat_at_all_are_drawn(tmp_path: Path) -> None:
    many = {"policy": RNG.random((5, 300)), "value": np.zeros((5, 300))}
    path = input_bars(many, RNG.random((6, 10, 30)), tmp_path / "many.png")
    assert size_of(path)[1] < 4000


def test_bad_input_is_refused(tmp_path: Path) -> None:
    heat = np.ones((3, 4, 4))
    for frames, bad, strength, text in (
        (FRAMES / 255, heat, 0.6, "of float64, not"),
        (FRAMES[..., :1], heat, 0.6, r"shape \(3, 21, 16, 1\)"),
        (FRAMES, heat[0], 0.6, r"heat has shape \(4, 4\)"),
        (FRAMES, heat[:2], 0.6, r"3 frames and heat of 2 steps.*frames\[:-1\]"),
        (FRAMES, -heat, 0.6, "must be >= 0 and finite; the lowest value is -1"),
        (FRAMES, heat * np.nan, 0.6, "must be >= 0 and finite"),
        (FRAMES, heat, 1.5, "strength 1.5"),
    ):
        with pytest.raises(ValueError, match=text):
            overlay(frames, bad, strength)
        with pytest.raises(ValueError, match=text):  # before the first picture is asked for
            beside(frames, {"q": bad}, strength)
    with pytest.raises(ValueError, match="no stream"):
        beside(FRAMES, {})
    with pytest.raises(ValueError, match="enlarge 0"):
        beside(FRAMES, {"q": heat}, enlarge=0)
    bars = {"q": np.ones((3, 2))}
    for gradients, observations, name, names, text in (
        ({}, np.ones((3, 2)), "a.png", None, "no stream"),
        (bars, np.ones((3, 3)), "a.png", None, r"shape \(3, 2\); 3 observations of 3 numbers"),
        (bars, np.ones((5, 2)), "a.png", None, r"\(5, 2\), or one step fewer"),
        ({"q": -np.ones((3, 2))}, np.ones((3, 2)), "a.png", None, "must be >= 0"),
        (bars, np.ones((3, 2)), "a.png", ["x"], "names: 1 for 2 inputs"),
        (bars, np.ones((3, 2)), "a.doc", None, "no picture ends in .doc"),
    ):
        with pytest.raises(ValueError, match=text):
            input_bars(gradients, observations, tmp_path / name, names)
    assert not list(tmp_path.iterdir())
