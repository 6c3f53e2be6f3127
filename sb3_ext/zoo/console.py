"""
What `sb3-ext train` shows of a run, by its verbosity: 0, nothing but errors; 1, a bar on a terminal, a line for each
tenth of the run, and at the end what to do next; 2, what SB3 and rl-zoo3 print. Nothing that is learned or written
depends on it, and warnings are heard in all cases.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator

import numpy as np
from rl_zoo3 import exp_manager
from sb3_contrib.ppo_mask import ppo_mask
from sb3_contrib.ppo_recurrent import ppo_recurrent
from stable_baselines3.common import base_class
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.ppo import ppo
from tqdm import tqdm

from sb3_ext.replaced import replaced

SILENT, BRIEF, FULL = 0, 1, 2
PARTS = 10  # of a run, each with a line
LOOK_SECONDS = 0.2  # from one look of the bar to the next, as the speed is
LOOK_STEPS = 100  # at most: warm-up is much faster than what follows it
COLUMNS = ("steps", "return", "evaluation", "best", "steps/s", "left")
WIDTH = 11  # of a column, in characters

# Modules of SB3 and rl-zoo3 that print while a run is prepared and made, whatever they are told or at verbosity 1.
PRINTING = (exp_manager, base_class, ppo, ppo_recurrent, ppo_mask)


def hush(*_: object, **__: object) -> None:
    """In place of `print` and `pprint`."""


@contextlib.contextmanager
def hushed(wanted: bool = True) -> Iterator[None]:
    """
    Within the block SB3 and rl-zoo3 print nothing. Their warnings are no prints.

    :param wanted: False = they do
    """
    with contextlib.ExitStack() as stack:
        if wanted:
            for module in PRINTING:
                stack.enter_context(replaced(module, "print", hush))
            stack.enter_context(replaced(exp_manager, "pprint", hush))
        yield


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Within the block nothing is written to `sys.stdout`, whoever writes."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


class Progress(BaseCallback):
    """
    Shows how far a training is: a line for each tenth on `sys.stdout`, and a bar on `sys.stderr`.

    :param evaluation: whose results are shown, None = there are none
    :param table: whether there are lines
    :param bar: whether there is a bar, None = where stderr is a terminal
    """

    def __init__(self, evaluation: EvalCallback | None, table: bool = True, bar: bool | None = None) -> None:
        super().__init__()
        self.evaluation, self.table, self.bar_wanted = evaluation, table, bar
        self._bar: tqdm[None] | None = None

    def _on_training_start(self) -> None:
        self._goal = max(1, self.locals["total_timesteps"])
        self._then = self._looked = time.perf_counter(), self.model.num_timesteps
        self._part = self.model.num_timesteps * PARTS // self._goal
        disabled = None if self.bar_wanted is None else not self.bar_wanted  # None: where it is no terminal
        self._bar = tqdm(
            total=self._goal,
            initial=min(self._goal, self.model.num_timesteps),
            unit="step",
            miniters=1,
            dynamic_ncols=True,
            disable=disabled,
        )
        if self.table:
            self._say("".join(name.rjust(WIDTH) for name in COLUMNS))
        self._look_again()

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._look()
        return True

    def _on_training_end(self) -> None:
        self.close()

    def close(self) -> None:
        """However training ended: a last line where it was early, and no bar. More than once is as once."""
        if self._bar is None:
            return
        if self._part < PARTS and self._then[1] < self.model.num_timesteps:
            self._show_line()
        self._bar.close()
        self._bar = None

    def _look(self) -> None:
        assert self._bar is not None
        part = min(PARTS, self.num_timesteps * PARTS // self._goal)
        if part > self._part:
            self._part = part
            self._show_line()
        if self.evaluation is not None and math.isfinite(self.evaluation.best_mean_reward):
            self._bar.set_postfix_str(f"best {_score(self.evaluation.best_mean_reward)}", refresh=False)
        # A last rollout goes past the goal; beyond its total a bar of tqdm has neither a length nor a share.
        self._bar.update(min(self._goal, self.num_timesteps) - self._bar.n)
        self._look_again()

    def _look_again(self) -> None:
        """Each step costs a comparison: the step of the next look is foreseen."""
        now, steps = time.perf_counter(), self.model.num_timesteps
        self._next = math.ceil((self._part + 1) * self._goal / PARTS)
        if self._bar is not None and not self._bar.disable:
            speed = (steps - self._looked[1]) / max(now - self._looked[0], 1e-9)
            self._looked = now, steps
            self._next = min(self._next, steps + min(LOOK_STEPS, max(1, int(speed * LOOK_SECONDS))))

    def _show_line(self) -> None:
        now, steps = time.perf_counter(), self.model.num_timesteps
        speed = (steps - self._then[1]) / max(now - self._then[0], 1e-9)
        self._then = now, steps
        if not self.table:
            return
        returns = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        evaluated = self.evaluation
        cells = (
            str(steps),
            _score(np.mean(returns) if returns else -math.inf),
            _score(-math.inf if evaluated is None else evaluated.last_mean_reward),
            _score(-math.inf if evaluated is None else evaluated.best_mean_reward),
            f"{speed:.0f}",
            _clock((self._goal - steps) / speed) if speed > 0 else "-",
        )
        self._say("".join(cell.rjust(WIDTH) for cell in cells))

    def _say(self, line: str) -> None:
        """Past the bar."""
        if self._bar is None or self._bar.disable:
            print(line, flush=True)
        else:
            tqdm.write(line, file=sys.stdout)


def _score(value: float) -> str:
    """:return: what to show of it; -inf = there is none yet, as SB3 says it"""
    return "-" if value == -math.inf else f"{value:.2f}"


def _clock(seconds: float) -> str:
    """:return: as 1:02:03, or 2:03"""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
