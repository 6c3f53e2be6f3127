"""A training that was saved and goes on learns what it would have learned without, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecMonitor
from support.table_models import VIEWS, Corridor

from sb3_ext import SARSA, DoubleQ, DynaQ, ExpectedSARSA, MonteCarlo, PrioritizedSweeping, QLearning
from sb3_ext.ops.exploration import UCB1
from sb3_ext.tabular import TableAlgorithm
from sb3_ext.tabular.places import place_of, put_back

N, K = 600, 198
TAXI = "Taxi-v4" if "Taxi-v4" in gym.registry else "Taxi-v3"  # of an older gymnasium


class StopAt(BaseCallback):
    """Ends training at this step, as Ctrl-C does."""

    def __init__(self, n_steps: int) -> None:
        super().__init__()
        self.n_steps = n_steps

    def _on_step(self) -> bool:
        return self.num_timesteps < self.n_steps


def state_of(model: TableAlgorithm) -> dict[str, Any]:
    """:return: all that it goes on from"""
    draws = np.random.get_state()[1].copy()  # type: ignore[index]
    numbers = {"steps": model.num_timesteps, "updates": model._n_updates, "episodes": model._episode_num}
    return {**{k: x.numpy().copy() for k, x in model.policy.state_dict().items()}, "draws": draws, **numbers}


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name], x, err_msg=name)


def made(env_id: str, n_envs: int) -> VecEnv:
    kwargs = {"max_episode_steps": 50} if env_id == "CliffWalking-v1" else {}  # which has no limit of its own
    return make_vec_env(env_id, n_envs, env_kwargs=kwargs)


@pytest.mark.parametrize("algorithm", [QLearning, DoubleQ, ExpectedSARSA])
@pytest.mark.parametrize("exploration", [None, "boltzmann"])
def test_files_hold_the_whole_state(algorithm: type[TableAlgorithm], exploration: Any, tmp_path: Path) -> None:
    given = {"seed": 3, "exploration": exploration}
    plain = algorithm("TablePolicy", made("FrozenLake-v1", 3), **given).learn(K)
    plain.learn(N - K, reset_num_timesteps=False)
    expected = state_of(plain)
    model = algorithm("TablePolicy", made("FrozenLake-v1", 3), **given).learn(K)
    model.save(tmp_path / "model")
    np.random.seed(99)  # what else happens in the meantime
    loaded = algorithm.load(tmp_path / "model", env=model.get_env(), force_reset=False)
    loaded.save(tmp_path / "again")  # the state of a loaded model is still that of its file
    again = algorithm.load(tmp_path / "again", env=model.get_env(), force_reset=False)
    again.learn(N - K, reset_num_timesteps=False)
    assert_equal(state_of(again), expected)
    assert again.exploration == plain.exploration


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("env_id", ["FrozenLake-v1", "CliffWalking-v1", TAXI, "Blackjack-v1", "sb3_ext/GridWorld-v0"])
def test_an_interrupted_training_goes_on_in_environments_that_are_made_anew(
    env_id: str, n_envs: int, tmp_path: Path
) -> None:
    plain = QLearning("TablePolicy", made(env_id, n_envs), seed=3).learn(N)
    expected = state_of(plain)
    model = QLearning("TablePolicy", made(env_id, n_envs), seed=3).learn(N, callback=StopAt(K))
    assert model.num_timesteps == K == model.policy.visits.sum(), "the last step is learned from, too"
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    np.random.seed(99)
    loaded = QLearning.load(tmp_path / "model", env=made(env_id, n_envs))
    loaded.load_replay_buffer(tmp_path / "replay")
    loaded.learn(N - K, reset_num_timesteps=False)
    assert_equal(state_of(loaded), expected)
    assert loaded.policy.visits.sum() == N


@pytest.mark.parametrize("algorithm", [DoubleQ, ExpectedSARSA, DynaQ, PrioritizedSweeping])
def test_the_other_tables_go_on_too(algorithm: type[TableAlgorithm], tmp_path: Path) -> None:
    expected = state_of(algorithm("TablePolicy", made("FrozenLake-v1", 3), seed=3).learn(N))
    model = algorithm("TablePolicy", made("FrozenLake-v1", 3), seed=3).learn(N, callback=StopAt(K))
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = algorithm.load(tmp_path / "model", env=made("FrozenLake-v1", 3))
    loaded.load_replay_buffer(tmp_path / "replay")
    assert_equal(state_of(loaded.learn(N - K, reset_num_timesteps=False)), expected)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("algorithm", [SARSA, MonteCarlo])
def test_what_is_under_way_between_two_rollouts_goes_on(
    algorithm: type[SARSA | MonteCarlo], n_envs: int, tmp_path: Path
) -> None:
    """The action that is drawn already, and the episodes that have begun."""
    given: dict[str, Any] = {"seed": 3, "n_steps": 4}
    whole = algorithm("TablePolicy", made(TAXI, n_envs), **given).learn(240)
    whole.learn(1200, reset_num_timesteps=False)
    model = algorithm("TablePolicy", made(TAXI, n_envs), **given).learn(240)
    model.save(tmp_path / "model")
    np.random.seed(99)
    loaded = algorithm.load(tmp_path / "model", env=model.get_env(), force_reset=False)
    loaded.learn(1200, reset_num_timesteps=False)
    assert_equal(*({k: x.numpy() for k, x in m.policy.state_dict().items()} for m in (loaded, whole)))
    assert loaded.policy.visits.sum() > 100
    elsewhere = algorithm.load(tmp_path / "model", env=made(TAXI, n_envs + 1))
    elsewhere.learn(100, reset_num_timesteps=False)  # and begins its episodes there


def test_strategies_that_count_go_on(tmp_path: Path) -> None:
    expected = state_of(QLearning("TablePolicy", made("FrozenLake-v1", 2), exploration=UCB1(), seed=0).learn(N))
    model = QLearning("TablePolicy", made("FrozenLake-v1", 2), exploration="ucb1", seed=0).learn(N, StopAt(K))
    model.save(tmp_path / "model")
    loaded = QLearning.load(tmp_path / "model", env=model.get_env(), force_reset=False)
    assert_equal(state_of(loaded.learn(N - K, reset_num_timesteps=False)), expected)


def test_a_new_training_of_a_loaded_model_follows_its_seed_alone(tmp_path: Path) -> None:
    model = QLearning("TablePolicy", "FrozenLake-v1", seed=0).learn(50)
    model.save(tmp_path / "model")
    drawn = []
    for _ in range(2):
        loaded = QLearning.load(tmp_path / "model", env=made("FrozenLake-v1", 1))
        loaded.learn(50)
        drawn.append(state_of(loaded))
    assert_equal(*drawn)
    other = QLearning.load(tmp_path / "model", env=made("FrozenLake-v1", 1))
    other.set_random_seed(7)
    assert (state_of(other.learn(50))["draws"] != drawn[0]["draws"]).any()


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")  # twice is the test
def test_wrappers_of_all_environments_go_on_too() -> None:
    envs = [VecMonitor(made("FrozenLake-v1", 2)) for _ in range(2)]
    for env in envs:
        env.seed(0)
        env.reset()
    for _ in range(7):
        envs[0].step(np.array([1, 2]))
    place = place_of(envs[0])
    assert place is not None and put_back(envs[1], place)
    for _ in range(60):
        (seen, _, ended, infos), (as_seen, _, as_ended, as_infos) = (env.step(np.array([1, 2])) for env in envs)
        np.testing.assert_array_equal(seen, as_seen)
        np.testing.assert_array_equal(ended, as_ended)
        assert [x.get("episode", {}).get("l") for x in infos] == [x.get("episode", {}).get("l") for x in as_infos]


def test_where_environments_cannot_be_known_they_begin_new_episodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Engine(Corridor):
        """Keeps its state where nobody finds it."""

        def __init__(self) -> None:
            super().__init__()
            self.inside = iter(range(3))

    workers = SubprocVecEnv([Corridor])
    others: list[tuple[VecEnv, VecEnv | Corridor]] = [
        (made("FrozenLake-v1", 1), Corridor()),
        (workers, workers),
        (make_vec_env(Engine, 1), Engine()),
    ]
    for env, made_anew in others:
        model = QLearning("TablePolicy", env, seed=0).learn(20)
        model.save_replay_buffer(tmp_path / "replay")
        other = QLearning("TablePolicy", made_anew, seed=0, verbose=1)
        capsys.readouterr()
        other.load_replay_buffer(tmp_path / "replay")
        assert "they begin new episodes" in capsys.readouterr().out
        other.learn(20, reset_num_timesteps=False)
    workers.close()


def test_a_replay_of_another_kind_is_refused(tmp_path: Path) -> None:
    model = QLearning("TablePolicy", made("FrozenLake-v1", 2), seed=0)
    model.save_replay_buffer(tmp_path / "replay")
    with pytest.raises(ValueError, match="LatestTransitions of 2 environments, not LatestTransitions of 1"):
        QLearning("TablePolicy", "FrozenLake-v1").load_replay_buffer(tmp_path / "replay.pkl")


def test_pairs_in_a_vec_env_go_on(tmp_path: Path) -> None:
    """The space that the model sees is not that of the environments."""
    space, show = VIEWS["tuple, shifted"]

    def pairs() -> VecEnv:
        return make_vec_env(lambda: Corridor(space=space, show=show), 2)

    expected = state_of(QLearning("TablePolicy", pairs(), seed=0).learn(N))
    model = QLearning("TablePolicy", pairs(), seed=0).learn(N, callback=StopAt(K))
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = QLearning.load(tmp_path / "model", env=pairs())
    loaded.load_replay_buffer(tmp_path / "replay")
    assert_equal(state_of(loaded.learn(N - K, reset_num_timesteps=False)), expected)
