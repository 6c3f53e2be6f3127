"""
Actors on a Ray cluster, or in a Ray instance of this machine.

```
learner                                       process of actor i, on any node
begin(spec, weights)                 ----->   Ready
collect(order, version, [weights])   ----->   Delivery            calls are done one after the other, in their order
```

Always: Ray never restarts an actor by itself, `restart` does; of an actor that failed nothing more is heard in that
incarnation; spec and weights are the learner's objects, and are kept as long as an actor may ask for them.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces

from sb3_ext.distributed.actor import Actor, failure_of
from sb3_ext.distributed.backend import Report
from sb3_ext.distributed.carried import Acts, MakeActor, carried, resident_bytes
from sb3_ext.distributed.messages import ActorFailed, ActorSpec, Order, Weights
from sb3_ext.distributed.ray_cluster import RayCluster, imported_ray

CLOSING = 3.0
"""seconds that environments have to close"""
LARGE_WEIGHTS = 2**20
"""bytes of weights from which on each node should not fetch every version"""
SMALLEST_STORE, LARGEST_STORE = 128 * 2**20, 0.3
"""bytes, and share of the machine's memory, which is what Ray takes if it is not told"""


class _Parcel(NamedTuple):
    """What actors are made of."""

    made_of: bytes
    """see `carried`"""
    path: list[str]
    """the learner's ``sys.path``: modules beside the user's script"""
    folder: str
    """in which the learner is"""


class RayActor:
    """What runs in an actor's process. Whatever an environment raises is reported and not raised."""

    def __init__(self, index: int, incarnation: int) -> None:
        self._index, self._incarnation = index, incarnation
        self._actor: Acts | None = None
        # A signal to all processes of a job is the learner's affair, which saves and then ends the actors. No SIG_IGN:
        # programs that environments start would inherit it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        th.set_num_threads(1)

    def begin(self, parcel: _Parcel, version: int, weights: list[Any]) -> Report:  # Any: references to Weights
        try:
            sys.path += [entry for entry in parcel.path if entry not in sys.path]
            with contextlib.suppress(OSError):  # another machine need not have it
                os.chdir(parcel.folder)
            make_actor, spec = pickle.loads(parcel.made_of)
            if self._actor is None:
                self._actor = make_actor(spec, self._index, self._incarnation)
            else:
                self._actor.renew(spec)
            self._version = 0
            self._refresh(version, weights)
            return self._actor.first()._replace(pid=os.getpid())
        except Exception as error:
            return failure_of(error, self._index, self._incarnation, self._actor)

    def collect(self, order: Order, version: int, weights: list[Any]) -> Report:
        assert self._actor is not None
        try:
            self._refresh(version, weights)
            return self._actor.collect(order)._replace(rss=resident_bytes())
        except Exception as error:
            return failure_of(error, self._index, self._incarnation, self._actor)

    def _refresh(self, version: int, weights: list[Any]) -> None:
        """:param weights: in a list, which Ray does not look into: they are fetched where they are new alone"""
        assert self._actor is not None
        if version != self._version:
            self._actor.apply(imported_ray().get(weights[0]))
            self._version = version

    def node(self) -> str:
        """:return: Ray's id of the node"""
        return str(imported_ray().get_runtime_context().get_node_id())

    def close(self) -> None:
        if self._actor is not None:
            self._actor.close()


class _Place:
    """Of one actor, as the learner sees it."""

    def __init__(self, index: int) -> None:
        self.index, self.incarnation = index, 0
        self.handle: Any = None  # Any: Ray's handles have the methods of the class that they stand for
        self.calls: deque[Any] = deque()  # references to the reports that are to come
        self.has_failed = False
        self.is_asked_again = False  # to begin, at a time when it may be dead for long


