"""
What every algorithm learns in a few hundred updates, as digests: a change that is to leave learning alone leaves them
alone, to the last bit.

    python tests/golden/digests.py --write old.json       in a checkout of the old code
    python tests/golden/digests.py --compare old.json     in one of the new code, on the same machine

Digests depend on the machine and on PyTorch, so none are kept in the repository. Weights are compared as a set: names
and order of modules may change. Of the constructors below only the words may change, with the package's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_ext import DAC, DACSAC, DDPG, GAIL, R2D2, TD3, Rainbow, RainbowR
from sb3_ext.buffers import Proportional
from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.envs import MaskObservation
from sb3_ext.networks.cores import GRUCore
from sb3_ext.networks.heads import Quantile, Scalar
from sb3_ext.td3 import Laddered, Scheduled

SMALL: dict[str, Any] = {"seed": 3, "device": "cpu"}
TIMES = ("time/", "rollout/ep_", "rollout/success")  # clocks, and sums over episodes that others digest


class Kept(KVWriter):
    """What was logged, but for the clock's."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:  # Any: SB3's
        values = {key: repr(float(x)) for key, x in key_values.items() if not key.startswith(TIMES)}
        self.lines.append(json.dumps([step, values], sort_keys=True))

    def close(self) -> None:
        pass


def sha(*parts: bytes | str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else part)
    return whole.hexdigest()[:20]


def arrays_of(value: Any) -> list[np.ndarray]:  # Any: trees of tensors and arrays
    """:return: the arrays in a tree, in order"""
    if value is None:
        return []
    if isinstance(value, th.Tensor):
        return [np.ascontiguousarray(value.detach().cpu().numpy())]
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in arrays_of(value[key])]
    if isinstance(value, (tuple, list)):
        return [x for part in value for x in arrays_of(part)]
    return [np.ascontiguousarray(value)] if isinstance(value, np.ndarray) else []


def digest(value: Any) -> str:  # Any: as above
    return sha(*(x.tobytes() for x in arrays_of(value)))


def weights(model: BaseAlgorithm) -> str:
    """Of the policy's weights, its discriminator's and those of the acting policy, in any order."""
    modules = [model.policy, getattr(model, "best_actor", None)]
    adversary = getattr(model, "adversary", None)
    modules.append(None if adversary is None else adversary.discriminator)
    return sha(*sorted(digest(p) for module in modules if module is not None for p in module.parameters()))


def batch(model: Any) -> str:  # Any: an algorithm with a replay or with rollouts
    """Of what is drawn next, or of the last rollout."""
    np.random.seed(5)
    th.manual_seed(5)
    if hasattr(model, "rollout_buffer"):
        rollout = model.rollout_buffer
        return digest([getattr(rollout, x) for x in ("observations", "actions", "rewards", "returns", "advantages")])
    drawn = model.replay_buffer.sample(16)
    found: tuple[str, ...] = (
        "burn_in_observations",
        "observations",
        "actions",
        "next_observations",
        "rewards",
        "dones",
        "terminated",
    )
    found += ("mask", "discounts", "burn_in_lengths", "weights")
    # Whatever their axes, and with 0 for -0: which of them sorting leaves depends on their order.
    states = [np.sort(x + 0.0, axis=None) for x in arrays_of(getattr(drawn, "states", None))]
    return digest([*(getattr(drawn, name, None) for name in found), *states])


def novel(n_envs: int = 2, norm: bool = False) -> VecEnv:
    """CartPole without velocities."""
    env = DummyVecEnv([lambda: MaskObservation(gym.make("CartPole-v1", max_episode_steps=30), [1, 3])] * n_envs)
    return VecNormalize(env, norm_reward=False) if norm else env


def cartpole() -> VecEnv:
    return DummyVecEnv([lambda: gym.make("CartPole-v1", max_episode_steps=30)] * 2)


def pendulum(n_envs: int = 1) -> VecEnv:
    return DummyVecEnv([lambda: gym.make("Pendulum-v1", max_episode_steps=40)] * n_envs)


def shown(env: VecEnv) -> Demonstrations:
    """Samples of the spaces: of no task, but whole."""
    rng = np.random.default_rng(0)
    space, actions = env.observation_space, env.action_space
    assert isinstance(space, spaces.Box)
    episodes = []
    for i in range(4):
        obs = rng.normal(size=(13, *space.shape)).clip(-1, 1).astype(np.float32)
        if isinstance(actions, spaces.Discrete):
            done: np.ndarray = rng.integers(int(actions.n), size=12)
        else:
            done = rng.uniform(-1, 1, size=(12, *(actions.shape or ()))).astype(np.float32)
        episodes.append(Episode(obs, done, rng.normal(size=12), terminated=i % 2 == 0, truncated=i % 2 == 1))
    return Demonstrations(tuple(episodes), space, actions)


def noise() -> NormalActionNoise:
    return NormalActionNoise(np.zeros(1), 0.1 * np.ones(1))


RECURRENT: dict[str, Any] = {
    "learning_starts": 60,
    "buffer_size": 400,
    "batch_size": 8,
    "burn_in": 6,
    "sequence_length": 8,
    "period": 4,
    "train_freq": 2,
    "learning_rate": 1e-3,
    "target_update_interval": 20,
    **SMALL,
}
FLAT: dict[str, Any] = {
    "learning_starts": 60,
    "buffer_size": 400,
    "batch_size": 16,
    "train_freq": 1,
    "target_update_interval": 20,
    **SMALL,
}
OFF: dict[str, Any] = {"learning_starts": 50, "buffer_size": 300, "batch_size": 16, **SMALL}
ROLLOUTS: dict[str, Any] = {"n_steps": 64, "batch_size": 32, "n_epochs": 3, "discriminator_batch_size": 32, **SMALL}


