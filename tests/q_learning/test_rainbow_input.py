"""Wrong input to Rainbow and RainbowR ends in one line that names the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from support.q_models import (
    BOTH,
    Make,
    make_env,
    make_rainbow,
    make_rainbowr,
)
from support.q_models import make_model as make_r2d2
from support.worlds import SPACES, SpaceEnv, TaggedEnv

from sb3_ext import Rainbow, RainbowR
from sb3_ext.buffers import PrioritizedReplayBuffer, SequenceReplayBuffer
from sb3_ext.buffers.samplers import Proportional, RankBased
from sb3_ext.networks.heads import C51
from sb3_ext.ops.exploration import Boltzmann
from sb3_ext.r2d2 import R2D2Policy
from sb3_ext.rainbow.policies import CnnPolicy


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"head": {"c51": {"n_atoms": 1}}}, "n_atoms 1 must be an integer >= 2"),
        ({"head": {"c51": {"v_max": -20.0}}}, "v_min -15.0 must be less than v_max -20.0"),
        ({"head": {"c51": {"n_quantiles": 8}}}, "head 'c51' has no keyword 'n_quantiles': .*n_atoms"),
        ({"head": {"c51": {"noise": -0.5}}}, "noise -0.5 must be > 0"),
        ({"head": "c52"}, "head 'c52' is none of 'scalar', 'c51', 'quantile'"),
        ({"head": None}, "head None is none of 'scalar', 'c51', 'quantile'"),
        ({"head": C51}, "head C51 is a class: give an object"),
        ({"sampler": {"proportional": {"alpha": 1.5}}}, r"alpha 1.5 must lie in \[0, 1\]"),
        ({"sampler": None}, "sampler None is none of 'uniform'"),
        ({"policy_kwargs": {"head": C51()}}, r"policy_kwargs 'head' is a keyword of Rainbow.* itself: head=C51\("),
        ({"policy_kwargs": {"head_kwargs": {}}}, r"head_kwargs is now head=C51\("),
        ({"n_steps": 0}, "n_steps 0 must be an integer >= 1"),
        ({"n_steps": 2.5}, "n_steps 2.5 must be an integer >= 1"),
        ({"gamma": 1.5}, r"gamma 1.5 must lie in \[0.0, 1.0\]"),
        ({"batch_size": 0}, "batch_size 0 must be an integer >= 1"),
        ({"buffer_size": 2}, r"buffer_size gives 1 cells to each of 2 environments, but .* set buffer_size >= "),
        ({"target_update_interval": 0}, "target_update_interval 0 must be an integer >= 1"),
        ({"train_freq": 0}, "train_freq 0 must count at least 1 step or episode"),
        ({"max_grad_norm": 0.0}, "max_grad_norm 0.0 must be > 0"),
        ({"exploration": 0.1}, r"exploration 0.1 is none of 'epsilon_greedy'"),
        ({"exploration": Boltzmann}, "exploration Boltzmann is a class: give an object"),
        ({"value_rescaling": "yes"}, "value_rescaling 'yes' must be True, False or a ValueTransform"),
        ({"sampler": "best"}, "sampler 'best' is none of 'uniform', 'proportional'"),
        (
            {"replay_buffer_kwargs": {"sampler": "rank"}},
            "replay_buffer_kwargs 'sampler' is a keyword of Rainbow.* itself: sampler='rank'",
        ),
        (
            {"replay_buffer_kwargs": {"n_steps": 3}},
            "replay_buffer_kwargs 'n_steps' is a keyword of Rainbow.* n_steps=3",
        ),
        (
            {"replay_buffer_class": ReplayBuffer},
            "replay_buffer_class ReplayBuffer must be .*ReplayBuffer or a subclass",
        ),
        ({"replay_buffer_class": HerReplayBuffer}, "replay_buffer_class HerReplayBuffer must be"),
    ],
)
@BOTH
def test_impossible_settings_are_refused_in_the_constructor(make: Make, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make(**keywords)
    assert "\n" not in str(error.value)


def test_each_algorithm_wants_its_own_replay() -> None:
    with pytest.raises(ValueError, match="class SequenceReplayBuffer must be PrioritizedReplayBuffer or a subclass"):
        make_rainbow(replay_buffer_class=SequenceReplayBuffer)
    with pytest.raises(ValueError, match="class PrioritizedReplayBuffer must be SequenceReplayBuffer or a subclass"):
        make_rainbowr(replay_buffer_class=PrioritizedReplayBuffer)


@BOTH
def test_load_checks_the_settings_it_is_given(make: Make, tmp_path: Path) -> None:
    make().save(tmp_path / "model.zip")
    cls = type(make())
    for setting in ({"gamma": 1.5}, {"n_steps": 0}, {"train_freq": (0, "step")}, {"head": "c52"}):
        with pytest.raises(ValueError, match=next(iter(setting))):
            cls.load(tmp_path / "model.zip", device="cpu", **setting)
    with pytest.raises(RuntimeError, match=r"q_net\.head_net\.value"):
        cls.load(tmp_path / "model.zip", device="cpu", head={"c51": {"noise": 0.5, "dueling": None}})


@BOTH
def test_other_actions_than_discrete_ones_get_sb3s_error(make: Make) -> None:
    with pytest.raises(ValueError, match=r"has no actions Box.*: it takes Discrete;"):
        make(env=DummyVecEnv([lambda: Monitor(SpaceEnv(SPACES["box"], spaces.Box(-1.0, 1.0, (1,))))]))
    with pytest.raises(ValueError, match=r"action space Discrete\(3, start=1\) must begin at 0"):
        make(env=DummyVecEnv([lambda: Monitor(SpaceEnv(SPACES["box"], spaces.Discrete(3, start=1)))]))


def test_a_policy_that_does_not_fit_the_observations_names_the_one_that_does() -> None:
    with pytest.raises(ValueError, match=r"observations are a Dict of .*: use MultiInputPolicy"):
        Rainbow("MlpPolicy", SpaceEnv(SPACES["dict"]))
    with pytest.raises(ValueError, match="Dict observations need MultiInputPolicy, not MlpPolicy or CnnPolicy"):
        Rainbow(CnnPolicy, SpaceEnv(SPACES["dict"]))
    with pytest.raises(ValueError, match=r"MultiInputPolicy needs a Dict, got Box.* use MlpPolicy or CnnPolicy"):
        Rainbow("MultiInputPolicy", SpaceEnv(SPACES["box"]))


def test_another_algorithms_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="has no policy 'MlpLstmPolicy'"):
        make_rainbow(policy="MlpLstmPolicy")
    with pytest.raises(ValueError, match="has no policy 'MlpPolicy'"):
        make_rainbowr(policy="MlpPolicy")


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"n_envs": 3}, "has n_envs 3, the model 2"),
        ({"n_steps": 4}, "has n_steps 4, the model"),
        ({"sampler": "uniform"}, "has sampler Uniform"),
        ({"sampler": Proportional(0.3)}, r"has sampler Proportional\(alpha=0.3, "),
        ({"sampler": RankBased()}, r"has sampler RankBased\("),
    ],
)
@BOTH
def test_a_replay_of_other_settings_is_refused_and_the_present_one_kept(
    make: Make, other: dict[str, Any], named: str, tmp_path: Path
) -> None:
    stranger = make(**other)
    stranger.learn(60)
    stranger.save_replay_buffer(tmp_path / "replay.pkl")
    model = make()
    mine = model.replay_buffer
    with pytest.raises(ValueError, match=named):
        model.load_replay_buffer(tmp_path / "replay.pkl")
    assert model.replay_buffer is mine


def test_a_replay_of_another_kind_is_refused(tmp_path: Path) -> None:
    sequences, transitions, stored_once = make_r2d2(2), make_rainbow(), make_rainbow(optimize_memory_usage=True)
    sequences.save_replay_buffer(tmp_path / "sequences.pkl")
    transitions.save_replay_buffer(tmp_path / "transitions.pkl")
    with pytest.raises(ValueError, match="holds a SequenceReplayBuffer, not a PrioritizedReplayBuffer"):
        transitions.load_replay_buffer(tmp_path / "sequences.pkl")
    with pytest.raises(ValueError, match="holds a PrioritizedReplayBuffer, not a SequenceReplayBuffer"):
        make_rainbowr().load_replay_buffer(tmp_path / "transitions.pkl")
    with pytest.raises(ValueError, match=r"has sampler Proportional\(alpha=0.9"):
        make_rainbowr().load_replay_buffer(tmp_path / "sequences.pkl")  # R2D2's exponents
    with pytest.raises(ValueError, match=r"has gamma 0.99, the model 0.5"):  # rewards of sequences are summed later
        make_rainbow(gamma=0.5).load_replay_buffer(tmp_path / "transitions.pkl")
    with pytest.raises(ValueError, match="has frame_channels None, the model 1"):
        stored_once.load_replay_buffer(tmp_path / "transitions.pkl")


@pytest.mark.parametrize("what", ["observation", "reward"])
@BOTH
def test_nan_from_the_environment_is_named_and_nothing_is_stored(make: Make, what: str) -> None:
    class Breaks(TaggedEnv):
        def step(self, action: int) -> Any:
            obs, reward, *rest = super().step(action)
            if self.number == 1 and self.t == 5:
                return (obs * np.nan, reward, *rest) if what == "observation" else (obs, float("nan"), *rest)
            return obs, reward, *rest

    model = make(env=DummyVecEnv([lambda i=i: Monitor(Breaks(i, lengths=(9,))) for i in range(2)]))  # type: ignore[misc]
    with pytest.raises(ValueError, match=f"{what} of env 1 at step 4 of its episode is not finite"):
        model.learn(100)
    assert model.replay_buffer is not None
    assert model.replay_buffer._head.tolist() == [4, 4]


def test_a_policy_or_a_file_of_another_algorithm_is_refused(tmp_path: Path) -> None:
    make_rainbowr().save(tmp_path / "recurrent.zip")
    with pytest.raises(ValueError, match=r"RainbowRPolicy is not for Rainbow: use MlpPolicy or .* load the file with"):
        Rainbow.load(tmp_path / "recurrent.zip", device="cpu")
    make_rainbow().save(tmp_path / "flat.zip")
    with pytest.raises(ValueError, match="RainbowPolicy is not for RainbowR: use MlpLstmPolicy or"):
        RainbowR.load(tmp_path / "flat.zip", device="cpu")
    with pytest.raises(ValueError, match="R2D2Policy is not for Rainbow"):
        Rainbow(R2D2Policy, make_env(1))  # type: ignore[arg-type]
