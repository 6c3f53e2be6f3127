"""What runs actors: in this process, in others of this machine, on a Ray cluster. A new engine is one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sb3_ext.distributed.messages import ActorFailed, ActorSpec, Delivery, Order, Ready, Weights

Report = Delivery | Ready | ActorFailed


@runtime_checkable
class Backend(Protocol):
    """
    Actors by number, each with a queue of orders. It starts, stops and carries; who gets an order, what to do about a
    failure and when, is `Dispatcher`'s matter. After `close` it may be started again.
    """

    def start(self, spec: ActorSpec, n_actors: int, weights: Weights) -> None:
        """
        A training begins. Actors that run go on with the new spec, their environments are reset; others are started.
        Orders that were under way are forgotten, and their deliveries never polled. Each actor reports `Ready`, or
        `ActorFailed`.

        :param spec: of all actors
        :param n_actors: the same at every call until `close`
        :param weights: to begin with
        :raises ValueError: where the spec cannot be carried, as with a factory that cannot be pickled
        """

    def publish(self, weights: Weights) -> None:
        """Actors take them when they begin an order, at the latest with the next order that is submitted."""

    def publish_seconds(self, n_bytes: int) -> float:
        """
        :param n_bytes: of one version of weights
        :return: least seconds between two versions, unless the user says another number
        """

    def submit(self, actor: int, order: Order) -> None:
        """Behind the orders that the actor has. Never blocks. Without effect where the actor is dead."""

    def poll(self, timeout: float) -> Sequence[Report]:
        """
        :param timeout: seconds to wait for the first report; 0 = what is there
        :return: what has come, of each actor in the order of its orders; nothing of earlier incarnations
        """

    def restart(self, actor: int, incarnation: int) -> None:
        """
        End what is left of the actor, and begin another one with the spec of `start`; it reports `Ready`. Never blocks.

        :param incarnation: larger than any before
        """

    def close(self) -> None:
        """End all actors. A second call changes nothing."""
