"""`sb3-ext video`, `report` and `plot` on agents that `sb3-ext train` left behind."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sb3_ext import R2D2
from sb3_ext.cli import main as cli
from sb3_ext.cli.filming import STREAMS
from sb3_ext.envs import PendulumPixelsEnv
from sb3_ext.exchange.safe_files import save_safe
from sb3_ext.viz import insight
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.rivals import rival_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """:return: with runs of Rainbow on pictures and of R2D2 on vectors in ``logs``"""
    path = tmp_path_factory.mktemp("agents")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.delenv("DISPLAY", raising=False)
        quiet = ("--final-eval-episodes", "0", "--device", "cpu", "--eval-episodes", "1", "--eval-freq", "100")
        settings = ("-params", "learning_starts:60", "batch_size:4", "n_envs:1")
        for seed in ("1", "2"):
            command = ["train", "--algo", "r2d2", "--env", "CartPoleNoVel-v1", "-n", "200", "--seed", seed]
            assert cli.main([*command, *quiet, *settings, "normalize:True"]) == 0
        command = ["train", "--algo", "rainbow", "--env", "sb3_ext/PendulumPixels-v0", "-n", "200"]
        assert cli.main([*command, *quiet, *settings, "policy:'CnnPolicy'"]) == 0
    return path


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DISPLAY", raising=False)


RECURRENT = ("--algo", "r2d2", "--env", "CartPoleNoVel-v1", "--device", "cpu")
PIXELS = ("--algo", "rainbow", "--env", "sb3_ext/PendulumPixels-v0", "--device", "cpu")


def test_a_recurrent_agent_is_filmed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["video", *RECURRENT, "--max-side", "120", "--max-steps", "12"]) == 0
    out = capsys.readouterr().out
    assert "Loading logs/r2d2/CartPoleNoVel-v1_2/best_model.zip" in out and "steps, return" in out
    assert b"ftypisom" in Path("replay.mp4").read_bytes()[:32]


def test_it_is_said_whose_files_are_trusted_and_safe_ones_are_taken_instead(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = Path("logs/r2d2/CartPoleNoVel-v1_2")
    assert cli.main(["video", *RECURRENT, "--max-steps", "2"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Trusting ")]
    settings = run / "CartPoleNoVel-v1"
    files = [run / "best_model.zip", *(settings / name for name in ("vecnormalize.pkl", "config.yml", "args.yml"))]
    whose = f"Trusting {run.owner()}, whose files may run code when they are read: "
    assert line == whose + ", ".join(map(str, files))

    shutil.copytree("logs", tmp_path / "logs")
    there = tmp_path / settings
    with (there / "vecnormalize.pkl").open("rb") as file:
        normalize = pickle.load(file)
    normalize.venv = None
    save_safe(R2D2.load(run / "best_model.zip", device="cpu"), tmp_path / "safe", vec_normalize=normalize)
    for suffix in ("json", "safetensors"):
        shutil.copy(tmp_path / "safe" / f"vec_normalize.{suffix}", there)
    (there / "vecnormalize.pkl").write_bytes(pickle.dumps(Forbidden()))
    for command in (["video", "--max-steps", "2"], ["enjoy", "-n", "5", "--load-best", "--no-render"]):
        assert cli.main([command[0], *RECURRENT, "-f", str(tmp_path / "logs"), *command[1:]]) == 0
        out = capsys.readouterr().out
        assert "Trusting " in out and "vecnormalize.pkl" not in out
    (there / "vec_normalize.json").unlink()
    with pytest.raises(PermissionError, match="read"):
        cli.main(["enjoy", *RECURRENT, "-f", str(tmp_path / "logs"), "--load-best", "--no-render"])


def test_a_folder_of_safe_files_is_filmed_and_nobody_needs_to_be_trusted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The same episode as from the zip and the pickle."""
    run = Path("logs/r2d2/CartPoleNoVel-v1_2")
    with (run / "CartPoleNoVel-v1" / "vecnormalize.pkl").open("rb") as file:
        normalize = pickle.load(file)
    model = R2D2.load(run / "CartPoleNoVel-v1.zip", device="cpu")
    save_safe(model, tmp_path / "agent", vec_normalize=normalize)
    said = []
    for path in (run / "CartPoleNoVel-v1.zip", tmp_path / "agent"):
        assert cli.main(["video", *RECURRENT, "--model", str(path), "-n", "40", "-o", "safe.gif"]) == 0
        said.append(capsys.readouterr().out)
    lines = [text.splitlines()[-1] for text in said]
    assert lines[0] == lines[1] and "steps, return" in lines[0]
    assert "Trusting " in said[0] and "Trusting " not in said[1]


