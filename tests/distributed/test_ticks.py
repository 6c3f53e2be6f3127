"""What is collected by others is counted as if the learner had stepped: callbacks, clocks and episodes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from support.actors import inline, logged
from support.q_models import make_env, make_rainbow
from support.worlds import TaggedEnv

from sb3_ext.buffers import LaneBlock
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed import ActorEnvs
from sb3_ext.distributed.inline import InlineBackend
from sb3_ext.distributed.messages import Delivery, Ended, Order
from sb3_ext.distributed.ticks import Credit
from sb3_ext.metrics import LearnerMetrics
from sb3_ext.ops.exploration import Greedy

KINDS: dict[str, dict[str, Any]] = {"lockstep": dict(lockstep=True), "as they come": dict(lockstep=False, chunk=5)}


def delivery(actor: int, n_envs: int, rewards: np.ndarray, ended: list[Ended]) -> Delivery:
    """Of K steps whose rewards are given: [K, E]."""
    n_steps = len(rewards)
    lanes = np.arange(actor * n_envs, (actor + 1) * n_envs)
    none = np.zeros(0, np.int64)
    block = LaneBlock(
        n_steps, lanes, np.ones(n_envs, bool), np.full(n_envs, n_steps + 1), {},
        {"reward": np.pad(rewards, ((0, 1), (0, 0))).T.reshape(-1)}, none, none, none, None, None,
    )  # fmt: skip
    return Delivery(actor, 0, 0, n_steps, 1, 0, block, tuple(ended), None, 0.0, 0.0, 0)


def test_every_row_is_counted_once_and_every_episode_told_once() -> None:
    """Deliveries of random actors and lengths: rewards in order of arrival, episodes of a lane in their order."""
    rng = np.random.default_rng(0)
    credit, given, told = Credit(3, 6), Counter[float](), Counter[float]()
    episodes: list[list[int]] = [[] for _ in range(6)]
    told_episodes: list[list[int]] = [[] for _ in range(6)]
    n_ticks = number = 0
    for _ in range(200):
        actor = int(rng.integers(3))
        rewards = rng.normal(size=(int(rng.integers(1, 6)), 2)).astype(np.float32)
        ended = []
        for step in range(len(rewards)):
            for lane in (2 * actor, 2 * actor + 1):
                if rng.random() < 0.7:
                    number += 1
                    episodes[lane].append(number)
                    ended.append(Ended(step, lane, {"episode": number}))
        given.update(rewards.reshape(-1).tolist())
        credit.add([delivery(actor, 2, rewards, ended)])
        while credit.has_tick:
            assert credit.n_transitions >= 6
            tick = credit.take()
            n_ticks += 1
            told.update(tick.rewards.tolist())
            for lane in range(6):
                assert tick.dones[lane] == bool(tick.infos[lane])
                if tick.dones[lane]:
                    told_episodes[lane].append(tick.infos[lane]["episode"])
    assert n_ticks == sum(given.values()) // 6 and credit.n_transitions < 6
    assert set(told) - {0.0} <= set(given)
    for lane in range(6):
        assert told_episodes[lane] == episodes[lane][: len(told_episodes[lane])]
        assert len(episodes[lane]) - len(told_episodes[lane]) < len(episodes[lane]) / 3
    for _ in range(100):  # episodes that waited for their lane come with later ticks
        credit.add([delivery(actor, 2, np.zeros((1, 2), np.float32), []) for actor in range(3)])
        for lane, info in enumerate(credit.take().infos):
            told_episodes[lane] += [info["episode"]] if info else []
    assert told_episodes == episodes


def test_in_lockstep_a_tick_is_one_step_of_every_lane() -> None:
    credit = Credit(2, 4)
    first, second = np.arange(6.0).reshape(3, 2), 10 + np.arange(6.0).reshape(3, 2)
    credit.add([delivery(0, 2, first, [Ended(1, 0, {"episode": "a"})]), delivery(1, 2, second, [])])
    ticks = [credit.take() for _ in range(3)]
    assert [tick.rewards.tolist() for tick in ticks] == [[0, 1, 10, 11], [2, 3, 12, 13], [4, 5, 14, 15]]
    assert [tick.dones.tolist() for tick in ticks] == [[False] * 4, [True, False, False, False], [False] * 4]
    assert not credit.has_tick and credit.n_transitions == 0


class Steps(BaseCallback):
    """Notes each call; ends the training at ``stop_at``."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.stop_at = stop_at
        self.clock: list[tuple[str, int]] = []
        self.lengths: list[list[int]] = []

    def _on_training_start(self) -> None:
        self.lengths = self.lengths or [[] for _ in range(self.training_env.num_envs)]

    def _note(self, what: str) -> None:
        self.clock.append((what, self.num_timesteps))

    def _on_rollout_start(self) -> None:
        self._note("start")

    def _on_rollout_end(self) -> None:
        self._note("end")

    def _on_step(self) -> bool:
        self._note("step")
        assert self.locals["rewards"].shape == self.locals["dones"].shape == (self.training_env.num_envs,)
        for lane, info in enumerate(self.locals["infos"]):
            if "episode" in info:
                assert self.locals["dones"][lane]
                self.lengths[lane].append(info["episode"]["l"])
        return self.stop_at is None or self.num_timesteps < self.stop_at


def learned(env: VecEnv, callbacks: list[BaseCallback], n_steps: int = 240, **kwargs: Any) -> DeepQLearning:
    model = make_rainbow(env=env, train_freq=3, gradient_steps=2)
    logged(model)
    model.learn(n_steps, callback=callbacks, **kwargs)
    return model


