"""What reads the output of a training may go; the training stays, and so does what it has learnt."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path

import pytest
from support.runs import NAME, RUNS, at_step, command, experiment, manifest_of, saved_in

from sb3_ext.cli import main as cli
from sb3_ext.zoo.streams import readers_may_go

pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts


class Unread(io.StringIO):
    """A pipe at whose other end nobody is any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_in_the_block_a_pipe_that_nobody_reads_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with readers_may_go():
            print("one", flush=True)
            assert os.read(read, 100) == b"one\n"
            os.close(read)
            print("two", flush=True)
            print("three")
            assert sys.stdout.fileno() == pipe.fileno() and not sys.stdout.isatty()
        assert sys.stdout is pipe
        print("four", flush=True)  # what was left, too


def test_what_is_no_matter_of_the_stream_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with readers_may_go():
        sys.stderr.close()
        with pytest.raises(ValueError, match="closed"):
            print("one", file=sys.stderr)


def test_a_full_disk_below_a_log_file_is_no_matter_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with readers_may_go():
        print("one", flush=True)


def test_ctrl_c_that_ends_tee_too_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave() -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            monkeypatch.setattr(stream, "_stream", Unread())
        os.kill(os.getpid(), signal.SIGINT)

    at_step(150, leave, monkeypatch)
    assert cli.main(command()) == 130
    assert manifest_of(f"{NAME}_1").ended == "interrupted"
    assert saved_in(f"{NAME}_1").num_timesteps == manifest_of(f"{NAME}_1").num_timesteps == 150


def test_a_training_from_code_does_not_end_by_it_either(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    run = experiment(n_envs=2, learning_starts=40, buffer_size=2000, batch_size=4)
    run.final_eval_episodes = 0
    model, _ = run.setup_experiment() or pytest.fail("no model")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Unread())
        run.learn(model)
        run.save_trained_model(model)
    assert (RUNS / f"{NAME}_1" / f"{NAME}.zip").is_file()
