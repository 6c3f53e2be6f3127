"""Actors within the learner's process, one after the other: for tests, and to find out what goes wrong in an actor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from sb3_ext.distributed.actor import Actor, failure_of
from sb3_ext.distributed.backend import Report
from sb3_ext.distributed.generators import OwnGenerators, kept_generators
from sb3_ext.distributed.messages import ActorFailed, ActorSpec, Order, Weights


class _Place:
    """Of one actor."""

    def __init__(self, index: int) -> None:
        self.index, self.incarnation = index, 0
        self.actor: Actor | None = None
        self.generators = OwnGenerators()


class _Task(NamedTuple):
    place: _Place
    run: Callable[[], Report]


class InlineBackend:
    """
    A single actor acts with the learner's own generators, and makes of a training what it is without actors, bit for
    bit. Several have their own, swapped in for as long as they work.
    """

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._tasks: deque[_Task] = deque()
        self._reports: deque[Report] = deque()

    def start(self, spec: ActorSpec, n_actors: int, weights: Weights) -> None:
        self._spec, self._weights = spec, weights
        self._tasks.clear()
        self._reports.clear()
        if not self._places:
            self._places = [_Place(index) for index in range(n_actors)]
        for place in self._places:
            self._tasks.append(_Task(place, lambda place=place: self._begin(place)))  # type: ignore[misc]

    def publish(self, weights: Weights) -> None:
        self._weights = weights

    def publish_seconds(self, n_bytes: int) -> float:
        return 0.0

    def submit(self, actor: int, order: Order) -> None:
        place = self._places[actor]
        self._tasks.append(_Task(place, lambda: self._collect(place, order)))

    def poll(self, timeout: float) -> Sequence[Report]:
        """Does what is to be done next; there is nothing to wait for."""
        if not self._reports and self._tasks:
            self._reports.append(self._done(self._tasks.popleft()))
        reports = list(self._reports)
        self._reports.clear()
        return reports

    def restart(self, actor: int, incarnation: int) -> None:
        place = self._places[actor]
        self._tasks = deque(task for task in self._tasks if task.place is not place)
        self._end(place)
        place.incarnation = incarnation
        self._tasks.append(_Task(place, lambda: self._begin(place)))

    def close(self) -> None:
        for place in self._places:
            self._end(place)
        self._places = []
        self._tasks.clear()
        self._reports.clear()

    # ------------------------------------------------------------------ the work

    def _done(self, task: _Task) -> Report:
        place = task.place
        try:
            return task.run()
        except Exception as error:  # whatever an environment raises
            self._forget(place)
            return failure_of(error, place.index, place.incarnation, place.actor)
        except BaseException as error:  # Ctrl-C in the middle of a step
            self._forget(place)
            what = f"was interrupted by {type(error).__name__}"
            self._reports.append(ActorFailed(place.index, place.incarnation, "died", what))
            raise

    def _begin(self, place: _Place) -> Report:
        if place.actor is None:
            with kept_generators() if self._is_alone else place.generators.swapped_in():
                place.actor = Actor(self._spec, place.index, place.incarnation, own_generators=not self._is_alone)
        else:
            with kept_generators():
                place.actor.renew(self._spec)
        with self._generators_of(place):
            place.actor.apply(self._weights)
            return place.actor.first()

    def _collect(self, place: _Place, order: Order) -> Report:
        assert place.actor is not None
        with self._generators_of(place):
            place.actor.apply(self._weights)
            return place.actor.collect(order)

    @property
    def _is_alone(self) -> bool:
        return len(self._places) == 1

    @contextmanager
    def _generators_of(self, place: _Place) -> Iterator[None]:
        if self._is_alone:
            yield
        else:
            with place.generators.swapped_in():
                yield

    def _forget(self, place: _Place) -> None:
        """What an actor that failed was told is not done."""
        self._tasks = deque(task for task in self._tasks if task.place is not place)

    def _end(self, place: _Place) -> None:
        if place.actor is not None:
            place.actor.close()
            place.actor = None
