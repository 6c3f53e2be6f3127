"""The final observation of an episode reaches every replay of continuous control raw and as a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import stable_baselines3 as sb3
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from support.worlds import LENGTH, Outliers

from sb3_ext import DDPG, TD3
from sb3_ext.buffers import PrioritizedReplayBuffer
from sb3_ext.buffers.device import DeviceReplayBuffer
from sb3_ext.imitation import DAC, DACSAC

REPLAYS: list[tuple[type[ReplayBuffer], dict[str, Any]]] = [
    (ReplayBuffer, {}),
    (PrioritizedReplayBuffer, {"replay_buffer_class": PrioritizedReplayBuffer}),
    (DeviceReplayBuffer, {"replay_buffer_class": DeviceReplayBuffer}),
]


class Steered(Outliers):
    """Whose actions are torques."""

    def __init__(self, kind: str = "box", reuses: bool = False) -> None:
        super().__init__(kind, reuses)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)


def stored(cls: type[Any], env: VecEnv, **keywords: Any) -> tuple[np.ndarray, np.ndarray]:
    """:return: first numbers of 2000 drawn observations, and of those that followed"""
    model = cls(
        "MlpPolicy",
        env,
        policy_kwargs={"net_arch": [8]},
        learning_starts=1000,
        buffer_size=500,
        device="cpu",
        **keywords,
    )
    OffPolicyAlgorithm._setup_learn(model, 200)  # DAC's own asks for demonstrations
    model.collect_rollouts(
        model.env, model._init_callback(None), model.train_freq._replace(frequency=100), model.replay_buffer, None, 1000
    )
    batch = model.replay_buffer.sample(2000)
    return batch.observations[:, 0].numpy(), batch.next_observations[:, 0].numpy()


def assert_as_given(obs: np.ndarray, after: np.ndarray) -> None:
    is_last = obs == LENGTH - 1
    assert is_last.any()
    assert (after[~is_last] == obs[~is_last] + 1).all()
    assert set(after[is_last].tolist()) == set(range(201, 201 + 14)), "each episode has its own"


@pytest.mark.parametrize(("kind", "normalized"), [("box", False), ("box", True), ("bytes", True)])
@pytest.mark.parametrize(("replay", "keywords"), REPLAYS, ids=lambda x: getattr(x, "__name__", ""))
@pytest.mark.parametrize("cls", [TD3, DAC, DACSAC])
def test_final_observations_are_raw_and_copies(
    cls: type[Any], replay: type[ReplayBuffer], keywords: dict[str, Any], kind: str, normalized: bool
) -> None:
    env: VecEnv = DummyVecEnv([lambda: Steered(kind, reuses=True)] * 2)
    env = VecNormalize(env, clip_obs=2.0) if normalized else env
    assert_as_given(*stored(cls, env, **keywords))


def test_an_infinite_final_observation_is_named_although_it_would_be_clipped() -> None:
    class Broken(Steered):
        def _obs(self) -> Any:
            return super()._obs() * (np.inf if self.t == LENGTH else 1.0)

    env = VecNormalize(DummyVecEnv([Broken]), clip_obs=2.0)
    with pytest.raises(ValueError, match=r"final observation .*inf.* of environment 0 at step 7 is not finite"):
        DDPG("MlpPolicy", env, device="cpu").learn(20)


def test_stock_td3_stores_what_was_clipped_or_this_file_shows_nothing() -> None:
    obs, after = stored(sb3.TD3, VecNormalize(DummyVecEnv([Steered] * 2), clip_obs=2.0))
    assert (after[obs == LENGTH - 1] < 150).all()
    obs, after = stored(sb3.TD3, DummyVecEnv([lambda: Steered(reuses=True)] * 2))
    assert (after[obs == LENGTH - 1] == 0).all()
