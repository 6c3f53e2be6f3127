"""
What travels between a learner and its actors: plain data, pickled or written to shared memory.

```
learner -> actor    ActorSpec once a training, then Order after Order; Weights as they are published
actor -> learner    Ready when its environments have begun, a Delivery for each Order, ActorFailed in place of one
```
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.ops.exploration import Exploration

Obs = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True)
class ActorSpec:
    """All that an actor is made of. Actor i has the lanes from ``i * envs_per_actor`` on."""

    algorithm: type[DeepQLearning]
    model: bytes
    """a file of ``model.save``"""
    make_env: Callable[[int], VecEnv]
    """number of environments -> these, without VecNormalize"""
    observation_space: spaces.Space[Any]
    """of what `make_env` makes"""
    action_space: spaces.Space[Any]
    envs_per_actor: int
    n_lanes: int
    """over all actors"""
    clock_step: int
    """by which a step moves an actor's clock: all lanes in lockstep; else its own, as the learner counts them"""
    recorder_cells: int
    """cells of a lane in the actor's own replay: room for one window and one block"""
    env_seeds: tuple[int | None, ...]
    """[n_lanes] of the environments; None = of the system"""
    seed: int | None
    """of the generators that act"""
    training: int
    """how many began before with these actors, or others in their place: no two draw the same"""
    normalizer: bytes | None
    """a pickled `VecNormalize` without environments"""
    norm_reward: bool
    """it normalises rewards: an actor's copy does not"""
    registered: bytes
    """environments that gymnasium knows in the learner's process, see `sb3_ext.distributed.registered`"""
    records_priorities: bool
    """blocks bring the priorities of what they complete"""


class EnvCall(NamedTuple):
    """`env_method` or `set_attr` of a VecEnv."""

    kind: Literal["env_method", "set_attr"]
    name: str
    lanes: tuple[int, ...]
    """global numbers"""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Order(NamedTuple):
    """Collect so many steps of each lane."""

    n_steps: int
    num_timesteps: int
    """the learner's clock at the order's first transition; each step moves it by ``clock_step``"""
    total_timesteps: int
    learning_starts: int
    exploration: Exploration
    """of all lanes"""
    return_scale: float
    """the learner's, for priorities"""
    cuts: bool
    """what is collected does not continue the trajectories that were sent before"""
    calls: tuple[EnvCall, ...] = ()


class Weights(NamedTuple):
    """Of the acting network, and what observations are normalised with. See `sb3_ext.distributed.weights`."""

    version: int
    """from 1 on"""
    n_updates: int
    """that made them"""
    vectors: tuple[np.ndarray, ...]
    """flat, one for each dtype; shapes and dtypes are the same in every version"""


class Moment(NamedTuple):
    """Of numbers that were met: what `RunningMeanStd.update_from_moments` takes."""

    mean: np.ndarray
    var: np.ndarray
    n: int
    """how many"""


class Moments(NamedTuple):
    """What VecNormalize would have been shown."""

    observations: dict[str, Moment]
    """of each key ("" where the space is no Dict) that is normalised"""
    returns: Moment | None
    """of discounted rewards, where rewards are normalised"""


class Ended(NamedTuple):
    """An episode that ended."""

    step: int
    """of the order, from 0 on"""
    lane: int
    """global number"""
    info: dict[str, Any]
    """``episode`` (Monitor's), ``is_success``, ``TimeLimit.truncated``, as far as the environment told them"""


class Delivery(NamedTuple):
    """What an order brought."""

    actor: int
    incarnation: int
    number: int
    """of the actor's orders in this incarnation, from 0 on, without gaps"""
    n_steps: int
    version: int
    """of the weights that acted"""
    n_updates: int
    """of these weights"""
    block: LaneBlock
    ended: tuple[Ended, ...]
    """in the order of steps, of one step by lane"""
    moments: Moments | None
    """where the spec has a normalizer"""
    collect_seconds: float
    waited_seconds: float
    """for this order, since the last one was done"""
    rss: int
    """bytes of memory of the actor's process, 0 where it has none of its own"""


class Ready(NamedTuple):
    """An actor's environments have begun their first episodes."""

    actor: int
    incarnation: int
    observations: Obs
    """[envs_per_actor, ...] first observations, raw"""
    pid: int


class ActorFailed(NamedTuple):
    """An actor's orders under way will not be delivered; it is to be restarted."""

    actor: int
    incarnation: int
    kind: Literal["died", "raised", "hung"]
    what: str
    """in one line: "ValueError: ...", "was ended by SIGKILL", "no block for 300 s" """
    traceback: str = ""
    """of the actor, where something was raised"""
    where: str = ""
    """for errors: "env seed 17, lane 3, step 120 of its episode", where it is known"""
