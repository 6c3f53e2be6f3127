"""ActorEnvs as SB3's models and their users meet it: what is asked of it, what is refused, and how trainings follow."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import re
import sys
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC, HerReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize
from support.actors import inline, logged
from support.q_models import assert_items_are_whole, make_env, make_model, make_rainbow, make_rainbowr
from support.worlds import TaggedEnv

from sb3_ext import R2D2, TD3, Rainbow
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed import ActorEnvs, ActorsFailed, RestartPolicy, backends, distribute
from sb3_ext.distributed.inline import InlineBackend


def learned(env: VecEnv, n_steps: int = 120, **kwargs: Any) -> Rainbow:
    model = make_rainbow(env=env, **{"train_freq": 4, **kwargs})
    model.learn(n_steps)
    return model


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (dict(n_actors=0), "n_actors 0 must be at least 1"),
        (dict(envs_per_actor=0), "envs_per_actor 0 must be at least 1"),
        (dict(orders=0), "orders 0 must be at least 1"),
        (dict(chunk=0), "chunk 0 must be at least 1 step, or None"),
        (dict(chunk=8, lockstep=True), "chunk 8 with lockstep=True: blocks are of train_freq steps then, leave it out"),
        (dict(publish_every=0), "publish_every 0 must be at least 1"),
        (dict(publish_seconds=-1.0), "publish_seconds -1.0 must be at least 0, or None"),
        (dict(initial_priorities="low"), 'initial_priorities \'low\' must be "auto", "highest" or "actor"'),
        (dict(backend="threads"), "backend 'threads' is none of 'inline', 'process', 'ray'"),
        (dict(backend=3), "backend 3 must be 'inline', 'process', 'ray' or have Backend's methods"),
        (dict(backend_kwargs=dict(a=1)), "backend_kwargs of InlineBackend: .*"),
        (dict(order_timeout=0.0), "order_timeout 0.0 must be positive: it is in seconds"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        ActorEnvs(make_env, **{"n_actors": 2, "backend": "inline", **changes})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (dict(n_actors=2.0), "n_actors 2.0 must be an integer"),
        (dict(n_actors=True), "n_actors True must be an integer"),
        (dict(envs_per_actor="8"), "envs_per_actor '8' must be an integer"),
        (dict(chunk=16.0), "chunk 16.0 must be an integer, or None"),
        (dict(order_timeout="60"), "order_timeout '60' must be a number"),
        (dict(publish_seconds="1"), "publish_seconds '1' must be a number, or None"),
        (dict(restarts=3), r"restarts 3 must be a RestartPolicy, like RestartPolicy\(max_in=10\)"),
        (dict(make_env="CartPole-v1"), "make_env is a str: it must be a function from a number of .*"),
        (dict(make_env=make_env(2)), "make_env is a DummyVecEnv: it must be a function .*"),
    ],
)  # fmt: skip
def test_values_of_another_kind(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(TypeError, match=f"^{line}$"):
        ActorEnvs(**{"make_env": make_env, "n_actors": 2, "backend": "inline", **changes})


def test_an_algorithm_that_steps_its_environments_is_given_no_actors() -> None:
    def pendulum(n: int) -> DummyVecEnv:
        return DummyVecEnv([lambda: gym.make("Pendulum-v1")] * n)

    for model in (TD3("MlpPolicy", pendulum(2)), SAC("MlpPolicy", pendulum(2))):
        with pytest.raises(ValueError, match=r"^(TD3|SAC) does not learn from actors: use R2D2, Rainbow or RainbowR"):
            distribute(model, pendulum, 2, backend="inline")  # type: ignore[arg-type]


def test_a_backend_whose_package_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(backends.CLASSES, "ray", ("ray", "RayBackend"))
    with pytest.raises(
        ValueError, match=re.escape("backend 'ray' needs the package ray: pip install \"sb3-ext[ray]\"")
    ):
        ActorEnvs(make_env, 2, backend="ray")


def two_instead(n: int) -> DummyVecEnv:
    return make_env(2)


@pytest.mark.parametrize(
    ("make", "error", "line"),
    [
        (lambda n: gym.make("CartPole-v1"), TypeError, r"returned a \w*TimeLimit: it must return a VecEnv"),
        (two_instead, ValueError, r"make_env\(1\) returned 2 environments: it must make as many as it is told"),
        (lambda n: VecNormalize(make_env(n)), ValueError, "make_env returned a VecNormalize"),
    ],
)  # fmt: skip
def test_factories_that_make_something_else(make: Any, error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=line):
        ActorEnvs(make, 2, backend="inline")


class OwnStrategy:
    """Without `for_lanes`."""

    def choose(self, q_values: np.ndarray, progress_remaining: float) -> np.ndarray:
        best: np.ndarray = q_values.argmax(axis=1)
        return best

    def rate(self, progress_remaining: float, n_envs: int) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (dict(train_freq=(1, "episode")), r"train_freq \(1, 'episode'\) counts episodes, actors collect steps"),
        (dict(exploration=OwnStrategy()), r"exploration .*OwnStrategy.* has no method for_lanes\(first, n, total\)"),
        (dict(buffer_size=60), "buffer_size gives 15 cells .* lower chunk, or set buffer_size >= "),
        (dict(replay_buffer_class=HerReplayBuffer), "replay_buffer_class HerReplayBuffer must be Pri"),
    ],
)  # fmt: skip
def test_models_that_cannot_learn_from_actors(settings: dict[str, Any], line: str) -> None:
    n_actors, n = (1, 1) if "train_freq" in settings else (2, 2)
    with pytest.raises(ValueError, match=f"^{line}"):
        make_rainbow(env=ActorEnvs(make_env, n_actors, n, backend="inline", chunk=16), **settings)


def test_a_setting_that_was_changed_since_is_refused_when_training_begins() -> None:
    model = learned(inline(make_env, 2, 2))
    model.exploration = OwnStrategy()
    with pytest.raises(ValueError, match="has no method for_lanes"):
        model.learn(10)


@pytest.mark.parametrize("algorithm", [DQN, PPO])
def test_algorithms_that_step_their_environments_end_in_one_line(algorithm: Any) -> None:
    model = algorithm("MlpPolicy", inline(make_env, 2, 2))
    with pytest.raises(RuntimeError, match=r"^ActorEnvs has no model whose policy acts: give it to R2D2"):
        model.learn(10)
    with pytest.raises(RuntimeError, match=r"^ActorEnvs is not stepped but collected from: learn with R2D2"):
        model.get_env().step(np.zeros(4, dtype=int))


def test_sac_too() -> None:
    def pendulum(n: int) -> DummyVecEnv:
        return DummyVecEnv([lambda: gym.make("Pendulum-v1")] * n)

    with pytest.raises(RuntimeError, match=r"^ActorEnvs has no model"):
        SAC("MlpPolicy", inline(pendulum, 1, 2)).learn(10)


def test_another_number_of_environments() -> None:
    model = make_rainbow(6)
    with pytest.raises(ValueError, match="2 actors with 2 environments each are 4, the model has 6"):
        model.set_env(inline(make_env, 2, 2))
    with pytest.raises(ValueError, match="n_actors 4 must divide the model's n_envs 6"):
        distribute(model, make_env, 4, backend="inline")


class Changing:
    """Makes other environments from the second call on."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self, n: int) -> DummyVecEnv:
        self.n_calls += 1
        return make_env(n) if self.n_calls == 1 else DummyVecEnv([lambda: gym.make("CartPole-v1")] * n)


