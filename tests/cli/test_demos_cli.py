"""`sb3-ext demos`: an agent or a hand makes a data set, and the other commands read it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from stable_baselines3 import PPO

from sb3_ext import GAIL
from sb3_ext.cli import main as cli
from sb3_ext.demonstrations import load, save
from sb3_ext.envs import MemoryChainEnv

# rl-zoo3 and what it calls are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def headless_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Each test runs in a folder of its own, where no display is."""
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    gc.collect()


def demos(*arguments: str) -> int:
    return cli.main(["demos", *arguments])


def train(algo: str, env: str, *params: str, eval_freq: str = "-1") -> None:
    command = ["train", "--algo", algo, "--env", env, "-n", "130", "--eval-freq", eval_freq, "--device", "cpu"]
    assert cli.main([*command, "--eval-episodes", "1", "-params", *params]) == 0


def hold_the_pole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller in place of the hand: it posts keys when a frame is drawn, and keeps every episode."""
    import pygame

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    render: Callable[[CartPoleEnv], Any] = CartPoleEnv.render

    def rendered(self: CartPoleEnv) -> Any:
        if pygame.display.get_surface() is not None and self.state is not None:
            right = self.state[2] + 0.3 * self.state[3] + 0.05 * self.state[1] > 0
            pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.K_LEFT if right else pygame.K_RIGHT))
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_RIGHT if right else pygame.K_LEFT))
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_y))
        return render(self)

    monkeypatch.setattr(CartPoleEnv, "render", rendered)


def test_info_and_check_accept_a_played_data_set_and_gail_trains_on_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hold_the_pole(monkeypatch)
    flags = ["--fps", "0", "-n", "3", "--seed", "7", "--env-kwargs", "max_episode_steps:60"]
    assert demos("play", "CartPole-v1", *flags) == 0
    assert "Saved demos/CartPole-v1.npz" in capsys.readouterr().out
    assert load("demos/CartPole-v1.npz").returns.tolist() == [60, 60, 60]

    assert demos("info", "demos/CartPole-v1", "--plot", "drawn.png") == 0
    out = capsys.readouterr().out
    assert "return        60 ± 0" in out and "Saved drawn.png" in out
    assert Path("drawn.png").stat().st_size > 10_000

    assert demos("check", "demos/CartPole-v1.npz", "--env-kwargs", "max_episode_steps:60") == 0
    out = capsys.readouterr().out
    assert "0 errors, 1 warnings against CartPole-v1" in out and "your expert never terminates" in out
    # The same episodes are too short for the usual time limit.
    assert demos("check", "demos/CartPole-v1.npz") == 1
    assert "error: terminated: your expert never terminates" in capsys.readouterr().out
    assert demos("check", "demos/CartPole-v1.npz", "--env", "Acrobot-v1") == 1
    assert "error: observations: shape " in capsys.readouterr().out

    quiet = ["--eval-freq", "-1", "--final-eval-episodes", "0", "--device", "cpu"]
    tiny = ["-params", "n_envs:2", "n_steps:16", "batch_size:32"]
    assert cli.main(["train", "--algo", "gail", "--env", "CartPole-v1", "-n", "64", *quiet, *tiny]) == 0
    assert GAIL.load("logs/gail/CartPole-v1_1/CartPole-v1.zip", device="cpu").num_timesteps == 64

    assert demos("play", "CartPole-v1", *flags) == 2
    assert "demos/CartPole-v1.npz exists; choose another name" in capsys.readouterr().err
    assert demos("play", "CartPole-v1", *flags, "--overwrite", "--keys", "left=0,right=1") == 0


def test_record_loads_the_best_model_with_its_statistics(capsys: pytest.CaptureFixture[str]) -> None:
    params = ("normalize:True", "n_envs:1", "n_steps:64", "batch_size:32", "n_epochs:1")
    train("ppo", "CartPole-v1", *params, eval_freq="64")
    capsys.readouterr()
    command = ["record", "--algo", "ppo", "--env", "CartPole-v1", "-n", "3", "--device", "cpu"]
    assert demos(*command, "-o", "best") == 0
    out = capsys.readouterr().out
    assert "Loading logs/ppo/CartPole-v1_1/best_model.zip" in out and "Saved best.npz" in out
    best = load("best.npz")
    assert len(best) == 3 and best.env_id == "CartPole-v1"
    # The observations are CartPole's own, not the normalised ones that the model sees.
    assert all(np.abs(np.asarray(e.observations)[0]).max() <= 0.05 for e in best.episodes)
    assert demos("check", "best.npz") == 0

    for extra, name in ((["--last"], "CartPole-v1.zip"), (["--model", "logs/ppo/CartPole-v1_1/CartPole-v1.zip"], "")):
        assert demos(*command, *extra, "-o", f"last{name}") == 0
        assert "Loading logs/ppo/CartPole-v1_1/CartPole-v1.zip" in capsys.readouterr().out
    # The same model, the same seed: the same episodes.
    assert load("last").episodes == load("lastCartPole-v1.zip").episodes

    assert demos(*command, "--min-return", "600", "--max-episodes", "4", "-o", "never") == 2
    assert "min_return 600.0: 0 of 4 episodes reached it" in capsys.readouterr().err
    assert not Path("never.npz").exists()


def test_record_makes_the_environment_of_the_training() -> None:
    train("r2d2", "sb3_ext/MemoryChain-v0", "n_envs:1", "learning_starts:1000", "env_kwargs:{'length': 4}")
    command = ["record", "--algo", "r2d2", "--env", "sb3_ext/MemoryChain-v0", "-n", "2", "--device", "cpu"]
    assert demos(*command) == 0
    recorded = load("demos/sb3_ext-MemoryChain-v0.npz")
    with_default = MemoryChainEnv()
    assert recorded.lengths.tolist() == [len(recorded.episodes[0])] * 2
    lengths = {}
    for length, env in ((4, MemoryChainEnv(length=4)), (10, with_default)):
        env.reset(seed=0)
        steps, over = 0, False
        while not over:
            _, _, terminated, truncated, _ = env.step(0)
            steps, over = steps + 1, terminated or truncated
        lengths[length] = steps
    assert len(recorded.episodes[0]) == lengths[4] != lengths[10]


def test_a_module_typed_with_the_environment_is_imported(
    headless_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gymnasium

    (headless_folder / "handmade_envs.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Handmade-v0', 'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=20)\n"
    )
    monkeypatch.syspath_prepend(headless_folder)
    hold_the_pole(monkeypatch)
    try:
        assert demos("play", "handmade_envs:Handmade-v0", "--fps", "0", "-n", "2", "--seed", "7") == 0
        assert "Saved demos/Handmade-v0.npz" in capsys.readouterr().out
        played = load("demos/Handmade-v0.npz")
        assert played.env_id == "Handmade-v0" and played.lengths.tolist() == [20, 20]
        assert demos("check", "demos/Handmade-v0.npz", "--env", "handmade_envs:Handmade-v0") == 0
        assert "against Handmade-v0" in capsys.readouterr().out
        del gymnasium.registry["Handmade-v0"], sys.modules["handmade_envs"]
        # The file does not bring its module: whoever has the file may not name it.
        assert demos("check", "demos/Handmade-v0.npz") == 2
        assert "unknown environment 'Handmade-v0'" in capsys.readouterr().err
        assert demos("check", "demos/Handmade-v0.npz", "--gym-packages", "handmade_envs") == 0
    finally:
        gymnasium.registry.pop("Handmade-v0", None)
        sys.modules.pop("handmade_envs", None)
    capsys.readouterr()
    for command in (["play"], ["check", "demos/Handmade-v0.npz", "--env"]):
        assert demos(*command, "nowhere_envs:Foo-v0") == 2
        assert "no module named 'nowhere_envs'" in capsys.readouterr().err


def test_a_file_that_does_not_say_how_episodes_ended_asks(capsys: pytest.CaptureFixture[str]) -> None:
    """As SB2 writes CartPole: float64, no final observations, no ends."""
    rng = np.random.default_rng(0)
    starts = np.zeros(700, dtype=bool)
    starts[[0, 500]] = True
    np.savez(
        "expert.npz",
        obs=rng.normal(size=(700, 4)) / 100,
        actions=rng.integers(0, 2, (700, 1)),
        rewards=np.ones(700),
        episode_returns=np.array([500.0, 200.0]),
        episode_starts=starts,
    )
    convert = ["convert", "expert.npz", "ours.npz", "--env", "CartPole-v1"]
    assert demos(*convert) == 2
    error = capsys.readouterr().err
    assert "terminated: the file does not say how episodes ended" in error and "--terminated" in error
    assert not Path("ours.npz").exists()
    assert demos(*convert, "--terminated", "time-limit") == 0
    (cut, dead) = load("ours.npz").episodes
    assert (cut.terminated, cut.truncated, cut.final_known, len(cut)) == (False, True, False, 500)
    assert (dead.terminated, dead.truncated, dead.final_known, len(dead)) == (True, False, False, 200)
    assert demos("check", "ours.npz") == 0
    assert "the final one of episodes 0, 1 is unknown" in capsys.readouterr().out
    assert demos("check", "expert.npz", "--env", "CartPole-v1", "--final-observation", "drop") == 1
    assert "error: terminated: your expert never terminates" in capsys.readouterr().out
    assert demos("info", "ours.npz", "--max-bytes", "100") == 2
    assert "pass max_bytes=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "flags", "modules"),
    [
        ("there.npz", [], None),
        ("sb2.npz", ["--to", "sb2"], None),
        ("d3.h5", [], "h5py"),
        ("trajectories", ["--to", "imitation"], "pyarrow"),
        ("cartpole/expert-v0", ["--to", "minari"], "minari h5py"),
    ],
)
def test_convert_there_and_back(
    target: str, flags: list[str], modules: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (modules or "").split():
        pytest.importorskip(name)
    from sb3_ext.demonstrations import record

    original = record(PPO("MlpPolicy", "CartPole-v1", device="cpu", seed=0), "CartPole-v1", 3, seed=0)
    save(original, "a.npz")
    assert demos("convert", "a.npz", target, *flags) == 0
    assert f"Saved 3 episodes, {original.n_steps} steps" in capsys.readouterr().out
    assert demos("convert", target, "back.npz", "--env", "CartPole-v1") == 0
    back = load("back.npz")
    for ours, theirs in zip(original.episodes, back.episodes, strict=True):
        assert np.array_equal(ours.actions, theirs.actions)
        assert np.array_equal(np.asarray(ours.observations), np.asarray(theirs.observations))
        assert (ours.terminated, ours.truncated) == (theirs.terminated, theirs.truncated)
    assert demos("info", target, "--env", "CartPole-v1") == 0
    capsys.readouterr()
    assert demos("convert", "a.npz", target, *flags) == 2
    assert f"{target} exists; choose another name or " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "required: record|play|info|check|convert|reward|push|pull; see `sb3-ext demos --help`"),
        ("plya", "invalid choice: 'plya' (choose from "),
        ("play CartPol-v1", "unknown environment 'CartPol-v1', did you mean 'CartPole-v1'?"),
        ("play CartPole-v1 --keys left", "keys: 'left' in 'left' is not KEY=ACTION"),
        ("play CartPole-v1 --keys left=2", "action 2.0 of 'left' is not in Discrete(2)"),
        ("play CartPole-v1 --env-kwargs x", "--env-kwargs 'x' is not NAME:VALUE"),
        (
            "play CartPole-v1 -n x",
            "argument -n/--n-episodes/--episodes: invalid int value: 'x'; see `sb3-ext demos play",
        ),
        ("play Pendulum-v1 --keys left=3", "action 3.0 of 'left' is not in Box(-2.0, 2.0"),
        ("play CartPole-v1 -o no.npz/a", "no.npz is no folder that can be written to"),
        (
            "record --algo ppo --env CartPole-v1",
            "no ppo agent for CartPole-v1: no logs/ppo/CartPole-v1_0/best_model.zip",
        ),
        ("record --algo pppo --env CartPole-v1", "unknown --algo 'pppo', did you mean 'ppo'?"),
        ("record --algo ppo --env CartPole-v1 --model no.npz", "no.npz is no model: not a zip"),
        ("record --algo ppo --env CartPole-v1 --stochastic --deterministic", "not allowed with argument"),
        ("info none.npz", "none.npz"),
        ("info none", 'there is no none; a data set of Minari by its id needs format="minari" (--from minari)'),
        ("check no.npz", "no.npz: not an .npz file, or cut short"),
        ("info a.h5", "there is no a.h5"),
        ("info a.parquet --env CartPole-v1", "there is no a.parquet"),
        ("info no.npz --from sb2", "the sb2 format does not hold the spaces: name the environment by --env"),
        ("convert a.npz b", "b: the name does not tell the format; pass --to, one of npz, minari"),
    ],
)
def test_wrong_input_is_answered_in_one_line(
    arguments: str,
    message: str,
    headless_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    (headless_folder / "no.npz").write_text("no archive")
    assert demos(*arguments.split()) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("sb3-ext demos: ")
    assert message in line
    assert [path.name for path in headless_folder.iterdir()] == ["no.npz"], "nothing is left behind"


def test_a_file_with_nan_is_refused_with_the_place(capsys: pytest.CaptureFixture[str]) -> None:
    from sb3_ext.demonstrations import record

    save(record(PPO("MlpPolicy", "CartPole-v1", device="cpu", seed=0), "CartPole-v1", 3, seed=0), "a.npz")
    with np.load("a.npz") as file:
        arrays = dict(file)
    arrays["observations"][3, 1] = np.nan
    np.savez("a.npz", **arrays)
    assert demos("check", "a.npz") == 2
    assert "episode 0: observations: nan at step 3 is not finite" in capsys.readouterr().err


def test_a_missing_display_or_pygame_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    assert demos("play", "CartPole-v1") == 2
    assert capsys.readouterr().err == 'sb3-ext demos: play needs pygame: pip install "sb3-ext[demos]"\n'


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("record", "play", "info", "check", "convert"):
        with pytest.raises(SystemExit, match="0"):
            demos(command, "--help")
        assert f"usage: sb3-ext demos {command}" in capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    assert "record, play, inspect, check, convert, push and pull expert demonstrations" in capsys.readouterr().out
