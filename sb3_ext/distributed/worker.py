"""
The process of an actor: three threads, of which one acts.

```
socket --> reader --> orders --> main: newest weights, collect --> reports --> sender --> socket
```

Always: the main thread alone touches environments and model, as some environments demand. A full socket stops the
sender and not the acting. When the learner is gone the reader finds out, whatever the main thread does.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import socket
import sys
import threading
import time
import traceback
from typing import NamedTuple, NoReturn

import numpy as np
import torch as th

from sb3_ext.distributed import wire
from sb3_ext.distributed.actor import failure_of
from sb3_ext.distributed.carried import Acts, resident_bytes
from sb3_ext.distributed.messages import ActorFailed, Delivery, Order, Ready
from sb3_ext.distributed.nursery import ONE_THREAD
from sb3_ext.distributed.shared_weights import Layout, SharedWeights

GRACE = 2.0
"""seconds that environments have to close when the learner is gone"""


class Begin(NamedTuple):
    """A training begins."""

    training: int
    actor: int
    incarnation: int
    layout: Layout
    path: list[str]
    """the learner's ``sys.path``"""
    folder: str
    """in which the learner is"""
    variables: dict[str, str]
    """of its environment, by now; the nursery may be older"""
    made_of: pickle.PickleBuffer
    """`MakeActor` and `ActorSpec`, by cloudpickle"""


class Told(NamedTuple):
    """An order of a training."""

    training: int
    order: Order


def work(sock_fd: int, weights_fd: int) -> NoReturn:
    """
    The process, from its fork to its end.

    :param sock_fd: to the learner
    :param weights_fd: of `SharedWeights`
    """
    code = 1
    try:
        # The nursery's state is that of all its children.
        np.random.seed()
        th.seed()
        th.set_num_threads(1)
        _Worker(socket.socket(fileno=sock_fd), weights_fd).run()
        code = 0
    except SystemExit as end:  # an environment may say so
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):  # there may be nobody to read it
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class _Worker:
    def __init__(self, sock: socket.socket, weights_fd: int) -> None:
        self.sock, self.weights_fd = sock, weights_fd
        self.inbox: queue.SimpleQueue[Begin | Told | None] = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue[list[memoryview] | None] = queue.SimpleQueue()
        self.training = 0  # the newest that the reader has seen
        self.begin: Begin | None = None
        self.weights: SharedWeights | None = None
        self.actor: Acts | None = None
        self.version: int | None = None

    def run(self) -> None:
        threading.Thread(target=self.read, daemon=True).start()
        sender = threading.Thread(target=self.write, daemon=True)
        sender.start()
        try:
            while (message := self.inbox.get()) is not None:
                if message.training == self.training and not self.obey(message):
                    break
        finally:
            self.outbox.put(None)
            if self.actor is not None:
                with contextlib.suppress(Exception):  # what is broken already may fail once more
                    self.actor.close()
            sender.join()

    def read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                message = wire.receive(self.sock)
                self.training = message.training
                self.inbox.put(message)
        self.training = -1  # none of the orders that are left
        self.inbox.put(None)
        time.sleep(GRACE)
        os._exit(1)

    def write(self) -> None:
        with contextlib.suppress(OSError):  # the learner is gone, which the reader finds out
            while (parts := self.outbox.get()) is not None:
                wire.send(self.sock, parts)

    def report(self, report: Ready | Delivery | ActorFailed) -> None:
        assert self.begin is not None
        self.outbox.put(wire.packed((self.begin.training, report)))

    def obey(self, message: Begin | Told) -> bool:
        """:return: the actor works"""
        try:
            if isinstance(message, Begin):
                self.report(self.started(message))
            else:
                self.report(self.collected(message.order))
        except Exception as error:
            assert self.begin is not None
            self.report(failure_of(error, self.begin.actor, self.begin.incarnation, self.actor))
            return False
        return True

    def started(self, begin: Begin) -> Ready:
        self.begin = begin
        sys.path[:] = begin.path
        with contextlib.suppress(OSError):  # the folder may be gone: the learner has not needed it either
            os.chdir(begin.folder)
        os.environ.update({**begin.variables, **ONE_THREAD})
        for name in os.environ.keys() - begin.variables.keys() - ONE_THREAD.keys():
            del os.environ[name]
        make_actor, spec = pickle.loads(begin.made_of)
        if self.actor is None:
            self.actor = make_actor(spec, begin.actor, begin.incarnation)
        else:
            self.actor.renew(spec)
        if self.weights is None:
            self.weights = SharedWeights(begin.layout, self.weights_fd)
        self.version = None
        self.refresh()
        return self.actor.first()._replace(pid=os.getpid())

    def refresh(self) -> None:
        assert self.actor is not None and self.weights is not None
        weights = self.weights.read(self.version)
        if weights is not None:
            self.version = weights.version
            self.actor.apply(weights)

    def collected(self, order: Order) -> Delivery:
        assert self.actor is not None
        self.refresh()
        return self.actor.collect(order)._replace(rss=resident_bytes())
