"""Play by posted keys, under SDL's dummy driver: what the program presses is what the environment executes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from sb3_ext.demonstrations import load
from sb3_ext.demonstrations.play import key_map, parse_keys, play

pygame = pytest.importorskip("pygame")

# pygame-ce's font module reads its own data by a deprecated call.
pytestmark = pytest.mark.filterwarnings("ignore:.*pkg_resources.*")


@pytest.fixture(autouse=True)
def dummy_driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    yield
    pygame.quit()


def down(name: str) -> None:
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.key.key_code(name)))


def up(name: str) -> None:
    pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.key.key_code(name)))


def tap(name: str) -> None:
    down(name)
    up(name)


def hold(names: list[str]) -> list[Callable[[], None]]:
    """Two frames: all of these go down, and all go up."""

    def press() -> None:
        for name in names:
            down(name)

    def release() -> None:
        for name in names:
            up(name)

    return [press, release]


class Counter(gym.Env):
    """
    Observation = (episodes begun, steps), reward = action. Each drawn frame calls the next item of a script, which
    posts keys; a script that ends closes the window.

    :param script: what to do before each frame's keys are read
    :param length: steps until it terminates
    :param observations: space of the observations
    """

    render_mode: str | None = "rgb_array"

    def __init__(
        self, script: list[Callable[[], None]], length: int = 3, observations: spaces.Space[Any] | None = None
    ) -> None:
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 1000}
        self.observation_space = observations or spaces.Box(0, 100, (2,), np.float32)
        self.action_space = spaces.Discrete(4)
        self.script, self.length, self.begun = iter(script), length, -1
        self.seeds: list[int | None] = []

    def _obs(self) -> Any:
        # float64 and one array for ever, as careless environments give them.
        self.row = getattr(self, "row", np.zeros(2))
        self.row[:] = self.begun, self.t
        return self.row

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.begun += 1
        self.t = 0
        self.seeds.append(seed)
        return self._obs(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert type(action) is int
        self.t += 1
        return self._obs(), float(action), self.t == self.length, False, {}

    def render(self) -> Any:
        if pygame.display.get_surface() is not None:  # else the window asks how large the picture is
            next(self.script, lambda: pygame.event.post(pygame.event.Event(pygame.QUIT)))()
        return np.zeros((40, 60, 3), dtype=np.uint8)


def nothing() -> None:
    pass


def keys(*names: str) -> list[Callable[[], None]]:
    """One frame each: "a" tap, "+a" down, "-a" up, "" nothing."""
    how = {"+": down, "-": up}
    return [
        nothing if not n else (lambda n=n: how[n[0]](n[1:])) if n[0] in how else (lambda n=n: tap(n))  # type: ignore[misc]
        for n in names
    ]


ARROWS = {"left": 1, "right,d": 2, "left+up": 3, "noop": 0}


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
    render = CartPoleEnv.render

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


# What a hand that holds these keys of the keyboard must be able to make the environment execute.
_TURNS = {"left": 0, "down": 1, "right": 2, "up": 3}
_ROWS = {"left": 0, "a": 0, "right": 2, "d": 2, "": 1}
PLAYED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("CartPole-v1", {}, {"left": 0, "a": 0, "right": 1, "d": 1}),
    ("MountainCar-v0", {}, _ROWS),
    ("MountainCarContinuous-v0", {}, {"left": [-1], "a": [-1], "right": [1], "d": [1], "": [0]}),
    ("Acrobot-v1", {}, _ROWS),
    ("Pendulum-v1", {}, {"left": [2], "right": [-2], "a": [0.7], "d": [-0.7], "": [0]}),
    ("sb3_ext/PendulumPixels-v0", {}, {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4}),
    ("sb3_ext/PendulumPixels-v0", {"n_torques": None}, {"left": [2], "right": [-2], "a": [0.7], "d": [-0.7], "": [0]}),
    ("LunarLander-v3", {"continuous": False}, {"left": 1, "a": 1, "up": 2, "w": 2, "right": 3, "d": 3, "": 0}),
    (
        "LunarLander-v3",
        {"continuous": True},
        {"left": [-1, -1], "d": [-1, 1], "w": [1, 0], "up left": [1, -1], "w d": [1, 1], "": [-1, 0]},
    ),
    ("CarRacing-v3", {"continuous": False}, {"left": 2, "right": 1, "up": 3, "down": 4, "": 0}),
    (
        "CarRacing-v3",
        {"continuous": True},
        {"left": [-1, 0, 0], "right": [1, 0, 0], "down": [0, 0, 0.8], "up right": [1, 1, 0], "": [0, 0, 0]},
    ),
    ("FrozenLake-v1", {}, _TURNS),
    ("CliffWalking-v1", {}, {"up": 0, "right": 1, "down": 2, "left": 3}),
    ("Taxi-v4", {}, {"down": 0, "up": 1, "right": 2, "left": 3, "1": 4, "2": 5}),
    ("ALE/Pong-v5", {}, {"space": 1, "d": 2, "a": 3, "d space": 4, "a space": 5, "": 0}),
]


@pytest.mark.parametrize(("env_id", "env_kwargs", "hands"), PLAYED)
def test_keys_reach_the_usual_environments(
    env_id: str, env_kwargs: dict[str, Any], hands: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, start in (("Box2D", ("Lunar", "Car")), ("ale_py", ("ALE",))):
        if env_id.startswith(start) and env_id != "CartPole-v1":
            pytest.importorskip(module)
    env = gym.make(env_id, render_mode="rgb_array", max_episode_steps=1000, disable_env_checker=True, **env_kwargs)
    unwrapped = type(env.unwrapped)
    executed: list[Any] = []
    first: list[Any] = []
    real_reset, real_step, real_render = unwrapped.reset, unwrapped.step, unwrapped.render

    def reset(self: Any, **keywords: Any) -> Any:
        first.clear()
        observation, info = real_reset(self, **keywords)
        first.append(observation)
        return observation, info

    def step(self: Any, action: Any) -> Any:
        if not first:  # Box2D's environments make a step of their own when they are reset
            return real_step(self, action)
        executed.append(np.asarray(action).tolist())
        return first[0], 0.0, False, False, {}

    # The first key is of the game, so that the hand which holds nothing is looked at in a running episode.
    turns = [*((names.split(), action) for names, action in hands.items() if names)]
    turns += [([], action) for names, action in hands.items() if not names]
    frames = iter([frame for names, _ in turns for frame in hold(names)] + keys("escape", "y"))

    def render(self: Any) -> Any:
        if not first:  # the picture is the observation
            return real_render(self)
        if pygame.display.get_surface() is not None:
            next(frames, nothing)()
        return np.zeros((40, 60, 3), dtype=np.uint8)

    for name, method in (("reset", reset), ("step", step), ("render", render)):
        monkeypatch.setattr(unwrapped, name, method)
    play(env, seed=0, fps=0, n_episodes=1)
    wanted = [action for _, action in turns]
    # Where keys are released, the action of no key, or the last one, is executed in between; grid worlds wait.
    between = 1 if env_id in ("FrozenLake-v1", "CliffWalking-v1", "Taxi-v4") else 2
    np.testing.assert_allclose(executed[::between], wanted, rtol=1e-6)
    pygame.display.init()  # names of keys are asked for again
    mapped = key_map(env, None)
    if isinstance(env.action_space, spaces.Discrete):
        every = {int(a) for a in (*mapped.actions.values(), mapped.noop) if a is not None}
        assert every == set(range(env.action_space.n)), "every action has a key"
    env.close()


@pytest.mark.parametrize(
    ("own", "played"),
    [
        ({(): 3, (276,): 1, (275,): 2, (275, 276): 0}, {"": 3, "left": 1, "right": 2, "left|right": 0}),
        ({(np.int64(273),): 1, 282: 2, (304, "a"): 3}, {"up": 1, "f1": 2, "left shift|a": 3, "": 0}),
        ({"w": 1, "wa": 2, "up": 3}, {"w": 1, "w|a": 2, "up": 3, "": 0}),
        ({("w", " "): 1, ",": 2, "+": 3}, {"w|space": 1, ",": 2, "+": 3, "": 0}),
        ({ord("w"): 1, (ord("w"), ord("a")): 2, (27,): 3}, {"w": 1, "w|a": 2, "escape": 3, "": 0}),
    ],
)
def test_an_environments_own_keys_of_every_kind_work(own: dict[Any, int], played: dict[str, int]) -> None:
    class Own(Counter):
        def get_keys_to_action(self) -> Any:
            return own

    turns = [(names.split("|") if names else [], action) for names, action in sorted(played.items(), reverse=True)]
    script = [frame for names, _ in turns for frame in hold(names)]
    demos = play(Own([*script, *keys("y")], length=2 * len(turns)), seed=0, fps=0)
    assert demos.episodes[0].actions[::2].tolist() == [action for _, action in turns]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({(276, 299): 1}, "no key has the code 299; name it"),
        ({2**40: 1}, "no key has the code 1099511627776"),
        ({(("a", "b"),): 1}, r"no key is called \('a', 'b'\)"),
        ({None: 1}, "no key is called None"),
        ({(): 1}, "has no key; name at least one"),
    ],
)
def test_own_keys_that_are_none_are_named(own: dict[Any, int], message: str) -> None:
    class Own(Counter):
        def get_keys_to_action(self) -> Any:
            return own

    with pytest.raises(ValueError, match=message):
        play(Own([]), seed=0, fps=0)


def test_few_discrete_actions_without_keys_are_digits() -> None:
    demos = play(Counter(keys("3", "0", "2", "y")), seed=0, fps=0)
    assert demos.episodes[0].actions.tolist() == [3, 0, 2]


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


def test_keys_of_the_command_line() -> None:
    assert parse_keys("left=0, up+right=2.5,w=0:1:-.5,noop=1") == {
        "left": 0,
        "up+right": 2.5,
        "w": [0, 1, -0.5],
        "noop": 1,
    }


@pytest.mark.parametrize("text", ["left", "left=", "=1", "left=a", "left=1,,right=2", "left=1,left=2", ""])
def test_keys_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="keys: "):
        parse_keys(text)


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
