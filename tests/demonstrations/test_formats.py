"""The table of formats: each is found, read by every door, and loses nothing silently. A new one is one class."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from support.demo_worlds import random_demos, read_as, whole, with_unknowns, write_as
from support.experts import upright

from sb3_ext import DAC, GAIL
from sb3_ext.cli import main as cli
from sb3_ext.demonstrations import Demonstrations, Episode, load, save
from sb3_ext.demonstrations.files import find
from sb3_ext.demonstrations.formats import FORMATS, SB2, Format, Option, Task
from sb3_ext.imitation import AdversarialCallback
from sb3_ext.imitation.expert import channels_first, read_expert

IN_EXTRA = "in the extra `demos`"
PACKAGES = {"d3rlpy": "h5py", "minari": "minari h5py", "imitation": "pyarrow"}
SMALL: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "device": "cpu"}


@pytest.fixture(params=list(FORMATS))
def name(request: pytest.FixtureRequest) -> str:
    for package in PACKAGES.get(request.param, "").split():
        pytest.importorskip(package, reason=IN_EXTRA)
    return str(request.param)


def actions_of(demos: Demonstrations) -> list[Any]:
    return [episode.actions.tolist() for episode in demos.episodes]


def test_a_row_bears_the_name_of_its_class() -> None:
    assert list(FORMATS) == [kind.name for kind in FORMATS.values()] == ["npz", "minari", "imitation", "sb2", "d3rlpy"]


def test_what_is_written_is_recognised_and_read_back(tmp_path: Path, name: str) -> None:
    demos = random_demos()
    path = write_as(name, demos, tmp_path / "demos-v0")
    assert find(path) is find(str(path)) is FORMATS[name]
    back = load(path, observation_space=demos.observation_space, action_space=demos.action_space)
    assert actions_of(back) == actions_of(demos)
    assert [(e.terminated, e.truncated) for e in back.episodes] == [(e.terminated, e.truncated) for e in demos.episodes]
    if not FORMATS[name].holds_spaces:
        with pytest.raises(ValueError, match=rf"the {name} format does not hold the spaces: give observation_space"):
            load(path)


def test_a_format_is_said_by_object_name_or_keywords(tmp_path: Path) -> None:
    demos = random_demos()
    with pytest.raises(ValueError, match="format 'sb3' is none of 'npz', 'minari', 'imitation', 'sb2', 'd3rlpy', such"):
        save(demos, tmp_path / "a", "sb3")
    with pytest.raises(ValueError, match="format 'sb2' has no keyword 'terminate': final_observation, terminated"):
        load(tmp_path / "a", {"sb2": {"terminate": True}})
    with pytest.raises(ValueError, match="terminated 'dead' must be True, False or one of time_limit, unknown"):
        SB2(terminated="dead")  # type: ignore[arg-type]
    assert SB2(terminated=True) == SB2(terminated=True) != SB2()
    assert save(demos, tmp_path / "a", SB2()).read_bytes() == save(demos, tmp_path / "b", "sb2").read_bytes()


def test_what_is_no_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no demonstrations")
    (tmp_path / "folder").mkdir()
    for path in ("a.txt", "folder"):
        with pytest.raises(ValueError, match=rf"{path} is none of npz, .*, d3rlpy by its name and content: say it by"):
            load(tmp_path / path)
    with pytest.raises(FileNotFoundError, match=r"there is no .*nothing; a data set of Minari by its id needs"):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="int is no path, and none of npz"):
        load(3)


# ------------------------------------------------------------------------------------------------------- the learners


def learn(demonstrations: Any) -> Demonstrations:
    """:return: what GAIL's discriminator was shown"""
    model = GAIL("MlpPolicy", "CartPole-v1", demonstrations=demonstrations, **SMALL).learn(16)
    assert isinstance(model.demonstrations, Demonstrations)
    return model.demonstrations


