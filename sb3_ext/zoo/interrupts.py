"""Ctrl-C and SIGTERM end a training between two steps, and never while something is saved."""

from __future__ import annotations

import contextlib
import signal
from types import FrameType

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ext.zoo.signals import ending, heard, say


class StopAtStep(BaseCallback):
    """
    The first Ctrl-C ends training after the step under way, or after the update of the rollout under way where an
    algorithm learns from whole rollouts. The second one ends it at once. From then on, and from the end of training, it
    changes nothing until all is saved. SIGTERM is heard as Ctrl-C. So is SIGHUP, which a shell sends again to its jobs
    once the terminal has sent it: from it the second one is as the first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked_by: int | None = None
        """number of the latest signal"""
        self.is_saving = False
        """or about to"""

    @property
    def is_asked(self) -> bool:
        """to end"""
        return self.asked_by is not None

    def listening(self) -> contextlib.AbstractContextManager[None]:
        """:return: block in which it is asked by signals"""
        return heard(self._ask, ending())

    def _ask(self, number: int, frame: FrameType | None) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if self.is_saving:
            say(f"{name}: what is under way is saved first, then it ends")
        elif self.is_asked and name == "SIGHUP":
            return
        elif self.is_asked:
            self.is_saving = True
            raise KeyboardInterrupt
        else:
            say(f"{name}: ending after this step or rollout; once more ends at once, and saves")
        self.asked_by = number

    def _on_rollout_start(self) -> None:
        self.is_first_step = True

    def _on_step(self) -> bool:
        may_end = self.is_first_step or isinstance(self.model, OffPolicyAlgorithm)
        self.is_first_step = False
        ends = self.is_asked and may_end
        if ends and not isinstance(self.model, OffPolicyAlgorithm | OnPolicyAlgorithm):
            raise KeyboardInterrupt  # ARS does not listen to its callbacks; rl-zoo3 catches this
        return not ends
