"""Processes of `train --seeds`, with a few lines of Python in place of a training."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from sb3_ext.zoo.runs.seeds import SeedRuns

# Each is called with ["--seed", "N"].
NOTES = "import sys, pathlib; pathlib.Path(f'seed{sys.argv[2]}').touch(); sys.exit({'1': 3}.get(sys.argv[2], 0))"
WAITS = """
import os, signal, sys
signal.alarm(60)  # and not for ever
heard = []
signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
os.write(os.open("ready", os.O_WRONLY), b"x")
while not heard:
    signal.pause()
for number in heard:
    with open(f"heard{sys.argv[2]}", "a") as file:
        file.write(signal.Signals(number).name + " ")
if sys.argv[2] == "9":
    os.kill(os.getpid(), signal.SIGKILL)
"""
TALKS = "import sys; print('one'); print('bar 1\\rbar 2', file=sys.stderr); print('end', end='')"


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_one_that_fails_leaves_the_others_alone() -> None:
    begun: list[int] = []
    runs = SeedRuns(python(NOTES), on_begin=begun.append)
    runs.run([0, 1, 2])
    assert runs.codes == {0: 0, 1: 3, 2: 0} and begun == [0, 1, 2] and runs.asked_by is None
    assert {path.name for path in Path().iterdir()} == {"seed0", "seed1", "seed2"}


def test_no_more_begin_once_one_says_so() -> None:
    runs = SeedRuns(python(NOTES), goes_on=lambda seed, code: code == 0)
    runs.run([0, 1, 2])
    assert runs.codes == {0: 0, 1: 3}


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_signal_reaches_those_under_way_once_and_no_more_begin(number: signal.Signals, name: str, jobs: int) -> None:
    os.mkfifo("ready")

    def ask() -> None:
        with open("ready", "rb", buffering=0) as file:
            for _ in range(jobs):
                file.read(1)
        os.kill(os.getpid(), number)

    asking = threading.Thread(target=ask)
    asking.start()
    runs = SeedRuns(python(WAITS), jobs)
    runs.run([8, 9, 10])
    asking.join()
    expected = {8: 0, 9: -signal.SIGKILL} if jobs == 2 else {8: 0}
    assert runs.codes == expected and runs.asked_by == number
    assert all(Path(f"heard{seed}").read_text() == f"{name} " for seed in expected)


def test_of_several_at_a_time_each_line_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    SeedRuns(python(TALKS), jobs=2).run([3, 4])
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == [f"[seed {seed}] {text}" for seed in (3, 4) for text in ("bar 2", "end", "one")]
