"""Wrappers, mazes, bandits and small partially observed environments. Needs gymnasium and numpy only: no torch, no SB3.

Importing this package registers its environments, as gymnasium packages do (``gym.make("sb3_ext.envs:sb3_ext/...")``
and rl-zoo3's ``--gym-packages sb3_ext.envs`` rely on it). Every wrapper can be named in an rl-zoo3 yml::

    env_wrapper:
      - sb3_ext.envs.DiscreteTorque: {n_torques: 5}
      - sb3_ext.envs.MaskObservation: {indices: [2]}
"""

import gymnasium as gym

from sb3_ext.envs.action_reward import PreviousActionReward
from sb3_ext.envs.bandits import BernoulliBanditEnv, GaussianBanditEnv
from sb3_ext.envs.grid_world import GridWorldEnv
from sb3_ext.envs.masked_lake import MaskedFrozenLake
from sb3_ext.envs.masking import FlickeringObservation, MaskObservation
from sb3_ext.envs.memory import MemoryChainEnv, RepeatPreviousEnv
from sb3_ext.envs.pendulum import DiscreteTorque, PendulumPixelsEnv, draw_pendulum
from sb3_ext.envs.t_maze import TMazeEnv
from sb3_ext.envs.tiger import TigerEnv
from sb3_ext.envs.tuple_observations import TupleToMultiDiscrete

__all__ = [
    "BernoulliBanditEnv",
    "DiscreteTorque",
    "FlickeringObservation",
    "GaussianBanditEnv",
    "GridWorldEnv",
    "MaskObservation",
    "MaskedFrozenLake",
    "MemoryChainEnv",
    "PendulumPixelsEnv",
    "PreviousActionReward",
    "RepeatPreviousEnv",
    "TMazeEnv",
    "TigerEnv",
    "TupleToMultiDiscrete",
    "draw_pendulum",
    "register_envs",
]

# id -> (entry point, steps before gymnasium truncates; None where the episode ends by itself)
_ENVS: dict[str, tuple[str, int | None]] = {
    "sb3_ext/RepeatPrevious-v0": ("sb3_ext.envs.memory:RepeatPreviousEnv", None),
    "sb3_ext/MemoryChain-v0": ("sb3_ext.envs.memory:MemoryChainEnv", None),
    "sb3_ext/BernoulliBandit-v0": ("sb3_ext.envs.bandits:BernoulliBanditEnv", 100),
    "sb3_ext/GaussianBandit-v0": ("sb3_ext.envs.bandits:GaussianBanditEnv", 100),
    "sb3_ext/GridWorld-v0": ("sb3_ext.envs.grid_world:GridWorldEnv", 100),
    "sb3_ext/MaskedFrozenLake-v0": ("sb3_ext.envs.masked_lake:MaskedFrozenLake", 100),  # 100: FrozenLake-v1's limit
    "sb3_ext/PendulumPixels-v0": ("sb3_ext.envs.pendulum:PendulumPixelsEnv", 200),  # 200: Pendulum-v1's limit
    "sb3_ext/TMaze-v0": ("sb3_ext.envs.t_maze:TMazeEnv", 200),
    "sb3_ext/Tiger-v0": ("sb3_ext.envs.tiger:TigerEnv", 100),
}


def register_envs() -> None:
    """Register this package's environments in gymnasium. A second call does nothing."""
    for env_id, (entry_point, max_episode_steps) in _ENVS.items():
        if env_id not in gym.registry:
            gym.register(id=env_id, entry_point=entry_point, max_episode_steps=max_episode_steps)


register_envs()