def test_gail_reads_every_format(tmp_path: Path, name: str) -> None:
    demos = upright(2)
    path = write_as(name, demos, tmp_path / "cartpole-v0")
    for seen in (learn(path), learn({"source": str(path), "env_id": "CartPole-v1"})):
        assert actions_of(seen) == actions_of(demos)


def test_gail_dac_and_the_callback_read_trajectories() -> None:
    """Of `imitation`, by their attributes."""
    infos: list[dict[str, bool]] = [{}] * 499 + [{"TimeLimit.truncated": True}]
    listed = [
        SimpleNamespace(obs=e.observations, acts=e.actions, infos=infos, terminal=True) for e in upright(2).episodes
    ]
    assert [(e.terminated, len(e)) for e in learn(listed).episodes] == [(False, 500)] * 2
    callback = AdversarialCallback(listed, seed=0)
    PPO("MlpPolicy", "CartPole-v1", **SMALL).learn(16, callback=callback)
    assert isinstance(callback.demonstrations, Demonstrations) and callback.demonstrations.n_steps == 1000
    cut = SimpleNamespace(obs=np.zeros((4, 3), np.float32), acts=np.zeros((3, 1), np.float32), infos=None)
    cut.terminal = False
    model = DAC("MlpPolicy", "Pendulum-v1", demonstrations=[cut], device="cpu", buffer_size=10)
    assert isinstance(model.demonstrations, Demonstrations) and model.demonstrations.lengths.tolist() == [3]


def test_a_learner_is_told_what_its_file_does_not_say(tmp_path: Path) -> None:
    path = write_as("sb2", upright(2), tmp_path / "a")
    with np.load(path) as file:
        arrays = {key: x for key, x in file.items() if key not in ("final_obs", "terminated", "truncated")}
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="terminated: the file does not say how episodes ended"):
        learn(path)
    for given in ({"sb2": {"terminated": False}}, SB2(terminated=False)):
        assert [e.truncated for e in learn({"source": path, "format": given}).episodes] == [True, True]
    wrong: dict[str, Any]
    for wrong, message in (
        ({"path": path}, "demonstrations: unknown key 'path'"),
        ({"format": "sb2"}, "has no 'source', the file or folder"),
    ):
        for make in (learn, AdversarialCallback):
            with pytest.raises(ValueError, match=message):
                make(wrong)
    with pytest.raises(FileNotFoundError, match="there is no nowhere"):
        AdversarialCallback("nowhere")


@pytest.mark.parametrize("last", [False, True])
def test_images_of_a_file_may_have_channels_last(tmp_path: Path, last: bool) -> None:
    space = spaces.Box(0, 255, (3, 40, 36), np.uint8)
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 40, 36)).astype(np.uint8)
    written = np.moveaxis(images, 1, -1) if last else images
    episode = Episode(written, np.array([0, 1, 0, 1]), np.ones(4), terminated=True, truncated=False)
    of_file = spaces.Box(0, 255, written.shape[1:], np.uint8)
    path = save(Demonstrations((episode,), of_file, spaces.Discrete(2)), tmp_path / "a", "sb2")
    seen = read_expert(path, space, spaces.Discrete(2)).transitions(absorbing=False).observations
    np.testing.assert_array_equal(channels_first(seen, space), images[:4])


# -------------------------------------------------------------------------------------------------------- a new format


@dataclass(frozen=True)
class Toy(Format):
    """Lists in JSON, as a user would add it: this class and its row."""

    name = "toy"
    about = "lists in JSON"
    lacks = "spaces, rewards"
    suffixes = (".toy",)

    terminated: Annotated[bool, Option("how episodes end", (("yes", True), ("no", False)))] = True

    @classmethod
    def recognises(cls, source: object) -> bool:
        return str(source).endswith(".toy")

    def read(self, source: Any, task: Task | None, max_bytes: int | None) -> Demonstrations:
        space, actions, env_id = self.task_of(source, task)
        episodes = tuple(
            Episode(np.array(obs, np.float32), np.array(acts), None, self.terminated, not self.terminated)
            for obs, acts in json.loads(Path(source).read_text())
        )
        return Demonstrations(episodes, space, actions, env_id)

    def write(self, demos: Demonstrations, path: Any) -> Path:
        lists = [[np.asarray(e.observations).tolist(), e.actions.tolist()] for e in demos.episodes]
        Path(path).write_text(json.dumps(lists))
        return Path(path)