@pytest.mark.filterwarnings("ignore:rich is experimental")  # of the progress bar
@pytest.mark.parametrize("kind", KINDS)
def test_callbacks_fire_when_they_do_in_one_process(kind: str, tmp_path: Path) -> None:
    told = []
    for name, env in (("plain", make_env(4)), ("actors", inline(make_env, 2, 2, **KINDS[kind]))):
        steps = Steps()
        evaluated_in = VecNormalize(make_env(1), training=False)
        evaluates = EvalCallback(evaluated_in, eval_freq=10, n_eval_episodes=1, verbose=0, log_path=str(tmp_path))
        saves = CheckpointCallback(15, str(tmp_path / name), save_replay_buffer=True, save_vecnormalize=True)
        model = learned(
            VecNormalize(env), [steps, evaluates, saves, LearnerMetrics(every=50)], progress_bar=name == "actors"
        )
        files = sorted(path.name for path in (tmp_path / name).iterdir())
        told.append((steps.clock, list(evaluates.evaluations_timesteps), files, model.num_timesteps, model._n_updates))
        env.close()
    assert told[0] == told[1]
    assert told[0][1] == [40, 80, 120, 160, 200, 240] and len(told[0][2]) == 12


@pytest.mark.parametrize("kind", KINDS)
def test_no_episode_is_lost(kind: str) -> None:
    """Those of a lane are told in the order in which they were played, all but what is not counted yet."""
    steps = Steps()
    env = inline(make_env, 2, 2, **KINDS[kind])
    learned(env, [steps], 600)
    lengths = (7, 1, 23, 12)
    for told in steps.lengths:
        assert told == [lengths[i % 4] for i in range(len(told))]
        assert sum(told) >= 150 - 20 - 23
    assert abs(sum(map(sum, steps.lengths)) - 600) < 4 * 23 + 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_that_stops_stops_at_once(kind: str) -> None:
    steps = Steps(stop_at=100)
    env = inline(make_env, 2, 2, **KINDS[kind])
    model = learned(env, [steps], 400)
    assert model.num_timesteps == 100 and steps.clock[-1] == ("step", 100)
    before = model._n_updates
    assert model.replay_buffer is not None
    stored = n_stored(model)
    assert stored >= 100
    model.learn(100, reset_num_timesteps=False)  # what was in hand counts first
    assert model.num_timesteps >= 200 and model._n_updates > before
    assert n_stored(model) >= model.num_timesteps


def n_stored(model: DeepQLearning) -> int:
    """Transitions that were ever stored, of a replay that has not gone round: cells without those of observations that
    were final, or are current."""
    replay = model.replay_buffer
    assert replay is not None and not replay.full
    terminated = replay._cells.columns["terminated"]
    assert terminated is not None
    rewards = replay._cells.columns["reward"]
    return int((rewards != 0).sum())  # of TaggedEnv: 1, 2, ...


@pytest.mark.parametrize(("n_actors", "envs_per_actor", "chunk", "orders"), [(1, 1, 3, 1), (3, 2, 4, 2), (2, 3, 17, 3)])
def test_updates_are_those_that_the_ratio_asks_for(n_actors: int, envs_per_actor: int, chunk: int, orders: int) -> None:
    """And what is stored is never more than the window ahead of what was counted."""
    n = n_actors * envs_per_actor

    class Ahead(BaseCallback):
        most = 0

        def _on_step(self) -> bool:
            assert isinstance(self.model, DeepQLearning)
            Ahead.most = max(Ahead.most, n_stored(self.model) - self.num_timesteps)
            return True

    env = ActorEnvs(make_env, n_actors, envs_per_actor, backend="inline", chunk=chunk, orders=orders)
    model = make_rainbow(env=env, train_freq=2, gradient_steps=3, learning_starts=10 * n)
    model.learn(100 * n, callback=Ahead())
    assert model._n_updates == (100 * n - 10 * n) // (2 * n) * 3
    assert env.dispatcher is not None and env.dispatcher.window is not None
    assert 0 < Ahead.most <= env.dispatcher.window.limit


def test_how_episodes_ended_comes_along() -> None:
    seen: list[dict[str, Any]] = []

    class Infos(BaseCallback):
        def _on_step(self) -> bool:
            seen.extend(info for info in self.locals["infos"] if info)
            return True

    def make(n: int) -> DummyVecEnv:
        return DummyVecEnv([lambda: Monitor(TaggedEnv(0, lengths=(5,)))] * n)

    learned(inline(make, 2, 2), [Infos()], 120)
    assert len(seen) > 10
    assert {info["TimeLimit.truncated"] for info in seen} == {True, False}
    assert all(info["episode"]["l"] == 5 for info in seen)


def test_the_first_orders_go_out_with_the_statistics_of_the_first_observations() -> None:
    backend = InlineBackend()
    submit = backend.submit
    known: list[float] = []

    def noted(actor: int, order: Order) -> None:
        known.append(backend._weights.vectors[-1][2 * 3])  # behind means and variances: how many were met
        submit(actor, order)

    backend.submit = noted  # type: ignore[method-assign]
    make_rainbow(env=VecNormalize(ActorEnvs(make_env, 2, 1, backend=backend, chunk=5)), train_freq=4).learn(40)
    assert known[:4] == pytest.approx([2, 2, 2, 2], rel=1e-3)


class Counts(Greedy):
    """Transitions whose action was chosen."""

    n = 0

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        Counts.n += len(q_values)
        return super().choose(q_values, progress_remaining)


@pytest.mark.parametrize("kind", KINDS)
def test_the_warm_up_has_the_steps_that_it_was_given(kind: str) -> None:
    Counts.n = 0
    env = ActorEnvs(make_env, 3, 2, backend="inline", **KINDS[kind])
    model = make_rainbow(env=env, learning_starts=60, train_freq=4, exploration=Counts())
    model.learn(240)
    assert n_stored(model) - Counts.n == 60
