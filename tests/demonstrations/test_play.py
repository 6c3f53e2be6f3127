"""Play by posted keys, under SDL's dummy driver: what the program presses is what the environment executes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from support.player import ARROWS, Counter, down, keys, up

from sb3_ext.demonstrations import load
from sb3_ext.demonstrations.play import play

pygame = pytest.importorskip("pygame")

# pygame-ce's font module reads its own data by a deprecated call.
pytestmark = [pytest.mark.filterwarnings("ignore:.*pkg_resources.*"), pytest.mark.usefixtures("dummy_driver")]


def test_held_keys_become_the_executed_actions(tmp_path: Path) -> None:
    env = Counter(keys("", "+left", "+right", "-right", "+up", "-left", "-up", "y"), length=6)
    demos = play(env, ARROWS, path=tmp_path / "demos", seed=5, fps=0)
    (episode,) = demos.episodes
    # Nothing is stepped before the first key; the latest key wins, and a larger combination before it.
    assert episode.actions.tolist() == [1, 2, 1, 3, 0, 0]
    assert episode.rewards is not None and episode.rewards.tolist() == [1, 2, 1, 3, 0, 0]
    observations = np.asarray(episode.observations)
    assert observations.dtype == np.float32
    first = observations[0, 0]
    assert observations.tolist() == [[first, t] for t in range(7)]
    assert (episode.terminated, episode.truncated, episode.seed) == (True, False, 5)
    assert load(tmp_path / "demos.npz") == demos


def test_without_a_noop_the_last_action_is_held_and_a_short_tap_counts() -> None:
    demos = play(Counter(keys("left", "", "d", "", "y"), length=4), {"left": 1, "d": 2}, seed=0, fps=0)
    assert demos.episodes[0].actions.tolist() == [1, 1, 2, 2]


def test_controls_pause_restart_slow_discard_and_drop() -> None:
    script = [
        *keys("left", "p", "", "space", "", "return"),  # a pause costs no step; kept
        *keys("left", "", "", "n"),  # discarded at the question
        *keys("left", "r", "right", "s", "", "y"),  # started again with the same seed, slow at the end; kept
        *keys("backspace", "left", "", "", "y"),  # the one before is dropped; kept
    ]
    env = Counter(script)
    demos = play(env, {"left": 1, "right": 2}, n_episodes=3, seed=10, fps=0)
    assert [episode.seed for episode in demos.episodes] == [10, 13]
    assert [episode.actions.tolist() for episode in demos.episodes] == [[1, 1, 1], [1, 1, 1]]
    assert env.seeds[-6:] == [10, 11, 12, 12, 13, 14]


def test_slow_motion_is_four_times_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[float] = []

    class Clock:
        def tick(self, fps: float) -> None:
            ticks.append(fps)

    monkeypatch.setattr(pygame.time, "Clock", Clock)
    play(Counter(keys("left", "s", "s", "y", "y")), {"left": 1}, seed=0, n_episodes=1, fps=40)
    assert ticks[:4] == [40, 40, 10, 40]


@pytest.mark.parametrize("finish", ["escape", "q"])
def test_finish_asks_about_the_cut_episode(finish: str) -> None:
    script = keys("left", "", "", "y", "left", finish, "y")
    demos = play(Counter(script), {"left": 1}, seed=0, fps=0)
    assert [len(episode) for episode in demos.episodes] == [3, 1]
    assert [(e.terminated, e.truncated) for e in demos.episodes] == [(True, False), (False, True)]
    script = keys("left", "", "", "y", "left", finish, "n")
    assert len(play(Counter(script), {"left": 1}, seed=0, fps=0)) == 1


@pytest.mark.parametrize("how", ["window", "interrupt", "failure"])
def test_what_is_over_survives_the_end(how: str, tmp_path: Path) -> None:
    def end() -> None:
        if how == "failure":
            raise RuntimeError("the simulator fell over")
        if how == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            pygame.event.post(pygame.event.Event(pygame.QUIT))

    # Two are over, the second one's question is open.
    env = Counter([*keys("left", "", "", "y", "left", "", "", ""), end])
    if how == "failure":
        with pytest.raises(RuntimeError, match="fell over"):
            play(env, {"left": 1}, seed=0, fps=0, path=tmp_path / "a.npz")
    else:
        assert len(play(env, {"left": 1}, seed=0, fps=0, path=tmp_path / "a.npz")) == 2
    assert len(load(tmp_path / "a.npz")) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_nothing_kept_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no episode was kept"):
        play(Counter(keys("left", "")), {"left": 1}, seed=0, fps=0, path=tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def test_turn_based_steps_once_per_key() -> None:
    script = keys("+left", "", "", "-left", "", "right", "", "left", "y")
    demos = play(Counter(script), {"left": 1, "right": 2}, seed=0, fps=0, turn_based=True)
    assert demos.episodes[0].actions.tolist() == [1, 2, 1]


def test_controls_make_way_for_the_keys_of_the_game() -> None:
    # Atari's keys: s is down, the space bar fires.
    script = keys("s", "space", "tab", "y")
    demos = play(Counter(script), {"s": 1, " ": 2}, seed=0, fps=0)
    assert demos.episodes[0].actions.tolist() == [1, 2, 2]
    with pytest.raises(ValueError, match="p and space are both taken by the game"):
        play(Counter([]), {"p": 1, "space": 2})


def test_images_are_channels_first_as_a_learner_sees_them() -> None:
    class Picture(Counter):
        def _obs(self) -> Any:
            return np.full((48, 40, 3), 10 * self.t, dtype=np.uint8)

    env = Picture(keys("left", "", "", "y"), observations=spaces.Box(0, 255, (48, 40, 3), np.uint8))
    demos = play(env, {"left": 1}, seed=0, fps=0)
    assert demos.observation_space.shape == (3, 48, 40)
    observations = np.asarray(demos.episodes[0].observations)
    assert observations.shape == (4, 3, 48, 40) and observations[2].max() == 20


def test_a_controller_in_place_of_the_hand_balances_the_pole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    render: Any = CartPoleEnv.render  # untyped

    def rendered(self: CartPoleEnv) -> Any:
        if pygame.display.get_surface() is not None and self.state is not None:
            angle, speed = self.state[2:]
            up("left" if angle + speed > 0 else "right")
            down("right" if angle + speed > 0 else "left")
            down("y")
        return render(self)

    monkeypatch.setattr(CartPoleEnv, "render", rendered)
    demos = play("CartPole-v1", n_episodes=2, seed=3, fps=0, env_kwargs={"max_episode_steps": 40})
    assert demos.env_id == "CartPole-v1"
    assert demos.returns.tolist() == [40, 40]
    assert [(e.terminated, e.truncated) for e in demos.episodes] == [(False, True)] * 2
    # The same actions from the same seeds lead to the same observations.
    env = gym.make("CartPole-v1")
    for episode in demos.episodes:
        observation, _ = env.reset(seed=episode.seed)
        rows = [observation, *(env.step(int(action))[0] for action in episode.actions)]
        assert np.array_equal(rows, np.asarray(episode.observations))
        assert 0 < episode.actions.mean() < 1


def test_an_environment_without_pictures_is_named() -> None:
    gym.register("Blind-v0", lambda **_: Blind([]))
    try:
        with pytest.raises(ValueError, match=r"Blind-v0 with render_mode 'rgb_array' gives no picture, .* \['ansi'\]"):
            play("Blind-v0")
    finally:
        del gym.registry["Blind-v0"]


class Blind(Counter):
    def __init__(self, script: list[Callable[[], None]]) -> None:
        super().__init__(script)
        self.metadata = {"render_modes": ["ansi"]}


class Silent(Counter):
    render_mode = None


class Pusher(Counter):
    def __init__(self, script: list[Callable[[], None]]) -> None:
        super().__init__(script)
        self.action_space: Any = spaces.Box(-1, 1, (1,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(keys={"lef": 0}), "no key is called 'lef'"),
        (dict(keys={"left": 4}), r"action 4 of 'left' is not in Discrete\(4\)"),
        (dict(keys={"left": 0.5}), r"action 0.5 of 'left' is not in Discrete\(4\)"),
        (dict(keys={"left": [0, 1]}), r"action \[0, 1\] of 'left' is not in"),
        (dict(keys={"noop": 0}), "has no key; name at least one"),
        (dict(keys={"left,left": 0}), "'left,left' is mapped twice"),
        (
            dict(env_id=Pusher([])),
            r"none known for Pusher with .*; name them, for example --keys left=-1,right=1,noop=0",
        ),
        (dict(keys={"left": 0}, n_episodes=0), "n_episodes 0 must be at least 1"),
        (dict(keys={"left": 0}, fps=-1), "fps -1 must be positive"),
        (dict(keys={"left": 0}, zoom=0), "zoom 0 must be positive"),
        (dict(keys={"left": 0}, path="there.npz"), "there.npz exists; choose another name"),
        (dict(keys={"left": 0}, path="there.npz/a.npz"), "there.npz is no folder"),
        (
            dict(env_id=Silent([]), keys={"left": 0}),
            r"Silent with render_mode None gives no picture, its modes are \['rgb_array'\]",
        ),
        (
            dict(env_id=Counter([], observations=spaces.Text(3)), keys={"left": 0}),
            "is not a space of arrays",
        ),
        (
            dict(env_id=Counter([], observations=spaces.Box(0, 1, (3,))), keys={"left": 0}),
            r"observations: shape \(2,\) per step",
        ),
    ],
)
def test_wrong_arguments_are_answered_before_the_window_opens(
    arguments: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.npz").touch()
    with pytest.raises(ValueError, match=message):
        play(**{"env_id": Counter([]), **arguments})
    assert not pygame.display.get_init()


def test_without_a_display_the_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDL_VIDEODRIVER")
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "offscreen")
    with pytest.raises(ValueError, match="play needs a display"):
        play(Counter([]), {"left": 0})
    monkeypatch.undo()
    monkeypatch.setenv("SDL_VIDEODRIVER", "no such driver")
    with pytest.raises(ValueError, match=r"play needs a display \(.*not available\)"):
        play(Counter([]), {"left": 0})
