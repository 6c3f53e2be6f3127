"""Small models of Q-learning, recurrent and not, and what is watched in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from support.worlds import Interrupted, TaggedEnv, TaggedPictures
from torch import nn

from sb3_ext import Rainbow, RainbowR
from sb3_ext.buffers import PrioritizedReplayBuffer
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.networks.cores import RecurrentState
from sb3_ext.networks.heads import Scalar
from sb3_ext.networks.noisy import NoisyLinear
from sb3_ext.r2d2 import R2D2

OBS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


def make_env(n_envs: int, **kwargs: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda i=i: Monitor(TaggedEnv(i, **kwargs)) for i in range(n_envs)])  # type: ignore[misc]


def make_model(n_envs: int = 2, **kwargs: Any) -> R2D2:
    defaults: dict[str, Any] = dict(
        burn_in=4, sequence_length=6, period=3, n_steps=2, batch_size=8, learning_starts=10, seed=0, device="cpu",
        buffer_size=4000, policy_kwargs=dict(lstm_hidden_size=16), train_freq=1, learning_rate=1e-4,
    )  # fmt: skip
    return R2D2("MlpLstmPolicy", make_env(n_envs), **{**defaults, **kwargs})


class QValueLog:
    """Q-values by observation, as they were when the agent acted in training."""

    def __init__(self, model: R2D2) -> None:
        self.q: dict[tuple[float, ...], np.ndarray] = {}
        original = model.policy.act

        def act(
            obs: th.Tensor, state: RecurrentState, deterministic: bool = False
        ) -> tuple[np.ndarray, RecurrentState]:
            q_values, after = original(obs, state, deterministic)
            for o, q in zip(obs, q_values, strict=True):
                self.q.setdefault(tuple(o.tolist()), q.copy())
            return q_values, after

        model.policy.act = act  # type: ignore[method-assign, assignment]


def assert_replayed_as_acted(model: R2D2, n_steps: int) -> None:
    """
    Replayed windows, from the stored states on, give the Q-values that the agent acted by.

    :param model: that does not learn
    :param n_steps: of each environment
    """
    log = QValueLog(model)
    # EvalCallback acts with the same model between the action and its storage.
    model.learn(n_steps * model.n_envs, callback=EvalCallback(make_env(1), eval_freq=37, n_eval_episodes=2, verbose=0))
    buffer = model.replay_buffer
    assert buffer is not None
    leaves = np.flatnonzero(buffer._active)
    assert len(leaves) > 20
    batch = buffer._get_samples(leaves)
    q = model.learner.unroll(model.q_net, batch).detach().numpy()
    assert isinstance(batch.observations, th.Tensor)
    compared, worst = 0, 0.0
    for i in range(len(leaves)):
        for t in range(int(batch.mask[i].sum())):
            acting = log.q[tuple(batch.observations[i, t].tolist())]
            worst = max(worst, float(np.abs(q[i, t] - acting).max()))
            compared += 1
    assert compared > 100
    assert worst <= 1e-5


def assert_windows_are_contiguous(model: R2D2) -> None:
    """In every drawable window env and episode are constant, steps count up by one, and rewards belong to them."""
    buffer = model.replay_buffer
    assert buffer is not None
    leaves = np.flatnonzero(buffer._active)
    assert len(leaves) > 0
    batch = buffer._get_samples(leaves)
    assert isinstance(batch.observations, th.Tensor)
    obs = (batch.observations * 16).round().numpy()
    for i in range(len(leaves)):
        n = int(batch.mask[i].sum())
        assert (obs[i, : n + 1, :2] == obs[i, 0, :2]).all()
        np.testing.assert_array_equal(obs[i, : n + 1, 2], obs[i, 0, 2] + np.arange(n + 1))
        np.testing.assert_array_equal(batch.rewards[i, :n].numpy(), obs[i, 1 : n + 1, 2])


def make_image_model(**kwargs: Any) -> R2D2:
    env = DummyVecEnv([lambda: Monitor(TaggedPictures())] * 2)
    return R2D2(
        "CnnLstmPolicy", env, burn_in=2, sequence_length=4, period=2, n_steps=2, learning_starts=20, batch_size=4,
        seed=0, device="cpu", buffer_size=1000, **kwargs,
    )  # fmt: skip


class NormedTorso(BaseFeaturesExtractor):
    def __init__(self, observation_space: gym.Space[Any]) -> None:
        super().__init__(observation_space, 8)
        self.layers = th.nn.Sequential(th.nn.Linear(3, 8), th.nn.BatchNorm1d(8), th.nn.Dropout(0.5), th.nn.ReLU())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        features: th.Tensor = self.layers(observations)
        return features


class Fails(BaseCallback):
    def _on_step(self) -> bool:
        if self.n_calls == 13:
            raise RuntimeError("the callback failed")
        return True


def make_rainbow(n_envs: int = 2, env: VecEnv | None = None, policy: str = "MlpPolicy", **kwargs: Any) -> Rainbow:
    defaults: dict[str, Any] = dict(
        n_steps=3, batch_size=8, learning_starts=10, seed=0, device="cpu", buffer_size=2000, train_freq=1,
        policy_kwargs=dict(net_arch=[16]),
    )  # fmt: skip
    return Rainbow(policy, make_env(n_envs) if env is None else env, **{**defaults, **kwargs})


def make_rainbowr(n_envs: int = 2, env: VecEnv | None = None, policy: str = "MlpLstmPolicy", **kwargs: Any) -> RainbowR:
    defaults: dict[str, Any] = dict(
        burn_in=4, sequence_length=6, period=3, n_steps=2, batch_size=8, learning_starts=10, seed=0, device="cpu",
        buffer_size=2000, train_freq=4, policy_kwargs=dict(lstm_hidden_size=8),
    )  # fmt: skip
    return RainbowR(policy, make_env(n_envs) if env is None else env, **{**defaults, **kwargs})


Make = Callable[..., DeepQLearning]
BOTH = pytest.mark.parametrize("make", [make_rainbow, make_rainbowr])


def buffer_of(model: Rainbow) -> PrioritizedReplayBuffer:
    assert model.replay_buffer is not None
    return model.replay_buffer


PLAIN: dict[str, Any] = dict(
    head=Scalar(td_loss="huber", dueling=None), sampler="uniform", double_q=False, n_steps=1, value_rescaling=False,
    normalize_reward=False,
)  # fmt: skip


def noisy_layers(net: nn.Module) -> list[NoisyLinear]:
    return [layer for layer in net.modules() if isinstance(layer, NoisyLinear)]


def noise_of(net: nn.Module) -> th.Tensor:
    """The noise of the inputs of the first noisy layer."""
    noise = noisy_layers(net)[0].noise
    assert noise is not None
    return noise[0].clone()


def assert_items_are_whole(model: DeepQLearning, lengths: tuple[int, ...] = (7, 1, 23, 12), slack: float = 0.0) -> None:
    """What can be drawn stays inside its episode, and rewards and ends are those of its steps. For `TaggedEnv`s."""
    if isinstance(model, RainbowR):
        assert_windows_are_contiguous(model)
        return
    assert isinstance(model, Rainbow)
    batch = buffer_of(model)._get_samples(buffer_of(model)._active_leaves())
    assert isinstance(batch.observations, th.Tensor) and isinstance(batch.next_observations, th.Tensor)
    assert len(batch.observations) > 0 and batch.discounts is not None
    before, after = batch.observations.numpy() * 16, batch.next_observations.numpy() * 16
    np.testing.assert_allclose(before[:, :2], after[:, :2], atol=slack)
    k = (after[:, 2] - before[:, 2]).round().astype(int)
    assert k.min() >= 1 and k.max() <= model.n_steps
    for i, steps in enumerate(k.tolist()):
        _, episode, t = (round(x) for x in before[i].tolist())
        rewards = sum(model.gamma**j * (t + j + 1) for j in range(steps))
        np.testing.assert_allclose(batch.rewards[i].item(), rewards, rtol=1e-5)
        np.testing.assert_allclose(batch.discounts[i].item(), model.gamma**steps, rtol=1e-5)
        over = t + steps == lengths[episode % len(lengths)] and episode % 2 == 0
        assert batch.dones[i].item() == float(over)


def learn_broken_off(model: DeepQLearning, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training of two environments is ended by an exception from "env", "callback" or "train", and goes on."""
    Interrupted.n_steps, Interrupted.at = 0, 26 if where == "env" else -1  # 26: after the other env has stepped
    model.set_env(DummyVecEnv([lambda i=i: Monitor(Interrupted(i), allow_early_resets=True) for i in range(2)]))  # type: ignore[misc]

    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if where == "train":
            patch.setattr(model, "train", interrupted)
        with pytest.raises((KeyboardInterrupt, RuntimeError)):
            model.learn(200, callback=Fails() if where == "callback" else None)
    model.learn(100, reset_num_timesteps=False)
    assert model._n_updates > 0
