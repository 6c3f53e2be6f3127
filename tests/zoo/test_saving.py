"""Files and folders that appear whole or not at all, whoever dies, links, or fills the disk."""

from __future__ import annotations

import errno
import fcntl
import functools
import io
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_ext import locks as locks_of_files
from sb3_ext import saving
from sb3_ext.envs import MemoryChainEnv
from sb3_ext.saving import whole_saves, write_folder_whole, write_whole


def content(data: bytes) -> Callable[[io.BufferedIOBase], None]:
    def write(file: io.BufferedIOBase) -> None:
        file.write(data)

    return write


def killed_while(work: Callable[[], Any]) -> None:
    """Run it in a process of its own that shall die by SIGKILL."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def die(file: Any) -> None:
    if isinstance(file, Path):
        (file / "half").write_text("half")
    else:
        file.write(b"half")
        file.flush()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(b"old")
    path.chmod(mode)
    seen: list[int] = []

    def write(file: io.BufferedIOBase) -> None:
        (temporary,) = tmp_path.glob(".*.tmp")
        seen.append(stat.S_IMODE(temporary.stat().st_mode))
        file.write(b"new")

    write_whole(path, "zip", write)
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == mode
    assert seen == [mode], "nobody else can read it while it is written either"


def test_a_new_file_has_the_mode_that_the_user_chose_for_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "model.zip", "zip", content(b"new"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.zip").stat().st_mode) == 0o640


def test_a_mode_that_is_right_is_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has one mode for all files may refuse to be asked."""

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    write_whole(tmp_path / "model.zip", "zip", content(b"old"))
    monkeypatch.setattr(os, "chmod", refuse)
    write_whole(tmp_path / "model.zip", "zip", content(b"new"))
    assert (tmp_path / "model.zip").read_bytes() == b"new"


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path, exists: bool) -> None:
    target, link = tmp_path / "big disk" / "model.zip", tmp_path / "model.zip"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, "zip", content(b"new"))
    assert link.is_symlink() and target.read_bytes() == b"new" and not target.is_symlink()
    assert [path.name for path in tmp_path.rglob("*.tmp")] == []


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "model.zip"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, "zip", content(b"new"))
    reader.join()
    assert read == [b"new"] and pipe.is_fifo()