def test_an_actor_with_other_spaces_than_the_learner_names_both() -> None:
    with pytest.raises(
        ActorsFailed, match=r"actor 0 .*observation_space Box\(.*\(4,\).*the learner's is Box\(.*\(3,\)"
    ):
        learned(inline(Changing(), 2, 2))


# ---------------------------------------------------------------------- what SB3 asks of a VecEnv


class Levelled(TaggedEnv):
    """Its level is its first number, from the next observation on."""

    level = 0

    def _obs(self) -> np.ndarray:
        return np.array([self.level, self.episode, self.t], dtype=np.float32) / 16

    def set_level(self, level: int, more: int = 0) -> str:
        self.level = level + more
        return "done"


def levelled(n: int) -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(Levelled())] * n)


def levels(model: DeepQLearning) -> list[list[float]]:
    """Of each lane, those met in this order."""
    assert model.replay_buffer is not None
    cells = model.replay_buffer._cells.observations[""].reshape(model.n_envs, -1, 3)[..., 0] * 16
    head = model.replay_buffer._head
    return [[level for level, _ in groupby(lane[:n].tolist())] for lane, n in zip(cells, head.tolist(), strict=True)]


@pytest.mark.parametrize("lockstep", [True, False])
def test_calls_reach_the_environments_with_the_next_order(lockstep: bool) -> None:
    class Raises(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 80:
                env = self.training_env
                assert env.env_method("set_level", 3, more=1, indices=[1, 2]) == [None, None]
                env.set_attr("number", 5)
                assert env.get_attr("number") == [5] * 4
            return True

    env = inline(levelled, 2, 2, lockstep=lockstep)
    model = make_rainbow(env=env, train_freq=4)
    model.learn(200, callback=Raises())
    assert levels(model) == [[0.0], [0.0, 4.0], [0.0, 4.0], [0.0]]
    env.close()  # others in their place are told, too
    model.learn(80)
    assert levels(model) == [[0.0], [0.0, 4.0, 0.0, 4.0], [0.0, 4.0, 0.0, 4.0], [0.0]]


def test_what_is_asked_of_the_environments_is_answered_here() -> None:
    env = inline(make_env, 2, 2)
    assert env.num_envs == 4 and env.env_is_wrapped(Monitor) == [True] * 4 and env.env_is_wrapped(Monitor, 1) == [True]
    assert env.get_attr("lengths", [0, 3]) == [(7, 1, 23, 12)] * 2
    assert env.has_attr("truncates") and not env.has_attr("nothing")
    assert env.render_mode is None and env.pids == [] and env.dispatcher is None
    assert env.seed(7) == [7, 8, 9, 10]
    assert env.describe() == dict(
        backend="inline", n_actors=2, envs_per_actor=2, chunk=None, orders=2, lockstep=True
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="takes no options of reset"):
        env.set_options({"low": 1})


def test_it_is_neither_pickled_nor_copied_and_a_model_is() -> None:
    model = learned(inline(make_env, 2, 2))
    env = model.get_env()
    for change in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(pickle.PicklingError, match="ActorEnvs can be neither pickled nor copied"):
            change(env)
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    assert Rainbow.load(file).predict(np.zeros((1, 3), np.float32))[0].shape == (1,)


def test_actors_end_with_the_last_reference_to_them() -> None:
    class Noted(InlineBackend):
        n_closed = 0

        def close(self) -> None:
            Noted.n_closed += 1
            super().close()

    model = learned(inline(make_env, 1, 2, backend=Noted()))
    del model
    gc.collect()
    assert Noted.n_closed == 1


@pytest.mark.parametrize("lockstep", [True, False])
def test_closed_while_a_model_learns(lockstep: bool) -> None:
    class Closes(BaseCallback):
        def _on_step(self) -> bool:
            envs.close()
            return True

    envs = inline(make_env, 2, 1, lockstep=lockstep)
    with pytest.raises(RuntimeError, match="ActorEnvs was closed, or given to another model, while a model learns"):
        make_rainbow(env=envs, train_freq=100).learn(400, callback=Closes())


def test_they_begin_anew_after_they_were_closed() -> None:
    env = inline(make_env, 2, 2)
    model = learned(env)
    env.close()
    model.learn(80, reset_num_timesteps=False)
    assert model.num_timesteps == 208
    assert_items_are_whole(model)


# ---------------------------------------------------------------------- one training after the other


KINDS: list[dict[str, Any]] = [dict(lockstep=True), dict(lockstep=False, chunk=7)]


class Numbered:
    """Makes environments whose numbers go on, so that every lane of every actor shows its own."""

    def __init__(self) -> None:
        self.n = -1  # the first one is asked, and not stepped

    def __call__(self, n: int) -> DummyVecEnv:
        numbers = range(self.n, self.n + n)
        self.n += n
        return DummyVecEnv([lambda i=i: Monitor(TaggedEnv(i), allow_early_resets=True) for i in numbers])  # type: ignore[misc]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [make_rainbow, make_rainbowr])
def test_trainings_that_follow_each_other_keep_items_whole(make: Any, kind: dict[str, Any]) -> None:
    model = make(env=inline(Numbered(), 2, 2, **kind))
    model.learn(160)
    model.learn(160)
    for _ in range(3):
        model.learn(40, reset_num_timesteps=False)
    assert model.num_timesteps >= 280
    assert_items_are_whole(model)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [make_rainbow, make_rainbowr])
