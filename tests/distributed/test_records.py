"""What is logged of actors, from deliveries that nobody collected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from support.worlds import TaggedEnv

from sb3_ext import R2D2, Rainbow
from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.distributed.messages import Delivery, Ended
from sb3_ext.distributed.records import ActorRecords, n_bytes

N_ENVS = 4  # two actors of two


@dataclass
class FakeCounts:
    alive: int = 2
    restarts: int = 0
    broken: int = 0
    learner_waits: float = 0.0


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def block(n_steps: int) -> LaneBlock:
    n, none = 2 * n_steps, np.zeros(0, np.int64)
    cells = {"": np.zeros((n, 3), np.float32)}
    columns: dict[str, np.ndarray] = {"action": np.zeros(n, np.int64), "reward": np.zeros(n, np.float32)}
    counts = np.full(2, n_steps)
    states = (np.zeros((1, 1, 5), np.float32), np.zeros((1, 1, 5), np.float32))
    return LaneBlock(
        n_steps,
        np.arange(2),
        np.zeros(2, bool),
        counts,
        cells,
        columns,
        none,
        none,
        np.zeros(1, np.int64),
        states,
        None,
    )


def delivery(actor: int, n_updates: int = 0, n_steps: int = 10, **changes: Any) -> Delivery:
    plain = Delivery(actor, 0, 0, n_steps, 3, n_updates, block(n_steps), (), None, 0.5, 0.25, 7 * 2**20)
    return plain._replace(**changes)


def begun(clock: Clock | None = None, n_actors: int = 2, **keywords: Any) -> ActorRecords:
    settings: dict[str, Any] = {"gradient_steps": 3, "batch_size": 8, "burn_in": 2, "sequence_length": 4, "period": 2}
    env = make_vec_env(TaggedEnv, N_ENVS, seed=0)
    model = R2D2("MlpLstmPolicy", env, train_freq=6, device="cpu", **{**settings, **keywords})
    records = ActorRecords(n_actors, 2, Clock() if clock is None else clock)
    records.begin(model, 0, 0.0)
    return records


def logged(records: ActorRecords, counts: FakeCounts | None = None, **now: int) -> dict[str, Any] | None:
    logger = Logger(None, [])
    told = {"num_timesteps": 0, "n_updates": 0, "version": 0, **now}
    if not records.log(logger, FakeCounts() if counts is None else counts, **told):
        return None
    assert set(logger.name_to_excluded.values()) == {("stdout",)}
    return {name.removeprefix("actors/"): value for name, value in logger.name_to_value.items()}


def test_lag_is_counted_in_updates_when_a_block_is_stored() -> None:
    clock = Clock()
    records = begun(clock)
    lags = [4, 0, 9, 5, 2]
    for lag in lags:
        records.stored(delivery(lag % 2, n_updates=20 - lag), n_updates=20, seconds=0.0)
    clock.now += 4
    told = logged(records, num_timesteps=400, n_updates=50)
    assert told is not None
    assert (
        told["lag_updates"] == 4 and told["lag_updates_max"] == 9 and told["lag_updates_p95"] == np.quantile(lags, 0.95)
    )
    assert told["updates_per_step"] == 1 / 8 and told["lag_steps"] == 4 * 8
    assert told["samples_per_insert"] == 50 * 8 / (400 / 2)  # draws, and windows: one every `period` steps


def test_shares_and_speeds_are_of_the_time_since_the_last_record() -> None:
    clock = Clock()
    records = begun(clock)
    for _ in range(2):  # the second time nothing of the first is left
        begin, bytes_then = clock.now, n_bytes(delivery(0))
        records.stored(delivery(0, rss=9 * 2**20), 0, seconds=0.3)
        records.stored(delivery(1, n_steps=10, collect_seconds=2.0, waited_seconds=1.0), 0, seconds=0.1)
        clock.now = begin + 4
        told = logged(records, FakeCounts(learner_waits=(begin - 100) / 4 + 1.0), version=12)
        assert told is not None
        assert told["learner_waits"] == 0.25 and told["ingest"] == pytest.approx(0.1)
        assert told["actors_wait"] == 1.25 / 3.75 and told["bytes_per_s"] == 2 * bytes_then / 4
        assert told["speed_0"] == 20 / 0.5 and told["speed_1"] == told["slowest_steps_per_s"] == 20 / 2
        assert told["rss_max"] == 9 and told["weights_version"] == 12 and told["version_0"] == 3


def test_bytes_are_those_of_every_array() -> None:
    n, row = 20, 3 * 4 + 8 + 4  # cells, action, reward
    lanes = 2 * 8 + 2 + 2 * 8  # lanes, opened, counts
    in_all = n * row + lanes + 8 + 2 * 5 * 4
    assert n_bytes(delivery(0)) == in_all
    records = begun()
    assert np.isnan(records.bytes_per_step)
    for actor in (0, 1, 0):
        records.stored(delivery(actor), 0, 0.0)
    assert records.bytes_per_step == in_all / n


def test_a_record_every_two_seconds_and_what_is_not_known_is_left_out() -> None:
    clock = Clock()
    records = begun(clock)
    clock.now += 1.9
    assert logged(records) is None
    clock.now += 0.2
    told = logged(records, FakeCounts(alive=1, restarts=3, broken=2))
    assert told == {
        "alive": 1,
        "restarts": 3,
        "broken": 2,
        "learner_waits": 0.0,
        "ingest": 0.0,
        "bytes_per_s": 0.0,
        "weights_version": 0,
        "version_0": 0,
        "version_1": 0,
    }
    clock.now += 1.0
    assert logged(records) is None


def test_returns_are_those_of_the_last_episodes_of_each_actor() -> None:
    clock = Clock()
    records = begun(clock)
    ended = tuple(Ended(step, 2, {"episode": {"r": float(step), "l": 1}}) for step in range(30))
    records.stored(delivery(1, ended=(*ended, Ended(30, 3, {}))), 0, 0.0)  # the last one had no Monitor
    clock.now += 2
    told = logged(records)
    assert told is not None and told["return_1"] == np.mean(range(10, 30)) and "return_0" not in told


def test_many_actors_have_no_curves_of_their_own() -> None:
    clock = Clock()
    records = begun(clock, n_actors=17)
    records.stored(delivery(16), 0, 0.0)
    clock.now += 2
    told = logged(records)
    assert told is not None and told["slowest_steps_per_s"] == 40
    assert not [name for name in told if name.startswith(("speed_", "return_", "version_"))]


@pytest.mark.parametrize(("gradient_steps", "updates", "samples"), [(3, 3, 2), (-1, 24, 16)])
def test_the_ratio_is_told_once(
    capsys: pytest.CaptureFixture[str], gradient_steps: int, updates: int, samples: float
) -> None:
    begun(gradient_steps=gradient_steps)
    assert not capsys.readouterr().out
    records = begun(gradient_steps=gradient_steps, verbose=1)
    line = f"2 actors of 2 environments: {updates} updates per 24 environment steps, {samples} samples per insert\n"
    assert capsys.readouterr().out.endswith(line)
    rainbow = Rainbow(
        "MlpPolicy", make_vec_env(TaggedEnv, N_ENVS), train_freq=2, batch_size=32, device="cpu", verbose=1
    )
    capsys.readouterr()
    records.begin(rainbow, 0, 0.0)
    assert not capsys.readouterr().out
    ActorRecords(2, 2).begin(rainbow, 0, 0.0)
    assert "1 updates per 8 environment steps, 4 samples per insert" in capsys.readouterr().out