class Forbidden:
    """A pickle that shall not be read."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise PermissionError("read")


def test_the_latest_run_with_a_model_is_filmed(capsys: pytest.CaptureFixture[str]) -> None:
    run = Path("logs/r2d2/CartPoleNoVel-v1_3")
    (run / "CartPoleNoVel-v1").mkdir(parents=True)
    try:
        for command in (["video", "-n", "2"], ["enjoy", "-n", "2", "--no-render"]):
            assert cli.main([command[0], *RECURRENT, *command[1:]]) == 0
            out = capsys.readouterr().out
            assert "No model in CartPoleNoVel-v1_3: taking CartPoleNoVel-v1_2" in out
            assert "Loading logs/r2d2/CartPoleNoVel-v1_2/" in out
        (run / "rl_model_20_steps.zip").touch()
        assert cli.main(["enjoy", *RECURRENT, "--load-checkpoint", "30", "--no-render"]) == 2
        line = capsys.readouterr().err
        assert "CartPoleNoVel-v1_3 has checkpoints, which --load-last-checkpoint takes" in line
    finally:
        shutil.rmtree(run)


def test_the_flag_knows_the_streams_of_every_family() -> None:
    families = [insight.Mind]
    for family in families:
        families += family.__subclasses__()
    known = {stream for family in families for stream in family.streams} | {"value", "advantage"}  # QMind's own are two
    assert set(STREAMS) == known | {"q"}


@pytest.mark.parametrize("how", ["saliency", "gradcam"])
def test_streams_are_shown_beside_the_frame(how: str) -> None:
    assert cli.main(["video", *PIXELS, "-o", f"{how}.gif", "--explain", how, "--max-steps", "5"]) == 0
    image: Any
    with Image.open(f"{how}.gif") as image:
        assert image.n_frames == 5
        assert image.size[0] > 3 * 2 * 84, "the frame, the value and the advantage"
    assert (
        cli.main(["video", *PIXELS, "-o", "one.gif", "--explain", how, "--max-steps", "2", "--streams", "value"]) == 0
    )
    with Image.open("one.gif") as image:
        assert 2 * 2 * 84 < image.size[0] < 3 * 2 * 84


def test_of_vectors_the_gradients_are_drawn_over_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["video", *RECURRENT, "-o", "bars.mp4", "--explain", "saliency", "--max-steps", "6"]) == 0
    assert "bars.png" in capsys.readouterr().out
    with Image.open("bars.png") as image:
        assert image.size[0] > 400


def data_of(path: str) -> dict[str, Any]:
    found = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', Path(path).read_text(), re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_a_report_of_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", *PIXELS, "-n", "1", "--max-steps", "4"]) == 0
    assert "4 steps, return" in capsys.readouterr().out
    data = data_of("report.html")
    page, data = data, data["agents"][0]["episodes"][0]
    assert set(data["attributions"]) == {"value", "advantage"} and len(data["frames"]["images"]) == 5
    assert [len(data[key]) for key in ("q_values", "rewards", "actions")] == [4, 4, 4]
    assert page["evaluation"]["returns"] and page["curves"][0]["steps"] == [100, 200]
    text = Path("report.html").read_text()
    assert "sb3-ext train --algo rainbow --env sb3_ext/PendulumPixels-v0 -n 200" in text and "CnnPolicy" in text
    assert str(Path.home()) not in text and str(Path.cwd()) not in text, "no paths of this machine"


def test_a_report_of_a_recurrent_agent_on_vectors() -> None:
    assert cli.main(["report", *RECURRENT, "-o", "r2d2.html", "-n", "0", "--max-steps", "6", "--title", "Hi"]) == 0
    page = data_of("r2d2.html")
    (data,) = page["agents"][0]["episodes"]
    assert len(data["hidden"]) == 6 and "evaluation" not in page
    assert data["attributions"]["value"]["size"] == 4
    assert data["inputs"]["names"] == ["Cart Position", "Cart Velocity", "Pole Angle", "Pole Angular Velocity"]
    assert data["action_names"] == ["Push cart to the left", "Push cart to the right"]
    assert "<h1>Hi" in Path("r2d2.html").read_text()


def test_two_runs_of_an_algorithm_in_one_page_from_the_same_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    """Named by their runs; each episode has a seed of its own, the same for both."""
    command = ["report", *RECURRENT, "--versus", "logs/r2d2/CartPoleNoVel-v1_1", "--episodes", "2", "-n", "2"]
    assert cli.main([*command, "--max-steps", "8", "--seed", "5", "--input-names", "x", "v", "a", "w"]) == 0
    out = capsys.readouterr().out
    assert "Loading logs/r2d2/CartPoleNoVel-v1_2/" in out and "Loading logs/r2d2/CartPoleNoVel-v1_1/" in out
    page = data_of("report.html")
    labels = ["R2D2, CartPoleNoVel-v1_2", "R2D2, CartPoleNoVel-v1_1"]
    assert [agent["name"] for agent in page["agents"]] == labels
    assert all(text.startswith(f"seed {5 + i}: ") for i, text in enumerate(page["episodes"]))
    first, second = (agent["episodes"] for agent in page["agents"])
    for a, b in zip(first, second, strict=True):
        # Statistics of observations are each agent's own, so that only what was hidden is alike for certain.
        assert a["inputs"]["names"] == b["inputs"]["names"] == ["x", "v", "a", "w"]
        assert a["frames"]["images"][0] == b["frames"]["images"][0], "they begin alike"
    assert first[0]["frames"]["images"][0] != first[1]["frames"]["images"][0]
    assert {curve["name"] for curve in page["curves"]} == {f"{label}, evaluation" for label in labels}
    assert (
        "<h1>R2D2, CartPoleNoVel-v1_2 and R2D2, CartPoleNoVel-v1_1 on CartPoleNoVel-v1"
        in Path("report.html").read_text()
    )


@pytest.mark.parametrize(
    ("versus", "path"),
    [
        ("ppo", None),
        ("logs/r2d2/CartPoleNoVel-v1_1", "logs/r2d2/CartPoleNoVel-v1_1/best_model.zip"),
        ("logs/r2d2/CartPoleNoVel-v1_1/CartPoleNoVel-v1.zip", "logs/r2d2/CartPoleNoVel-v1_1/CartPoleNoVel-v1.zip"),
        ("r2d2=model.zip", "model.zip"),
        ("safe", "safe"),
    ],
)
def test_the_other_agent_is_named_by_algorithm_run_or_file(versus: str, path: str | None) -> None:
    zipped = Path("logs/r2d2/CartPoleNoVel-v1_1/CartPoleNoVel-v1.zip")
    shutil.copyfile(zipped, "model.zip")
    save_safe(R2D2.load(zipped, device="cpu"), "safe")
    try:
        ref = AgentRef("rainbow", "CartPoleNoVel-v1", exp_id=3, seed=7)
        other = rival_of(ref, versus)
        assert other.algo == ("ppo" if versus == "ppo" else "r2d2")
        assert other.path == (None if path is None else Path(path)) and (other.exp_id == 0 or path is not None)
        assert (other.env_id, other.seed) == ("CartPoleNoVel-v1", 7)
    finally:
        Path("model.zip").unlink()
        shutil.rmtree("safe")


def test_learning_curves_of_several_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plot", "logs"]) == 0
    out = capsys.readouterr().out
    assert "r2d2 on CartPoleNoVel-v1: " in out and "after 200 env steps, 2 runs (evaluations)" in out
    assert "rainbow on sb3_ext-PendulumPixels-v0: " in out and "1 run (" in out and "curves.png" in out
    with Image.open("curves.png") as image:
        assert image.size[0] > 800
    command = ["plot", "ours=logs", "-o", "b.svg", "--env", "sb3_ext/PendulumPixels-v0", "--source", "evaluations"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("ours on sb3_ext-PendulumPixels-v0: ") and "2 runs" not in out
    assert (
        cli.main(["plot", "logs/r2d2/CartPoleNoVel-v1_1", "-o", "c.png", "--source", "monitor", "--window", "3"]) == 0
    )
    assert "1 run (monitor)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("video", *RECURRENT, "-o", "a.avi"), "a.avi: a video ends in .mp4 or .gif"),
        (("video", *RECURRENT, "--explain", "gradcam"), "Grad-CAM needs a convolutional network"),
        (("video", *RECURRENT, "--explain", "saliency", "--streams", "vale"), "no stream 'vale'"),
        (("video", "--algo", "r2d2", "--env", "Pendulum-v1"), "no r2d2 agent for Pendulum-v1"),
        (("report", *PIXELS, "--explain", "gradcam", "--streams", "q"), "streams ['q']"),
        (("report", *RECURRENT, "--versus", "logs/r2d2/CartPoleNoVel-v1_2"), "that is the same agent, logs/r2d2/"),
        (("report", *RECURRENT, "--versus", "ppo"), "no ppo agent for CartPoleNoVel-v1"),
        (("report", *RECURRENT, "--versus", "logs/rainbow/sb3_ext-PendulumPixels-v0_1"), "not of CartPoleNoVel-v1"),
        (("plot", "nowhere"), "there is no folder nowhere"),
        (("plot", "logs", "--env", "Pong"), "no runs of Pong in logs"),
        (("plot", "logs/r2d2", "-o", "a.xyz"), "no picture ends in .xyz"),
        (("video", "--algo", "r2d"), "the following arguments are required: --env"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_wrong_input_is_one_line(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(Path().iterdir())
    assert cli.main(list(arguments)) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"sb3-ext {arguments[0]}: ") and message in err and err.count("\n") == 1
    assert set(Path().iterdir()) == before


def test_an_environment_that_cannot_be_made_to_draw(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = PendulumPixelsEnv.__init__

    def without_graphics(self: PendulumPixelsEnv, *args: Any, render_mode: str | None = None, **kwargs: Any) -> None:
        if render_mode is not None:
            raise AttributeError("no OpenGL")
        original(self, *args, **kwargs)

    monkeypatch.setattr(PendulumPixelsEnv, "__init__", without_graphics)
    assert cli.main(["video", *PIXELS, "-o", "never.gif"]) == 2
    err = capsys.readouterr().err
    assert "draws no pictures here (no OpenGL). Without a display, MuJoCo needs MUJOCO_GL=egl" in err
    assert not Path("never.gif").exists()
    assert cli.main(["report", *PIXELS, "-o", "plain.html", "-n", "0", "--max-steps", "3"]) == 0
    (data,) = data_of("plain.html")["agents"][0]["episodes"]
    assert data["frames"] is None and len(data["rewards"]) == 3


# Only a machine without the library can show what a missing one looks like.
@pytest.mark.skipif(find_library("OSMesa") is not None, reason="OSMesa is installed, so nothing is missing")
def test_a_missing_opengl_library_is_one_line(tmp_path: Path) -> None:
    """MuJoCo looks for it when it is imported, so in a process of its own."""
    command = [sys.executable, "-m", "sb3_ext", "train", "--algo", "td3", "--env", "HalfCheetah-v5", "-n", "1"]
    environment = {**os.environ, "MUJOCO_GL": "osmesa", "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("PYOPENGL_PLATFORM", None)  # which MuJoCo sets, where a test before this one drew with it
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    *_, line = result.stderr.strip().splitlines()
    assert line.startswith("sb3-ext train: MuJoCo finds no OpenGL library, MUJOCO_GL is osmesa")
    assert line.endswith("MUJOCO_GL=egl") and "Traceback" not in result.stderr
