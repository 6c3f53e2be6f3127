"""The clock of Q-learning: what is annealed stays between its two ends, also where the last rollout overshoots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from support.q_models import Make, make_env, make_model, make_rainbow, make_rainbowr

from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.ops.exploration import Boltzmann

OVERSHOOTS: dict[str, Any] = {"train_freq": (1, "episode"), "gradient_steps": 2}


class Clocks(BaseCallback):
    """What the strategy and the sampler were told, step by step and draw by draw."""

    def _init_callback(self) -> None:
        model = self.model
        assert isinstance(model, DeepQLearning) and model.replay_buffer is not None
        self.acting: list[float] = []
        self.drawing: list[float] = []
        sampler = model.replay_buffer.sampler
        draw = sampler.draw

        def watched(batch_size: int, progress_remaining: float = 1.0) -> Any:
            self.drawing.append(progress_remaining)
            return draw(batch_size, progress_remaining)

        sampler.draw = watched  # type: ignore[method-assign]

    def _on_step(self) -> bool:
        assert isinstance(self.model, DeepQLearning)
        self.acting.append(self.model._current_progress_remaining)
        return True


@pytest.mark.parametrize("make", [make_model, make_rainbow, make_rainbowr])
def test_what_is_annealed_stops_at_its_end_where_the_last_episode_overshoots(make: Make) -> None:
    rates: list[float] = []

    def rate(progress_remaining: float) -> float:
        rates.append(1e-3 * progress_remaining)
        return rates[-1]

    clocks = Clocks()
    model = make(n_envs=1, learning_rate=rate, exploration=Boltzmann(1.0, final=0.05), **OVERSHOOTS)
    model.learn(25, callback=clocks, log_interval=10_000)  # episodes of 7, 1 and 23 steps
    assert model.num_timesteps == 31
    assert clocks.drawing[-1] == 0 and min(clocks.drawing) == 0 and max(clocks.drawing) <= 1
    assert min(clocks.acting) == 0 and min(rates) == 0
    assert model.logger.name_to_value["rollout/exploration_rate"] == 0.05
    assert model.policy.optimizer.param_groups[0]["lr"] == 0


def test_the_last_actions_are_not_the_worst_ones() -> None:
    model = make_rainbow(n_envs=1, exploration=Boltzmann(1.0, final=0.05), gradient_steps=0,
                         env=make_env(1, lengths=(400,)), train_freq=(1, "episode"))  # fmt: skip
    q_values = np.array([[1.0, 0.0, -1.0]])
    model.policy.act = lambda obs: q_values  # type: ignore[method-assign]
    model.learn(100, log_interval=10_000)
    assert model.num_timesteps == 400 and model.replay_buffer is not None
    late = model.replay_buffer._cells.columns["action"][150:400].ravel()  # the temperature was -2.8 at the end
    assert (late == 0).all()


class Told:
    """Action 0 always, and what it was told of the clock."""

    def __init__(self) -> None:
        self.clock: list[float] = []

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        self.clock.append(progress_remaining)
        return np.zeros(len(q_values), dtype=np.int64)

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        return 0.0


@pytest.mark.parametrize("make", [make_model, make_rainbow])
def test_a_second_training_begins_at_the_beginning_of_its_clock(make: Make) -> None:
    told = Told()
    model = make(n_envs=1, exploration=told, learning_starts=0, gradient_steps=0)
    model.learn(40)
    model.learn(40, reset_num_timesteps=False)
    np.testing.assert_allclose(told.clock, [*(1 - np.arange(40) / 40), *(1 - np.arange(40, 80) / 80)])
