"""What SB3's side of an algorithm adds where its learner's updates may be captured as CUDA graphs: ``compile``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback

from sb3_ext.learners.captured import (
    CapturedUpdates,
    Compile,
    Learner,
    Tensors,
    as_plain,
    can_capture,
    set_learning_rate,
)
from sb3_ext.learners.trial import fault_of

SelfCompiled = TypeVar("SelfCompiled", bound="CompiledMixin")


class CompiledMixin(OffPolicyAlgorithm):
    """
    Goes before an off-policy algorithm among the bases of a class, which sets `learner` and then calls
    `_setup_capture`.
    """

    compile: Compile
    learner: Learner
    _captured: CapturedUpdates | None = None
    _capture_is_tried = False

    def _check_compile(self) -> None:
        """:raises ValueError: for what it cannot be, here"""
        if self.compile not in ("auto", "on", "off"):
            raise ValueError(f'compile {self.compile!r} must be "auto", "on" or "off"')
        if self.compile == "on" and not can_capture(self.device):
            raise ValueError(f'compile="on" needs CUDA, the device is {self.device}: use "auto"')

    def _setup_capture(self) -> None:
        """
        The learner is a new one. Where its optimizers cannot be captured it is used as it is.

        :raises ValueError: for these, with ``compile="on"``
        """
        self._captured, self._capture_is_tried = None, False
        if self.compile == "off" or not can_capture(self.device):
            return
        for optimizer in self.learner.optimizers:
            if not all("capturable" in group for group in optimizer.param_groups):
                if self.compile == "on":
                    name = type(optimizer).__name__
                    raise ValueError(f'compile="on": {name} cannot be captured, Adam and AdamW can')
                return
        self._captured = CapturedUpdates(self.learner, self.device)

    def _try_capture(self, batch: Callable[[], Tensors], *kind: bool) -> None:
        """
        Find out, before the first update, whether updates can be captured, and run them as they are where not.

        :param batch: gives one as the replay draws it; what it is made of does not matter
        :param kind: of the update that does all there is
        :raises ValueError: where they must be, with ``compile="on"``
        """
        if self._captured is None or self._capture_is_tried:
            return
        self._capture_is_tried = True
        fault = fault_of(self.learner, batch(), kind, self.device)
        if fault is None:
            return
        if self.compile == "on":
            raise ValueError(f'compile="on": updates cannot be captured, {fault}: use "auto"')
        self._captured = None
        warnings.warn(f'updates cannot be captured, {fault}: they run as they are, as with compile="off"', stacklevel=6)

    def _begin_updates(self) -> Callable[..., Any]:  # Any: of the learner's batch and update
        """:return: the learner's update, or what replays it"""
        if self._captured is None:
            return self.learner.update
        self._captured.begin()
        return self._captured.update

    def learn(
        self: SelfCompiled,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfCompiled:
        """Parameters as in SB3; ``tb_log_name`` is the name of the class unless given."""
        name = type(self).__name__ if tb_log_name is None else tb_log_name
        return super().learn(total_timesteps, callback, log_interval, name, reset_num_timesteps, progress_bar)

    def _update_learning_rate(self, optimizers: list[th.optim.Optimizer] | th.optim.Optimizer) -> None:
        """Adds: for captured updates the rate lies in a tensor."""
        if self._captured is None:
            super()._update_learning_rate(optimizers)
            return
        rate = self.lr_schedule(self._current_progress_remaining)
        self.logger.record("train/learning_rate", rate)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            set_learning_rate(optimizer, rate, self.device)

    def get_parameters(self) -> dict[str, dict[str, Any]]:
        """Adds: optimizers as SB3's on a CPU can load them."""
        return {
            name: as_plain(state) if name.endswith("optimizer") else state
            for name, state in super().get_parameters().items()
        }

    def _excluded_save_params(self) -> list[str]:
        # A file of compile="on" shall load on a CPU.
        compiled = ["compile"] if self.compile == "on" else []
        return [*super()._excluded_save_params(), *compiled, "learner", "_captured", "_capture_is_tried"]
