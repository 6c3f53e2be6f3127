"""
Runs of one command, each with a seed and a process of its own. What ends them is heard here and told to each of them
once; one that fails leaves the others alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

from sb3_ext.zoo.signals import ending, heard


class SeedRuns:
    """
    :param command: program and arguments, to which ``--seed N`` is added
    :param jobs: processes at a time; one alone has the terminal, of several each line says whose it is
    :param on_begin: gets each seed before its run begins
    :param goes_on: gets each seed and the exit code of its run; False = no more of them begin
    """

    def __init__(
        self,
        command: Sequence[str],
        jobs: int = 1,
        on_begin: Callable[[int], None] = lambda seed: None,
        goes_on: Callable[[int, int], bool] = lambda seed, code: True,
    ) -> None:
        self.command = list(command)
        self.jobs = jobs
        self.codes: dict[int, int] = {}
        """exit codes of those that have ended, in that order; negative: the signal that ended it"""
        self.asked_by: int | None = None
        """number of the signal that ends them"""
        self._on_begin = on_begin
        self._goes_on = goes_on
        self._stops = False
        self._under_way: list[subprocess.Popen[bytes]] = []
        # Re-entrant: a signal may come while another one is handled.
        self._lock = threading.RLock()

    def run(self, seeds: Sequence[int]) -> None:
        """
        Returns once all processes have ended, also when it is asked to end.

        :param seeds: in the order in which they begin
        """
        with heard(self._ask, ending()), ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(self._train, seeds))  # which raises what a thread has raised

    def _ask(self, number: int, frame: FrameType | None) -> None:
        with self._lock:
            self.asked_by = number
            for process in self._under_way:
                process.send_signal(number if number == signal.SIGINT else signal.SIGTERM)

    def _train(self, seed: int) -> None:
        shares_terminal = self.jobs > 1
        pipe = subprocess.PIPE if shares_terminal else None
        with self._lock:  # a signal finds each process that has begun
            if self.asked_by is not None or self._stops:
                return
            self._on_begin(seed)
            process = subprocess.Popen(
                [*self.command, "--seed", str(seed)],
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=subprocess.STDOUT if shares_terminal else None,
                env={**os.environ, "PYTHONUNBUFFERED": "1"} if shares_terminal else None,
                # Out of reach of the terminal's Ctrl-C: two signals would end it in the middle of a step.
                start_new_session=True,
            )
            self._under_way.append(process)
        with process:
            if process.stdout is not None:
                for line in process.stdout:
                    shown = line.decode(errors="replace").rstrip("\r\n").rpartition("\r")[2]  # as a bar ended
                    sys.stdout.write(f"[seed {seed}] {shown}\n")
                    sys.stdout.flush()
            code = process.wait()
        with self._lock:
            self._under_way.remove(process)
            self.codes[seed] = code
            self._stops |= not self._goes_on(seed, code)
