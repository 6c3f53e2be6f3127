"""What SB3's side of an algorithm adds where its learner's updates may be captured as CUDA graphs: ``compile``."""

from __future__ import annotations

import io
import pathlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback

from sb3_ext.learners.captured import (
    CapturedUpdates,
    Compile,
    Learner,
    Tensors,
    as_plain,
    can_capture,
    on_device,
    set_learning_rate,
)
from sb3_ext.learners.prefetch import Prefetch, pinned
from sb3_ext.learners.trial import fault_of
from sb3_ext.moved_keywords import refuse_moved

T = TypeVar("T")
SelfCompiled = TypeVar("SelfCompiled", bound="CompiledMixin")


class CompiledMixin(OffPolicyAlgorithm):
    """
    Goes before an off-policy algorithm among the bases of a class, which sets `learner` and then calls
    `_setup_capture`.
    """

    compile: Compile
    prefetch: int = 0
    learner: Learner
    _captured: CapturedUpdates | None = None
    _capture_is_tried = False
    _set_up_for: tuple[Compile, int] | None = None
    _ahead: Prefetch[Any] | None = None  # Any: a batch

    def _check_compile(self) -> None:
        """:raises ValueError: for what it cannot be, here"""
        if self.compile not in ("auto", "on", "off"):
            raise ValueError(f'compile {self.compile!r} must be "auto", "on" or "off"')
        if self.compile == "on" and not can_capture(self.device):
            raise ValueError(f'compile="on" needs CUDA, the device is {self.device}: use "auto"')
        if self.prefetch not in (0, 1):
            raise ValueError(f"prefetch {self.prefetch} must be 1, a batch that is drawn ahead, or 0")

    def _setup_capture(self) -> None:
        """
        The learner is a new one. Where its optimizers cannot be captured it is used as it is.

        :raises ValueError: for these, with ``compile="on"``
        """
        self._captured, self._capture_is_tried = None, False
        self._set_up_for = self.compile, self.prefetch
        self._stop_prefetch()
        self._ahead = Prefetch(self.device) if self.prefetch > 0 and can_capture(self.device) else None
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
        coins = np.random.get_state()
        fault = fault_of(self.learner, batch(), kind, self.device)
        np.random.set_state(coins)
        if fault is None:
            return
        if self.compile == "on":
            raise ValueError(f'compile="on": updates cannot be captured, {fault}: use "auto"')
        self._captured = None
        warnings.warn(f'updates cannot be captured, {fault}: they run as they are, as with compile="off"', stacklevel=6)

    def _begin_updates(self) -> Callable[..., Any]:  # Any: of the learner's batch and update
        """:return: the learner's update, or what replays it; either takes batches of the host too"""
        if self._captured is not None:
            self._captured.begin()
            return self._captured.update
        if not can_capture(self.device):
            return self.learner.update
        return lambda batch, *kind: self.learner.update(on_device(batch, self.device), *kind)

    @property
    def _host(self) -> th.device:
        """Where a replay of the host gathers its batches: on the device, unless that is a GPU."""
        return th.device("cpu") if can_capture(self.device) else self.device

    @contextmanager
    def _batch(self, key: object, draw: Callable[[], Any]) -> Iterator[Any]:  # Any: a batch
        """
        A batch to be trained on within the block, beside which the next one is drawn.

        :param key: what a batch depends on
        :param draw: gives one of the host
        """
        if self._ahead is None:
            yield draw()
            return
        pin = partial(_pinned, draw)
        batch = self._ahead.take(key, pin)
        with self._ahead.drawing(key, pin):
            yield batch

    def _stop_prefetch(self) -> None:
        if self._ahead is not None:
            self._ahead.stop()

    @classmethod
    def load(
        cls: type[SelfCompiled],
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,  # attributes, as SB3 takes them
    ) -> SelfCompiled:
        """Adds: a keyword that has moved names its successor. Parameters as SB3's."""
        refuse_moved(kwargs, ())
        return super().load(path, env, device, custom_objects, print_system_info, force_reset, **kwargs)

    def learn(
        self: SelfCompiled,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfCompiled:
        """
        Parameters as in SB3; ``tb_log_name`` is the name of the class unless given.

        :raises ValueError: for a ``compile`` or ``prefetch`` that was changed to what it cannot be
        """
        if (self.compile, self.prefetch) != self._set_up_for:
            self._check_compile()
            self._setup_capture()
        name = type(self).__name__ if tb_log_name is None else tb_log_name
        try:
            return super().learn(total_timesteps, callback, log_interval, name, reset_num_timesteps, progress_bar)
        finally:
            self._stop_prefetch()

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
        return [
            *super()._excluded_save_params(),
            *compiled,
            "learner",
            "_captured",
            "_capture_is_tried",
            "_set_up_for",
            "_ahead",
        ]


def _pinned(draw: Callable[[], T]) -> T:
    return pinned(draw())
