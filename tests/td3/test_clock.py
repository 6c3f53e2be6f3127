"""The remaining progress lies in [0, 1] for all who read it, though SB3's does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stable_baselines3 as sb3
from support.control import Reach, noise, trained

from sb3_ext import DDPG, TD3
from sb3_ext.td3 import Scheduled

OVERSHOOTS: dict[str, Any] = {"train_freq": (1, "episode"), "gradient_steps": -1, "total": 38}  # 6 episodes of 7: 42


def rates_of(cls: type[sb3.TD3], **keywords: Any) -> tuple[Any, list[float]]:
    """:return: a model trained beyond its end, and the rates that it was given"""
    clocks: list[float] = []

    def schedule(left: float) -> float:
        clocks.append(left)
        return 1e-3 * left

    return trained(cls, learning_rate=schedule, **{**OVERSHOOTS, **keywords}), clocks


@pytest.mark.parametrize("cls", [TD3, DDPG])
def test_schedules_end_at_zero_where_the_last_rollout_overshoots(cls: type[sb3.TD3]) -> None:
    _, stock = rates_of(sb3.TD3)
    assert min(stock) < 0, "SB3's clock runs on, or this test shows nothing"
    model, clocks = rates_of(cls)
    assert model.num_timesteps == 42 and min(clocks) == 0 and max(clocks) == 1
    assert model.actor.optimizer.param_groups[0]["lr"] == 0


def test_the_noise_ends_with_its_schedule() -> None:
    model = trained(TD3, action_noise=Scheduled(noise(), final=0.25), **OVERSHOOTS)
    assert model.noise_scale == 0.25


def test_a_clock_that_overshot_before_it_was_saved_is_clamped_too(tmp_path: Path) -> None:
    model, _ = rates_of(sb3.TD3)
    assert model._current_progress_remaining < 0
    model.save(tmp_path / "model")
    loaded = TD3.load(tmp_path / "model", env=Reach(), device="cpu")
    assert loaded._current_progress_remaining == 0
    loaded._update_current_progress_remaining(30, 120)
    assert loaded._current_progress_remaining == 0.75
    loaded._update_current_progress_remaining(-30, 120)
    assert loaded._current_progress_remaining == 1
