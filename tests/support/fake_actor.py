"""An actor without environments and model, which does what the calls of an order say."""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from support.fake_backend import empty_block, make_order

from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed.messages import ActorSpec, Delivery, EnvCall, Order, Ready, Weights


def make_spec(make_env: Any = None, **changes: Any) -> ActorSpec:
    space = spaces.Box(-1, 1, (1,), np.float32)
    fields: dict[str, Any] = dict(
        algorithm=DeepQLearning, model=b"", make_env=make_env, observation_space=space,
        action_space=spaces.Discrete(2), envs_per_actor=1, n_lanes=2, clock_step=1, recorder_cells=0,
        env_seeds=(None, None), seed=None, training=0, normalizer=None, norm_reward=False, registered=b"",
        records_priorities=False,
    )  # fmt: skip
    return ActorSpec(**{**fields, **changes})


def order_to(name: str, *args: Any) -> Order:
    """:return: an order in which the fake does that"""
    return make_order(calls=(EnvCall("env_method", name, (), args, {}),))


class FakeActor:
    """
    Its deliveries bring, in a column "told", what it knows. A factory is called with the actor's number: what it raises
    it raises, what it returns is delivered as "made".
    """

    def __init__(self, spec: ActorSpec, index: int, incarnation: int) -> None:
        self.index, self.incarnation = index, incarnation
        self.weights = Weights(0, 0, ())
        self.renew(spec)

    def renew(self, spec: ActorSpec) -> None:
        self.spec = spec
        make: Any = spec.make_env  # Any: there is no VecEnv here
        self.made = 0.0 if make is None else float(make(self.index))
        self.number = 0
        self.bulk = np.zeros(0)

    def apply(self, weights: Weights) -> None:
        self.weights = weights

    def first(self) -> Ready:
        return Ready(self.index, self.incarnation, np.full((1, 1), self.index, np.float32), 0)

    def where(self, error: BaseException) -> str:
        return f"lane {self.index}"

    def collect(self, order: Order) -> Delivery:
        told: list[float] = [self.weights.version, self.made, order.num_timesteps]
        for call in order.calls:
            told.append(getattr(self, call.name)(*call.args))
        columns = {"told": np.array(told), "bulk": self.bulk}
        block = empty_block(order.n_steps, [self.index])._replace(columns=columns)
        self.number += 1
        return Delivery(self.index, self.incarnation, self.number - 1, order.n_steps, self.weights.version,
                        self.weights.n_updates, block, (), None, 0.0, 0.0, 0)  # fmt: skip

    def close(self) -> None:
        """Leaves a file where its factory says."""
        folder = getattr(self.spec.make_env, "folder", None)
        if folder is not None:
            Path(folder, f"closed{self.index}").touch()

    # What calls name.

    def leave(self, code: int) -> float:
        sys.exit(code)

    def crash(self) -> float:
        return float(ctypes.string_at(0)[0])

    def fail(self, message: str) -> float:
        raise ValueError(message)

    def hang(self, seconds: float) -> float:
        time.sleep(seconds)
        return 0.0

    def hang_with_the_interpreter(self, seconds: int) -> float:
        """As an extension that does not release it: no other thread of the process runs."""
        return float(ctypes.PyDLL(None).sleep(seconds))

    def fill(self, n: int) -> float:
        """The delivery brings so many numbers."""
        self.bulk = np.arange(n, dtype=np.float64)
        return 0.0

    def touch(self, path: str) -> float:
        Path(path).touch()
        return 0.0

    def size_of(self, data: bytes) -> float:
        return len(data)