def test_a_new_format_is_one_class_and_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(FORMATS, "toy", Toy)
    demos = upright(2)
    save(demos, "ours.npz")
    assert cli.main(["demos", "convert", "ours.npz", "a.toy"]) == 0
    assert "to a.toy (toy)" in capsys.readouterr().out
    back = load("a.toy", observation_space=demos.observation_space, action_space=demos.action_space)
    assert actions_of(back) == actions_of(demos)
    assert learn("a.toy").n_steps == learn({"source": "a.toy", "format": "toy"}).n_steps == 1000
    assert cli.main(["demos", "info", "a.toy", "--env", "CartPole-v1", "--terminated", "no"]) == 0
    assert "episodes      2 (2 truncated), 1000 steps" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["demos", "convert", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Formats: npz, minari, imitation, sb2, d3rlpy, toy." in said and ".npz, .h5, .toy" in said
    assert cli.main(["demos", "info", "ours.npz", "--from", "npy"]) == 2
    assert "unknown format 'npy', did you mean 'npz'?" in capsys.readouterr().err
    assert cli.main(["demos", "info", "ours.npz", "--terminated", "no"]) == 2
    assert "--terminated is for imitation, sb2, toy, and this is npz: leave it out" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------- all


def test_nothing_is_lost_silently(tmp_path: Path, name: str) -> None:
    if name == "npz":
        return  # holds all there is: test_demonstration_files.py
    called = {"sb2": "SB2", "minari": "Minari"}.get(name, name)
    with pytest.raises(ValueError, match=f"kept: {called}.* holds whole episodes"):
        write_as(name, random_demos().subsample(2), tmp_path / "demos-v0")
    if name != "minari":
        with pytest.raises(ValueError, match=r"observations: .* no place for"):
            write_as(name, random_demos("dict"), tmp_path / "demos-v0")
    if name != "imitation":
        with pytest.raises(ValueError, match="rewards: unknown in"):
            write_as(name, random_demos(rewards=False), tmp_path / "demos-v0")
    unknown = with_unknowns(random_demos())
    for episode, what in ((0, "its final observation is unknown"), (1, "nobody knows how it ended")):
        one = replace(unknown, episodes=unknown.episodes[episode : episode + 1])
        if (name, episode) == ("d3rlpy", 0) or name == "sb2":
            continue  # has no final observations anyway; says nothing of ends anyway
        with pytest.raises(ValueError, match=f"episode 0: {what}, and {called}.*"):
            write_as(name, one, tmp_path / "demos-v0")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("h5py", lambda path: read_as("d3rlpy", path, *whole(random_demos()))),
        ("h5py", lambda path: write_as("d3rlpy", random_demos(), path)),
        ("pyarrow", lambda path: read_as("imitation", path, *whole(random_demos()))),
        ("minari", lambda path: read_as("minari", path)),
    ],
)
def test_a_missing_package_is_named(
    tmp_path: Path, package: str, call: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package} is needed here .*pip install 'sb3-ext\[demos\]'"):
        call(tmp_path / "demos-v0")


def test_the_documentation_lists_each_with_what_it_cannot_hold() -> None:
    text = (Path(__file__).parents[2] / "docs" / "demonstrations.md").read_text()
    for name, kind in FORMATS.items():
        assert f"| {kind.about} | `{name}` | {kind.needs} | {kind.lacks} |" in text, name
