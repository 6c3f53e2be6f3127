"""A callback that ends training is heard after the step under way has been learned from."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.callbacks import BaseCallback


class HeardAfterTheStep:
    """
    Stands in for a callback in one rollout of one step: SB3's loop would drop the step that it ends at, which the
    environments have made already.

    :param callback: the one that is heard
    """

    def __init__(self, callback: BaseCallback) -> None:
        self.callback = callback
        self.is_going_on = True

    def on_rollout_start(self) -> None:
        """It begins."""
        self.callback.on_rollout_start()

    def update_locals(self, locals_: dict[str, Any]) -> None:  # Any: of SB3's loop
        """:param locals_: what callbacks may read"""
        self.callback.update_locals(locals_)

    def on_step(self) -> bool:
        """:return: True: whether it ends is in ``is_going_on``"""
        self.is_going_on = self.callback.on_step()
        return True

    def on_rollout_end(self) -> None:
        """It ends."""
        self.callback.on_rollout_end()
