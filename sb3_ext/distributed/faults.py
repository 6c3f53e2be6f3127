"""What is done about actors that fail: a new one, later and later, until it is clear that no new one will do."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from sb3_ext.distributed.messages import ActorFailed


@dataclass(frozen=True)
class RestartPolicy:
    """
    When an actor that failed is restarted. Its first restart is immediate, those after it, as long as it delivers
    nothing between them, wait. Training ends where an actor would need too many, and where one raises the same
    exception twice and delivers nothing between.

    :param max_in: restarts of one actor that are accepted within `seconds`; 0 = none at all
    :param seconds: in which they are counted
    :param backoff: seconds before the second restart in a row, doubled for each one after it, and their upper limit
    :raises ValueError: for numbers that mean nothing
    """

    max_in: int = 10
    seconds: float = 600.0
    backoff: tuple[float, float] = (1.0, 30.0)

    def __post_init__(self) -> None:
        first, last = self.backoff
        if self.max_in < 0:
            raise ValueError(f"max_in must not be negative, got {self.max_in}")
        if not self.seconds > 0:
            raise ValueError(f"seconds must be positive, got {self.seconds}")
        if not 0 <= first <= last:
            raise ValueError(f"backoff must be two numbers of seconds with 0 <= first <= last, got {self.backoff}")

    def delay(self, in_a_row: int) -> float:
        """
        :param in_a_row: failures of an actor since it last delivered, this one included
        :return: seconds to wait before it is restarted
        """
        first, last = self.backoff
        return 0.0 if in_a_row < 2 else min(first * 2.0 ** min(in_a_row - 2, 60), last)


class ActorTraceback(Exception):
    """Cause of an `ActorsFailed`: the text of the traceback in the actor, which Python prints above it."""


class ActorsFailed(RuntimeError):
    """
    Training cannot go on; model, replay and counters are whole. The message is one line.

    :param message: which actor, what happened, where and how often
    :param failure: the last one
    """

    def __init__(self, message: str, failure: ActorFailed) -> None:
        super().__init__(message)
        self.failure = failure
        if failure.traceback:
            self.__cause__ = ActorTraceback(f"\n{failure.traceback.rstrip()}")


def in_words(failure: ActorFailed) -> str:
    """:return: one line: which actor, what and where"""
    verb = "raised " if failure.kind == "raised" else ""
    where = f" ({failure.where})" if failure.where else ""
    return f"actor {failure.actor} {verb}{failure.what}{where}"


@dataclass
class _Record:
    """Of one actor."""

    times: deque[float] = field(default_factory=deque)  # of failures, the last `max_in + 1`
    in_a_row: int = 0
    raised: str | None = None  # by the last failure, if nothing was delivered since; numbers left out


class FailureLog:
    """
    What failed so far, and what follows.

    :param policy: for each actor
    :param n_actors: as they are numbered from 0 on
    """

    def __init__(self, policy: RestartPolicy, n_actors: int) -> None:
        self.policy = policy
        self._records = [_Record() for _ in range(n_actors)]

    def delivered(self, actor: int) -> None:
        """An actor works."""
        self._records[actor].in_a_row = 0
        self._records[actor].raised = None

    def failed(self, failure: ActorFailed, now: float) -> float:
        """
        :param failure: of an actor
        :param now: seconds on any clock
        :return: seconds until it is to be restarted
        :raises ActorsFailed: where it shall not be; the actor's record is then empty
        """
        record, policy = self._records[failure.actor], self.policy
        record.times.append(now)
        while record.times[0] < now - policy.seconds:
            record.times.popleft()
        record.in_a_row += 1
        # The same one may name another step, or another address.
        raised = re.sub(r"\d+", "", failure.what) if failure.kind == "raised" else None
        again = raised is not None and record.raised == raised
        record.raised = raised
        if not again and len(record.times) <= policy.max_in:
            return policy.delay(record.in_a_row)
        failures = f"{len(record.times)} failure{'s' if len(record.times) > 1 else ''}"
        how_often = "twice in a row" if again else f"{failures} within {policy.seconds:g} s"
        self._records[failure.actor] = _Record()
        raise ActorsFailed(f"{in_words(failure)}, {how_often}", failure)