def test_from_one_process_to_actors_and_back(make: Any, kind: dict[str, Any], tmp_path: Path) -> None:
    model = make(env=VecNormalize(Numbered()(4)), train_freq=3)
    model.learn(120)
    normalizer = model.get_vec_normalize_env()
    count = normalizer.obs_rms.count
    numbered = Numbered()
    env = distribute(model, numbered, 2, backend="inline", **kind)
    assert env.num_envs == 4 and model.get_vec_normalize_env() is not normalizer
    assert model.get_vec_normalize_env().obs_rms.count == count
    model.learn(120, reset_num_timesteps=False)
    assert model.num_timesteps == 240
    assert model.get_vec_normalize_env().obs_rms.count >= count + 120
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = type(model).load(tmp_path / "model", VecNormalize(Numbered()(4)))
    loaded.load_replay_buffer(tmp_path / "replay")
    assert loaded.replay_buffer.n_drawable == model.replay_buffer.n_drawable
    loaded.learn(120, reset_num_timesteps=False)
    assert loaded.num_timesteps == 360
    back = distribute(loaded, Numbered(), 4, backend="inline", **kind)
    loaded.learn(120, reset_num_timesteps=False)
    assert loaded.num_timesteps == 480 and back.describe()["n_actors"] == 4
    assert_items_are_whole(loaded)


