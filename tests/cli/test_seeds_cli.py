"""`sb3-ext train --seeds`: what it asks of each process, and what it makes of their ends."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.fake_runs import fake_run
from support.manifests import manifest

from sb3_ext.cli import main as cli
from sb3_ext.cli.seeds import seeds, written
from sb3_ext.zoo.runs.seeds import SeedRuns

TYPED = "train --algo ppo --env mine:E -f my_logs -n 1000"


@pytest.mark.parametrize(
    ("text", "values"), [("3", (3,)), ("0-4", (0, 1, 2, 3, 4)), ("7,0-2,9", (7, 0, 1, 2, 9)), ("4-4", (4,))]
)
def test_seeds_are_read_in_order_and_written_again(text: str, values: tuple[int, ...]) -> None:
    assert seeds(text) == values
    assert seeds(written(values)) == values


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """:return: takes what becomes of each seed; its list gets the commands"""
    monkeypatch.chdir(tmp_path)

    def with_ends(ends: dict[int, tuple[int, str]], stopped: bool = False) -> list[list[str]]:
        commands: list[list[str]] = []

        def run(self: SeedRuns, wanted: Sequence[int]) -> None:
            commands.append(self.command)
            self.asked_by = signal.SIGTERM if stopped else None
            for seed, (code, ended) in ends.items():
                assert seed in wanted
                self._on_begin(seed)
                if ended:
                    leave_a_run(seed, ended)
                self.codes[seed] = code
                if not self._goes_on(seed, code):
                    break

        monkeypatch.setattr(SeedRuns, "run", run)
        return commands

    return with_ends


def leave_a_run(seed: int, ended: str) -> None:
    folder = fake_run(f"../my_logs/ppo/E_{seed + 5}", *([1, 10 * seed] if ended == "finished" else []))
    made = {"algorithm": "ppo", "env_id": "E", "n_timesteps": 1000, "num_timesteps": 1000}
    command = f"sb3-ext {TYPED} --seed {seed}"
    manifest(id=f"{seed:032x}", seed=seed, ended=ended, command=command, **made).write(folder)


def test_all_that_was_typed_is_asked_of_each_process_and_they_are_summed_up(
    trained: Callable[..., list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    fake_run("../my_logs/ppo/E_1", 99)  # of before
    commands = trained({1: (0, "finished"), 3: (0, "finished")})
    assert cli.main([*shlex.split(TYPED), "--seeds=1,3", "--jobs", "2", "-P"]) == 0
    assert commands[0][1:] == ["-m", "sb3_ext", *shlex.split(TYPED), "-P"]
    out, err = capsys.readouterr()
    begin, second, titles, *lines, last = out.splitlines()
    assert (begin, second) == ("Seed 1, 1 of 2", "Seed 3, 2 of 2")
    assert titles.startswith("RUN") and [line.split()[0] for line in lines] == ["ppo/E_6", "ppo/E_8"]
    assert last == (
        "2 of 2 seeds have finished; best evaluations: mean 20.00, standard deviation 14.14. "
        "`sb3-ext table my_logs --env mine:E` compares"
    )
    assert not err


def test_one_that_fails_is_named_and_the_rest_counts(
    trained: Callable[..., list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    trained({0: (0, "finished"), 1: (2, "interrupted"), 2: (-signal.SIGKILL, ""), 3: (0, "finished")})
    assert cli.main([*shlex.split(TYPED), "--seeds", "0-3"]) == 1
    out, err = capsys.readouterr()
    assert f"Go on with\n  sb3-ext {TYPED} --seed 1 --resume my_logs/ppo/E_6\n" in out
    assert out.splitlines()[-1].startswith("2 of 4 seeds have finished; ")
    assert err.splitlines() == [
        "sb3-ext train: seed 1 ended with exit code 2",
        "sb3-ext train: seed 2 was ended by SIGKILL",
    ]


def test_after_ctrl_c_the_seeds_that_are_left_have_a_command(
    trained: Callable[..., list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    trained({0: (0, "finished"), 1: (143, "interrupted")}, stopped=True)
    assert cli.main([*shlex.split(TYPED), "--seeds", "0-5", "-tb", "tb"]) == 143
    out, err = capsys.readouterr()
    assert not err
    assert f"  sb3-ext {TYPED} --seed 1 --resume my_logs/ppo/E_6\n  sb3-ext {TYPED} -tb tb --seeds 2-5\n" in out


def test_wrong_input_is_said_once(trained: Callable[..., list[list[str]]], capsys: pytest.CaptureFixture[str]) -> None:
    """By the first process; the others would say the same."""
    leave_a_run(0, "finished")  # before
    trained({0: (2, ""), 1: (2, "")})
    assert cli.main([*shlex.split(TYPED), "--seeds", "0-5"]) == 2
    out, err = capsys.readouterr()
    assert out == "Seed 0, 1 of 6\n" and not err


def test_without_words_only_what_fails_is_said(
    trained: Callable[..., list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    trained({0: (1, ""), 1: (0, "finished")})
    assert cli.main([*shlex.split(TYPED), "--seeds", "0-1", "--verbose", "0"]) == 1
    out, err = capsys.readouterr()
    assert not out and err == "sb3-ext train: seed 0 ended with exit code 1\n"
