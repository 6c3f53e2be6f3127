"""
SB3's clock, clamped where it enters: a last rollout may overshoot the end of training, and the remaining progress is
then below 0, where temperatures, exponents and learning rates that were annealed to an end go on beyond it.
"""

from __future__ import annotations

from stable_baselines3.common.base_class import BaseAlgorithm


class ClampedClockMixin(BaseAlgorithm):
    """Whoever reads the remaining progress gets it in [0, 1], also of a file that was saved after an overshoot."""

    @property
    def _current_progress_remaining(self) -> float:
        # Under SB3's name, which it saves and loads.
        progress: float = self.__dict__["_current_progress_remaining"]
        return min(max(progress, 0.0), 1.0)

    @_current_progress_remaining.setter
    def _current_progress_remaining(self, progress: float) -> None:
        self.__dict__["_current_progress_remaining"] = progress