def test_a_replay_that_is_loaded_meanwhile_is_gone_on_with(tmp_path: Path) -> None:
    """Blocks that were under way for the other one are not spliced into it."""
    model = make_rainbow(env=inline(Numbered(), 2, 2, lockstep=False, chunk=5))
    model.learn(120)
    model.save_replay_buffer(tmp_path / "replay")
    model.learn(80, reset_num_timesteps=False)
    model.load_replay_buffer(tmp_path / "replay")
    model.learn(80, reset_num_timesteps=False)
    assert model.replay_buffer is not None
    model.replay_buffer.reset()
    model.learn(80, reset_num_timesteps=False)
    assert model.num_timesteps == 360
    assert_items_are_whole(model)


def test_another_model_takes_over() -> None:
    env = inline(Numbered(), 2, 2, lockstep=False, chunk=5)
    first = make_rainbow(env=env)
    first.learn(100)
    steps = first.num_timesteps
    second = make_rainbowr(env=env, train_freq=4)  # other blocks, other weights
    second.learn(100)
    first.learn(100, reset_num_timesteps=False)
    assert first.num_timesteps == steps + 100 and second.num_timesteps >= 100
    assert_items_are_whole(first)
    assert_items_are_whole(second)


# ---------------------------------------------------------------------- seeds