class RayBackend:
    """
    See `Backend`. A learner that is connected to Ray already stays so; otherwise it is for as long as the backend is in
    use.

    :param address: "HOST:PORT" of a cluster's head, "auto" = a cluster that this machine is a node of, "local" = an
        instance of its own on this machine; None = what the environment variable RAY_ADDRESS says, else "local"
    :param num_cpus: that an actor takes up in Ray's books
    :param object_store_memory: bytes, of an instance of its own; None = room for two blocks of each actor twice over
        and four versions of the weights
    :param connect_timeout: seconds in which a cluster must answer
    :param make_actor: what runs in each process; another one for tests alone
    :raises ImportError: where Ray is not installed
    :raises ValueError: for numbers out of range, or an address of another kind
    """

    def __init__(
        self,
        address: str | None = None,
        num_cpus: float = 1.0,
        object_store_memory: int | None = None,
        connect_timeout: float = 30.0,
        make_actor: MakeActor = Actor,
    ) -> None:
        if not num_cpus > 0:
            raise ValueError(f"num_cpus {num_cpus} must be positive: what an actor takes up in Ray's books")
        self._cluster = RayCluster(address, connect_timeout)
        self._num_cpus, self._object_store_memory, self._make_actor = num_cpus, object_store_memory, make_actor
        self._places: list[_Place] = []
        self._pid = os.getpid()

    def start(self, spec: ActorSpec, n_actors: int, weights: Weights) -> None:
        parcel = _Parcel(carried(spec, self._make_actor), list(sys.path), os.getcwd())
        ray = self._cluster.ray
        if not self._places:
            store = self._object_store_memory or store_bytes(spec, n_actors, weights)
            self._cluster.join(n_actors, self._num_cpus, store)
            self._class = ray.remote(num_cpus=self._num_cpus, max_restarts=0, max_task_retries=0)(RayActor)
            self._weights: deque[Any] = deque(maxlen=2)
            self._places = [_Place(index) for index in range(n_actors)]
        self._parcel = ray.put(parcel)
        self.publish(weights)
        for place in self._places:
            if place.handle is None:
                self._launch(place, 0)
            elif place.has_failed:
                self._launch(place, place.incarnation + 1)
            else:
                place.calls.clear()
                place.calls.append(place.handle.begin.remote(self._parcel, *self._newest()))
                place.is_asked_again = True

    def publish(self, weights: Weights) -> None:
        self._version = weights.version
        self._weights.append(self._cluster.ray.put(weights))

    def publish_seconds(self, n_bytes: int) -> float:
        """:return: least seconds between two versions: each node fetches each of them once"""
        return 1.0 if n_bytes > LARGE_WEIGHTS else 0.0

    def submit(self, actor: int, order: Order) -> None:
        place = self._places[actor]
        if not place.has_failed:
            place.calls.append(place.handle.collect.remote(order, *self._newest()))

    def poll(self, timeout: float) -> Sequence[Report]:
        wait = self._cluster.ray.wait
        reports: list[Report] = []
        # Only the first call of an actor is looked at: a second block may be here before the first one is.
        while first := {place.calls[0]: place for place in self._places if place.calls}:
            if not reports:
                wait(list(first), num_returns=1, timeout=timeout if timeout < float("inf") else None)
            done, _ = wait(list(first), num_returns=len(first), timeout=0)
            if not done:
                return reports
            for call in done:
                reports += self._heard(first[call])
        if not reports:
            time.sleep(timeout)  # nobody has anything to do
        return reports

    def restart(self, actor: int, incarnation: int) -> None:
        self._launch(self._places[actor], incarnation)

    def nodes(self) -> list[str]:
        """:return: Ray's id of the node of each actor; waits for what they are doing"""
        ids: list[str] = self._cluster.ray.get([place.handle.node.remote() for place in self._places])
        return ids

    def close(self) -> None:
        if os.getpid() != self._pid:
            return  # a fork of the learner ends, whose actors these are not
        places, self._places = self._places, []
        if places and self._cluster.is_joined:
            ray = self._cluster.ray
            closed = [place.handle.close.remote() for place in places if place.handle is not None]
            ray.wait(closed, num_returns=len(closed), timeout=CLOSING)
            for place in places:
                self._kill(place)
        self._cluster.leave()

    def _newest(self) -> tuple[int, list[Any]]:
        return self._version, [self._weights[-1]]

    def _launch(self, place: _Place, incarnation: int) -> None:
        self._kill(place)
        place.incarnation, place.has_failed, place.is_asked_again = incarnation, False, False
        place.handle = self._class.remote(place.index, incarnation)
        place.calls = deque([place.handle.begin.remote(self._parcel, *self._newest())])

    def _kill(self, place: _Place) -> None:
        if place.handle is not None:
            self._cluster.ray.kill(place.handle)
            place.handle = None

    def _heard(self, place: _Place) -> list[Report]:
        """:return: the report that is here; none where the actor had died before this training began"""
        call = place.calls.popleft()
        try:
            report: Report = self._cluster.ray.get(call)
        except self._cluster.ray.exceptions.RayError as error:
            if place.is_asked_again:
                self._launch(place, place.incarnation + 1)
                return []
            report = ActorFailed(place.index, place.incarnation, "died", in_words(error))
        place.is_asked_again = False
        if isinstance(report, ActorFailed):
            place.has_failed = True
            place.calls.clear()
        return [report]


def in_words(error: Exception) -> str:
    """
    :param error: of Ray, about an actor's process or node, in a page of text
    :return: what it says about the cause, in one line
    """
    text = " ".join(str(error).split())
    _, found, cause = text.partition("The actor is dead because ")
    return f"is lost: {cause.partition(' Some common causes')[0] if found else text[:200]}"


def store_bytes(spec: ActorSpec, n_actors: int, weights: Weights) -> int:
    """:return: for the object store of an instance that these actors have for themselves"""
    space = spec.observation_space
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    step = 64 + sum(int(np.prod(part.shape or ())) * np.dtype(part.dtype).itemsize for part in parts)
    recorded = n_actors * spec.envs_per_actor * spec.recorder_cells * step
    wanted = 4 * recorded + 4 * sum(vector.nbytes for vector in weights.vectors) + 2 * len(spec.model)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(SMALLEST_STORE, min(wanted, int(LARGEST_STORE * memory)))