@pytest.fixture(params=["with locks", "without"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have none; then only ids of processes tell who lives."""
    if request.param == "without":
        monkeypatch.setattr(saving, "try_lock", lambda _: True)


@pytest.mark.usefixtures("locks")
def test_what_a_killed_process_left_goes_at_the_next_save_in_the_folder(tmp_path: Path) -> None:
    killed_while(lambda: write_whole(tmp_path / "replay.pkl", "pkl", die))
    assert [path.is_file() for path in tmp_path.glob(".replay.pkl.*.tmp")] == [True]
    killed_while(lambda: write_folder_whole(tmp_path / "agent", die))
    assert [path.is_dir() for path in tmp_path.glob(".*.tmp")] == [True]
    foreign = tmp_path / f".replay.pkl.another-host.{os.getpid()}-0.tmp"
    foreign.touch()
    living: list[int] = []

    def write(file: io.BufferedIOBase) -> None:
        file.write(b"outer")
        write_whole(tmp_path / "model.zip", "zip", content(b"inner"))  # while this one is under way
        living.append(len(list(tmp_path.glob(".replay.pkl.*.tmp"))))

    write_whole(tmp_path / "replay.pkl", "pkl", write)
    assert living == [2], "its own file and that of another machine, whose processes nobody can see from here"
    assert {path.name for path in tmp_path.iterdir()} == {"model.zip", "replay.pkl", foreign.name}
    assert (tmp_path / "replay.pkl").read_bytes() == b"outer"


@pytest.mark.usefixtures("locks")
def test_a_living_process_keeps_its_temporary_file(tmp_path: Path) -> None:
    read, written = os.pipe()
    go_on, say = os.pipe()
    child = os.fork()
    if child == 0:

        def wait(file: io.BufferedIOBase) -> None:
            file.write(b"child")
            os.write(written, b"!")
            os.read(go_on, 1)

        write_whole(tmp_path / "model.zip", "zip", wait)
        os._exit(0)
    os.read(read, 1)
    write_whole(tmp_path / "model.zip", "zip", content(b"parent"))
    assert len(list(tmp_path.glob(".*.tmp"))) == 1
    os.write(say, b"!")
    os.waitpid(child, 0)
    assert (tmp_path / "model.zip").read_bytes() == b"child" and not list(tmp_path.glob(".*.tmp"))
    for each in (read, written, go_on, say):
        os.close(each)


def test_a_process_of_another_container_keeps_its_temporary_file(tmp_path: Path) -> None:
    """Its id is nobody's here, or somebody else's; but it holds the file."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    theirs = tmp_path / f".model.zip.{saving.HOST}.{child}-0.tmp"
    with theirs.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_whole(tmp_path / "model.zip", "zip", content(b"ours"))
        assert theirs.exists()
    write_whole(tmp_path / "model.zip", "zip", content(b"ours"))
    assert not theirs.exists()


def test_on_windows_which_has_no_fcntl_and_opens_no_folders_both_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open

    def open_as_there(path: Any, *args: Any, **kwargs: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return open_file(path, *args, **kwargs)

    for module in (locks_of_files, saving):
        monkeypatch.setattr(module, "IS_WINDOWS", True)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_as_there)
        write_whole(tmp_path / "model.zip", "zip", content(b"new"))
        write_folder_whole(tmp_path / "agent", lambda folder: (folder / "config.json").touch())
    assert {path.name for path in tmp_path.rglob("*")} == {"model.zip", "agent", "config.json"}


def test_where_nothing_can_be_written_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "some temporary name")

    monkeypatch.setattr(saving, "TellingFile", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*/model\.zip'"):
        write_whole(tmp_path / "model", "zip", content(b"new"))


def test_two_threads_that_save_to_one_path_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    both = threading.Barrier(2)

    def save(letter: bytes) -> None:
        def write(file: io.BufferedIOBase) -> None:
            both.wait()
            file.write(letter * 1000)
            both.wait()

        write_whole(path, "zip", write)

    threads = [threading.Thread(target=save, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in (b"a" * 1000, b"b" * 1000) and list(tmp_path.iterdir()) == [path]


def fill_disk_after(n_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    original = saving.TellingFile.write

    def write(self: saving.TellingFile, data: Any) -> int:
        nonlocal written
        written += len(data)
        if written > n_bytes:
            with pytest.raises(OSError, match="No space"), open("/dev/full", "wb", buffering=0) as full:
                full.write(data)
            self.failure = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise self.failure
        return original(self, data)

    monkeypatch.setattr(saving.TellingFile, "write", write)


@pytest.mark.parametrize("n_bytes", [0, 3000, 20_000])
def test_a_full_disk_leaves_what_was_there_and_is_named(
    n_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch words it in its own way when it cannot write to a zip."""
    model = DQN("MlpPolicy", "CartPole-v1", device="cpu")
    with whole_saves():
        model.save(tmp_path / "model")
        before = (tmp_path / "model.zip").read_bytes()
        assert len(before) > 20_000
        fill_disk_after(n_bytes, monkeypatch)
        with pytest.raises(OSError, match=r"No space left on device: .*model\.zip"):
            model.save(tmp_path / "model.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]
    assert (tmp_path / "model.zip").read_bytes() == before


class Deadly:
    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


def test_in_the_block_sb3_s_own_algorithms_are_saved_whole(tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([lambda: MemoryChainEnv(length=4)]))
    model = DQN("MlpPolicy", env, device="cpu", buffer_size=10)
    with whole_saves():
        saves: list[tuple[str, Any, Callable[[str], None]]] = [
            ("model.zip", model, model.save),
            ("replay.pkl", model.replay_buffer, model.save_replay_buffer),
            ("vecnormalize.pkl", env, env.save),
        ]
        for name, holder, save in saves:
            path = tmp_path / name
            save(str(path))
            before = path.read_bytes()
            holder.deadly = Deadly()
            killed_while(functools.partial(save, str(path)))
            del holder.deadly
            assert path.read_bytes() == before
    assert th.equal(
        next(iter(DQN.load(tmp_path / "model.zip", device="cpu").policy.parameters())),
        next(iter(model.policy.parameters())),
    )
    assert VecNormalize.load(str(tmp_path / "vecnormalize.pkl"), env.venv).norm_obs


def test_a_folder_that_someone_else_was_quicker_to_make_is_left_alone(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "mine").touch()
        (tmp_path / "agent").mkdir()
        (tmp_path / "agent" / "theirs").touch()

    with pytest.raises(ValueError, match="agent: exists already; choose another path or remove it"):
        write_folder_whole(tmp_path / "agent", write)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["agent", "agent/theirs"]