class Drawn(gym.Env):
    """The first observation is drawn."""

    first: list[float] = []  # noqa: RUF012  # of all environments

    def __init__(self) -> None:
        self.observation_space, self.action_space = spaces.Box(0, 1, (1,), np.float64), spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        obs = self.np_random.random(1)
        Drawn.first.append(float(obs[0]))
        return obs, {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        if self.t == 30 and Drawn.breaks:
            Drawn.breaks -= 1
            raise OSError(f"the simulator lost its licence {Drawn.breaks}")
        return np.zeros(1), 0.0, False, self.t == 50, {}

    breaks = 0


def drawn(n: int) -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(Drawn())] * n)


def first_observations(n_actors: int, seed: int | None, breaks: int = 0) -> list[float]:
    Drawn.first, Drawn.breaks = [], breaks
    env: VecEnv = (
        drawn(4) if n_actors == 0 else inline(drawn, n_actors, 4 // n_actors, restarts=RestartPolicy(backoff=(0, 0)))
    )
    learned(env, 800, seed=seed, learning_starts=1000)
    assert Drawn.breaks == 0
    return Drawn.first


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_why_an_actor_is_started_anew_is_said(capsys: pytest.CaptureFixture[str], verbose: int) -> None:
    Drawn.breaks = 1
    learned(inline(drawn, 2, 2), 400, learning_starts=1000, verbose=verbose)
    said = [line for line in capsys.readouterr().out.splitlines() if "licence" in line]
    line = (
        r"actor 0 raised OSError: the simulator lost its licence 0 \(env seed \d+, lane 0, step 30 of its episode\): "
        "it is started anew"
    )
    assert len(said) == (0, 1, 3)[verbose]
    assert verbose == 0 or re.fullmatch(line, said[0])
    assert verbose < 2 or said[2] == "OSError: the simulator lost its licence 0"  # the end of its traceback


def test_environments_have_the_seeds_that_they_have_in_one_process() -> None:
    plain = first_observations(0, seed=3)[:4]
    assert first_observations(2, seed=3)[:4] == first_observations(1, seed=3)[:4] == plain
    assert first_observations(2, seed=4)[:4] != plain


@pytest.mark.parametrize("seed", [None, 3])
def test_no_two_lanes_and_no_two_incarnations_play_the_same_episode(seed: int | None) -> None:
    other = None if seed is None else 103  # SB3 gives lane l the seed + l
    met = first_observations(2, seed, breaks=3) + first_observations(2, other, breaks=1)
    assert len(met) > 12 and len(set(met)) == len(met)


# ---------------------------------------------------------------------- what goes wrong in an actor


class Broken(TaggedEnv):
    """:param at: episode of 7 steps, and step of it, at which the environment number 2 breaks"""

    def __init__(self, number: int, kind: str, at: tuple[int, int]) -> None:
        super().__init__(number, lengths=(7,))
        self.kind, self.at = kind, at

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        if self.number == 2 and (self.episode, self.t) == self.at:
            if self.kind == "raises":
                raise TypeError("no such\nobject")
            obs = np.full(3, np.nan, np.float32)
        return obs, reward, terminated, truncated, info


class Breaking:
    """The third of all environments breaks; numbers begin anew with each round of actors."""

    def __init__(self, kind: str, at: tuple[int, int] = (0, 3)) -> None:
        self.kind, self.at, self.n = kind, at, -1

    def __call__(self, n: int) -> DummyVecEnv:
        numbers = [self.n + i if self.n < 4 else 2 + i for i in range(n)]  # the actor that is made anew is the second
        self.n += n
        return DummyVecEnv([lambda i=i: Monitor(Broken(i, self.kind, self.at)) for i in numbers])  # type: ignore[misc]


def test_an_environment_that_raises_again_ends_the_training_with_its_place() -> None:
    model = make_rainbow(env=inline(Breaking("raises"), 2, 2), train_freq=4)
    logged(model)
    line = r"^actor 1 raised TypeError: no such \(env seed \d+, lane 2, step 3 of its episode\), twice in a row$"
    with pytest.raises(ActorsFailed, match=line) as told:
        model.learn(200)
    assert "in step" in str(told.value.__cause__) and "no such\nobject" in str(told.value.__cause__)
    model.save(io.BytesIO())
    model.set_env(make_env(4))
    model.learn(100, reset_num_timesteps=False)


def test_numbers_that_are_none_name_the_lane_among_all() -> None:
    model = make_rainbow(env=inline(Breaking("nan"), 2, 2), train_freq=4)
    with pytest.raises(
        ActorsFailed, match=r"^actor 1 raised ValueError: observation of env 2 at step 2 of its episode"
    ):
        model.learn(200)


def test_an_actor_that_breaks_once_is_made_anew_and_nothing_crosses_the_cut() -> None:
    class Once(Breaking):
        def __call__(self, n: int) -> DummyVecEnv:
            if self.n == 4:
                self.at = -1, -1
            return super().__call__(n)

    model = make_rainbow(env=inline(Once("raises", (1, 5)), 2, 2, lockstep=False, chunk=3))
    model.learn(400)
    env = model.get_env()
    assert isinstance(env, ActorEnvs) and env.dispatcher is not None
    assert env.dispatcher.restarts == env.dispatcher.failures == 1
    assert model.num_timesteps == 400
    assert_items_are_whole(model, lengths=(7,))


def test_ctrl_c_in_an_actor_ends_the_training_which_may_go_on() -> None:
    class Interrupts(TaggedEnv):
        n_steps = 0

        def step(self, action: int) -> Any:
            Interrupts.n_steps += 1
            if Interrupts.n_steps == 90:
                raise KeyboardInterrupt
            return super().step(action)

    def make(n: int) -> DummyVecEnv:
        return DummyVecEnv([lambda i=i: Monitor(Interrupts(i), allow_early_resets=True) for i in range(n)])  # type: ignore[misc]

    for kind in KINDS:
        Interrupts.n_steps = 0
        model = make_rainbow(env=inline(make, 2, 2, **kind))
        with pytest.raises(KeyboardInterrupt):
            model.learn(200)
        steps = model.num_timesteps
        model.learn(100, reset_num_timesteps=False)
        assert model.num_timesteps == steps + 100
        assert_items_are_whole(model)


def test_environments_in_processes_of_their_own_may_be_an_actor_s() -> None:
    def two_levels(n: int) -> VecEnv:
        return (
            SubprocVecEnv([lambda: Monitor(TaggedEnv())] * n) if n > 1 else DummyVecEnv([lambda: Monitor(TaggedEnv())])
        )

    env = inline(two_levels, 1, 2)
    model = learned(env, 64)
    assert model.num_timesteps == 64
    env.close()


def test_r2d2_refuses_a_file_of_another_number_of_lanes(tmp_path: Path) -> None:
    model = make_model(2)
    model.learn(60)
    model.save_replay_buffer(tmp_path / "replay")
    other = R2D2("MlpLstmPolicy", inline(make_env, 3, 2), burn_in=4, sequence_length=6, period=3, n_steps=2)
    with pytest.raises(ValueError, match="n_envs 2"):
        other.load_replay_buffer(tmp_path / "replay")


@pytest.mark.parametrize(
    ("train_freq", "gradient_steps", "period", "chunk"),
    [
        (1, 4, 5, 2),  # 2 orders of 2 steps are 16 updates
        (1, 2, 5, 4),
        (1, 100, 5, 1),
        (16, 1, 5, 16),
        (16, 1, 20, 20),
        (1, -1, 5, 2),  # as many as environment steps: 4
        (1, 0, 5, 16),
    ],
)
def test_the_chunk_is_as_short_as_many_updates_ask_for(
    train_freq: int, gradient_steps: int, period: int, chunk: int
) -> None:
    envs = ActorEnvs(partial(make_vec_env, "CartPole-v1"), 2, 2, backend="inline")
    model = R2D2(
        "MlpLstmPolicy",
        envs,
        train_freq=train_freq,
        gradient_steps=gradient_steps,
        period=period,
        burn_in=0,
        sequence_length=20,
        device="cpu",
    )
    assert envs.settings.chunk_for(model) == chunk
    envs.close()