def arch(**more: Any) -> dict[str, Any]:
    """A new dictionary each time: SB3's constructors write into it."""
    return {"policy_kwargs": {"net_arch": [16], **more}}


def _r2d2(**more: Any) -> R2D2:
    given = {"policy_kwargs": {"lstm_hidden_size": 8, "net_arch": [16]}, **RECURRENT, **more}
    return R2D2("MlpLstmPolicy", given.pop("env", novel()), **given)


def _td3(cls: Any = TD3, **more: Any) -> Any:
    given = {"action_noise": noise(), "env": pendulum(), **OFF, **arch(), **more}
    return cls("MlpPolicy", given.pop("env"), **given)


def _gail(**more: Any) -> GAIL:
    env = more.pop("env", cartpole())
    return GAIL("MlpPolicy", env, demonstrations=shown(env), **ROLLOUTS, **arch(), **more)


def _dac(cls: Any) -> Any:
    env = pendulum(2)
    return cls("MlpPolicy", env, demonstrations=shown(env), discriminator_batch_size=32, **OFF, **arch())


# Each: a model, and how long it learns.
CASES: dict[str, tuple[Callable[[], Any], int]] = {
    "R2D2": (lambda: _r2d2(), 700),
    "R2D2, no priorities, epsilon falls, states zero": (
        lambda: _r2d2(env=novel(1, norm=True), sampler="uniform", state_init="zero"),
        500,
    ),
    "R2D2, quantiles": (
        lambda: _r2d2(
            head=Quantile(n_quantiles=5, kappa=0.5, dueling="max"),
            normalize_reward=False,
            double_q=False,
        ),
        400,
    ),
    "R2D2, two layers of GRU": (
        lambda: _r2d2(policy_kwargs={"core_class": GRUCore, "lstm_hidden_size": 8, "n_lstm_layers": 2}),
        400,
    ),
    "RainbowR": (
        lambda: RainbowR("MlpLstmPolicy", novel(), policy_kwargs={"lstm_hidden_size": 8}, **RECURRENT),
        700,
    ),
    "Rainbow": (lambda: Rainbow("MlpPolicy", cartpole(), **FLAT, **arch()), 700),
    "Rainbow, quantiles": (
        lambda: Rainbow("MlpPolicy", cartpole(), head="quantile", **FLAT, **arch()),
        500,
    ),
    "DQN": (
        lambda: Rainbow(
            "MlpPolicy",
            cartpole(),
            double_q=False,
            head=Scalar(td_loss="huber", dueling=None),
            sampler="uniform",
            n_steps=1,
            value_rescaling=False,
            normalize_reward=False,
            **FLAT,
            **arch(),
        ),
        500,
    ),
    "TD3": (lambda: _td3(), 400),
    "TD3, prioritized": (lambda: _td3(sampler=Proportional(alpha=0.4)), 400),
    "TD3, n-step": (lambda: _td3(n_steps=3), 300),
    "TD3, checkpoints, scheduled noise": (
        lambda: _td3(
            env=pendulum(2),
            checkpoint_episodes=2,
            action_noise=Scheduled(Laddered(noise(), 1.0, 3.0), final=0.1, fraction=0.5),
            scale_reward=True,
        ),
        600,
    ),
    "TD3, frames once, ratio": (lambda: _td3(optimize_memory_usage=True, update_ratio=0.5), 400),
    "DDPG": (lambda: _td3(DDPG), 300),
    "GAIL": (lambda: _gail(bc_epochs=2), 512),
    "GAIL, without absorbing states": (lambda: _gail(absorbing=False), 512),
    "AIRL": (lambda: _gail(shaped=True, reward="airl", env=pendulum(2)), 384),
    "DAC": (lambda: _dac(DAC), 300),
    "DACSAC": (lambda: _dac(DACSAC), 200),
}


def digests_of(name: str) -> dict[str, str]:
    """:return: of the weights, of a batch and of what was logged"""
    make, total = CASES[name]
    model, kept = make(), Kept()
    model.set_logger(Logger(None, [kept]))
    model.learn(total, log_interval=1)
    logged = sha(*kept.lines, json.dumps({k: repr(v) for k, v in model.logger.name_to_value.items() if "loss" in k}))
    assert model._n_updates > 0 and kept.lines, name
    return {"weights": weights(model), "drawn": batch(model), "logged": logged}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", type=Path, help="file for the digests")
    what.add_argument("--compare", type=Path, help="file of such digests")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    args = parser.parse_args()
    th.set_num_threads(1)
    old = json.loads(args.compare.read_text()) if args.compare else {}
    found, differ = {}, 0
    for name in CASES:
        if args.only.lower() not in name.lower():
            continue
        found[name] = digests_of(name)
        if old:
            other = [part for part in found[name] if found[name][part] != old[name][part]]
            differ += bool(other)
            print(f"{'differ: ' + ', '.join(other) if other else 'equal':<24} {name}", flush=True)
    if args.write:
        args.write.write_text(json.dumps(found, indent=1) + "\n")
    else:
        print(f"{len(found) - differ} of {len(found)} are equal")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
