"""
How far actors may be ahead of the learner. Arithmetic only: no processes, no clock.

```
                    taken          credit            under way            free
  transitions  |------------|==================|- - - - - - - - - -|               |
               0      learner's clock                                    clock + limit
```

Always: ``credit + under_way <= limit``. What the learner has not trained on yet is bounded, so the ratio of updates to
transitions is, and a block is at most `limit` transitions old when it is stored. Nothing is dropped to get there: an
actor without an order waits.
"""

from __future__ import annotations

from collections.abc import Container


class Window:
    """
    The window of advance: who gets the next order, and when.

    :param n_actors: as they are numbered from 0 on
    :param block: transitions of one order, over all lanes of an actor
    :param orders: that an actor may have at a time; 2 keep it busy while its block is on its way
    :param tick: transitions that the learner takes at a time
    :raises ValueError: where one of them is not at least 1
    """

    def __init__(self, n_actors: int, block: int, orders: int, tick: int) -> None:
        for name, number in (("n_actors", n_actors), ("block", block), ("orders", orders), ("tick", tick)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        self.block, self.orders, self.tick = block, orders, tick
        # The second: where less than a tick is in hand, one more block must fit, or nothing would ever move.
        self.limit = max(orders * n_actors * block, tick + block)
        self.credit = 0
        """transitions that were delivered and not taken"""
        self._under_way = [0] * n_actors  # orders of each actor
        self._last = [-1] * n_actors  # number of its last delivery, over all actors
        self._deliveries = 0

    @property
    def under_way(self) -> int:
        """Transitions that were ordered and not delivered."""
        return sum(self._under_way) * self.block

    def next_actor(self, alive: Container[int]) -> int | None:
        """
        :param alive: actors that can take orders
        :return: who has the fewest orders under way, among these who delivered longest ago; None where every actor has
            its `orders`, or no block fits
        """
        if self.credit + self.under_way + self.block > self.limit:
            return None
        free = [i for i, n in enumerate(self._under_way) if n < self.orders and i in alive]
        return min(free, key=lambda i: (self._under_way[i], self._last[i]), default=None)

    def ordered(self, actor: int) -> None:
        """An order was sent."""
        assert self._under_way[actor] < self.orders and self.credit + self.under_way + self.block <= self.limit
        self._under_way[actor] += 1

    def delivered(self, actor: int) -> None:
        """An order's block is there."""
        assert self._under_way[actor] > 0
        self._under_way[actor] -= 1
        self._last[actor] = self._deliveries
        self._deliveries += 1
        self.credit += self.block

    def lost(self, actor: int) -> None:
        """None of the actor's orders will be delivered."""
        self._under_way[actor] = 0

    def taken(self, n: int) -> None:
        """
        The learner's clock has moved.

        :param n: by so many transitions, which were in hand
        """
        assert 0 <= n <= self.credit
        self.credit -= n
