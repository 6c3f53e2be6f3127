"""The simulation of actors: cases whose outcome arithmetic tells."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scale_out_simulation import Case, simulate

# Nothing is in the way of anybody: no latency, no cost, no jitter, a learner that is never busy.
SMOOTH = Case(n_actors=8, speed=100.0, jitter=0.0, chunk=10, ratio=1 / 8, updates=1e6, latency=0.0, ingest=(0.0, 0.0))


def test_actors_that_nobody_hinders_are_always_busy() -> None:
    row = simulate(SMOOTH, 30, 10)
    assert row.env_steps_per_s == pytest.approx(800, rel=0.02) and row.updates_per_s == pytest.approx(100, rel=0.02)
    assert row.actors_busy == pytest.approx(1, abs=0.01) and row.learner_idle == pytest.approx(1, abs=0.01)
    assert row.lag_updates[0] == pytest.approx(10, abs=1)  # 0.1 s at 100 updates a second


def test_a_slow_learner_holds_the_actors_back_and_the_window_holds() -> None:
    case = Case(n_actors=8, speed=100.0, chunk=10, ratio=1 / 8, updates=20.0, latency=0.0, ingest=(0.0, 0.0))
    row = simulate(case, 60, 10)
    assert row.updates_per_s == pytest.approx(20, rel=0.02) and row.env_steps_per_s == pytest.approx(160, rel=0.03)
    assert row.actors_busy == pytest.approx(0.2, rel=0.1) and row.learner_idle < 0.01
    assert 80 < row.off_ratio <= row.window == 160


def test_weights_that_come_with_the_order_are_one_block_older() -> None:
    many = replace(SMOOTH, n_actors=64, jitter=0.1)  # without jitter all blocks would come at one time
    newest, sent = (simulate(replace(many, newest=newest), 30, 30).lag_steps for newest in (True, False))
    assert sent - newest == pytest.approx(640, rel=0.2)  # 64 actors x 10 steps; credit holds some orders back


def test_storing_is_paid_for_and_bounds_the_rest() -> None:
    row = simulate(replace(SMOOTH, jitter=0.1, ingest=(0.0, 5e-3)), 60, 20)
    assert row.env_steps_per_s == pytest.approx(row.ingest / 5e-3, rel=0.01)
    assert 150 < row.env_steps_per_s < 200 and row.actors_busy < 0.3
