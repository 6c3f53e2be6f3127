"""What is sent to other processes to make actors there, and what is known of one that runs in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Protocol

import cloudpickle

from sb3_ext.distributed.messages import ActorSpec, Delivery, Order, Ready, Weights


class Acts(Protocol):
    """What `sb3_ext.distributed.actor.Actor` does."""

    def apply(self, weights: Weights) -> None: ...

    def renew(self, spec: ActorSpec) -> None: ...

    def first(self) -> Ready: ...

    def collect(self, order: Order) -> Delivery: ...

    def close(self) -> None: ...

    def where(self, error: BaseException) -> str: ...


MakeActor = Callable[[ActorSpec, int, int], Acts]


def carried(spec: ActorSpec, make_actor: MakeActor) -> bytes:
    """
    :param spec: of actors
    :param make_actor: what makes one of it
    :return: both, with functions and classes of the user's script by value
    :raises ValueError: for what cannot be pickled
    """
    try:
        pickled: bytes = cloudpickle.dumps((make_actor, spec), protocol=5)
        return pickled
    except Exception as error:  # pickling runs code of whatever it meets
        what = "the model"
        try:
            cloudpickle.dumps(spec.make_env)
        except Exception:  # of any kind, as above: this one is to blame then
            what = "make_env"
        raise ValueError(
            f"{what} cannot be sent to other processes ({type(error).__name__}: {error}): let it make what it needs "
            'when it is called, or use backend="inline"'
        ) from error


def resident_bytes() -> int:
    """:return: memory of this process, with what it shares"""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the most it ever had
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
