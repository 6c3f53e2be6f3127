"""
The connection of this process to Ray: found, made, or refused in one line. Ray itself tries an address for minutes, and
says in pages what is wrong.

Always: who finds the process connected leaves it connected; what was started here ends with the last who needs it.
"""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from types import ModuleType

SETTINGS = {
    # Of Ray's 30 s a busy machine needs more.
    "RAY_raylet_start_wait_time_s": "180",
    # Ray's 15 starves actors wherever anything else is busy, the learner to begin with.
    "RAY_worker_niceness": "0",
}
"""environment variables that count unless they are set, read when ray is imported"""
LEARNERS = {
    # Ray ends a learner whose head node is gone after so long, saved or not: its 60 s are few for a large replay.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
}
"""likewise, but processes that are started from here must not have them: they would outlive a killed learner"""
PROBE = """
import logging, sys, ray
try:
    ray.init(sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
except Exception as error:
    print(f"{type(error).__name__}: {error} {error.__cause__ or ''}")
    sys.exit(1)
"""
FREE_WITHIN = 10.0
"""seconds in which Ray frees the CPUs of actors that are gone"""


def imported_ray() -> ModuleType:
    """
    :return: ray, set up as is best here
    :raises ImportError: where it is not installed
    """
    if "ray" not in sys.modules:  # else it has read them, and processes that it starts would read something else
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        if _has_token():  # Ray does so itself for "local" and "auto" alone
            os.environ.setdefault("RAY_AUTH_MODE", "token")
    ours = {name: value for name, value in LEARNERS.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        import ray
    except ImportError as error:
        raise ImportError(f'backend "ray" needs the extra ray: pip install "sb3-ext[ray]" ({error})') from error
    finally:
        for name in ours:
            del os.environ[name]
    return ray


def _has_token() -> bool:
    given = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return given or (Path.home() / ".ray" / "auth_token").is_file()


class RayCluster:
    """
    What a backend needs of the connection.

    :param address: see `RayBackend`
    :param timeout: seconds in which it must answer
    :raises ImportError: where Ray is not installed
    :raises ValueError: for what is no address
    """

    def __init__(self, address: str | None, timeout: float) -> None:
        if not timeout > 0:
            raise ValueError(f"connect_timeout {timeout} s must be positive")
        self.ray, self._timeout = imported_ray(), timeout
        self._given = address
        self.address = address or os.environ.get("RAY_ADDRESS") or "local"
        if "://" in self.address:
            raise ValueError(
                f"Ray address {self.address!r} is of Ray's client: run the learner on a node of the cluster, and give "
                'HOST:PORT of the head (6379 unless it was started with another --port) or "auto"'
            )
        if self.address not in ("local", "auto") and _host_and_port(self.address) is None:
            raise ValueError(f'Ray address {self.address!r} must be HOST:PORT of the head, "auto" or "local"')

    @property
    def is_joined(self) -> bool:
        """This process is connected."""
        return bool(self.ray.is_initialized())

    def join(self, n_actors: int, num_cpus: float, store: int) -> None:
        """
        :param n_actors: that there must be room for
        :param num_cpus: of each
        :param store: bytes of the object store, where an instance is started
        :raises ConnectionError: where it cannot be connected to in time, or not be started
        :raises ValueError: for more actors than there are CPUs for, or another cluster than the one that is connected
        """
        if not self.is_joined:
            before = signal.getsignal(signal.SIGTERM)
            try:
                self._start(math.ceil(n_actors * num_cpus), store) if self.address == "local" else self._connect()
            finally:
                if before is not None and threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, before)  # Ray's own would end the learner unsaved
            _holders.add(self)
        elif _holders:
            _holders.add(self)
        try:
            self._check_address()
            self._check_room(n_actors, num_cpus)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """A second call changes nothing."""
        if self in _holders:
            _holders.discard(self)
            if not _holders:
                self.ray.shutdown()

    def _start(self, n_cpus: int, store: int) -> None:
        """:param n_cpus: to be had in Ray's books, though the machine may have fewer"""
        settings = dict(num_cpus=max(n_cpus, os.cpu_count() or 1), object_store_memory=store, include_dashboard=False)
        try:
            self._try_start(settings)
        except Exception:  # Ray raises many kinds, some of them bare; on a busy machine the second try is better
            self.ray.shutdown()
            try:
                self._try_start(settings)
            except Exception as error:
                self.ray.shutdown()
                raise ConnectionError(
                    f"Ray could not be started on this machine in two tries ({_line(str(error))}): its logs are "
                    'where Ray keeps its sessions, in session_latest/logs; backend="process" needs no Ray'
                ) from error

    def _try_start(self, settings: dict[str, int]) -> None:
        self.ray.init("local", **settings)

    def _connect(self) -> None:
        """Tries first in a process that can be ended: in this one nothing could be done about Ray's patience."""
        self._knock()
        env = {**os.environ, "RAY_NUM_REDIS_GET_RETRIES": "2"}
        command = [sys.executable, "-c", PROBE, self.address]
        try:
            probe = subprocess.run(command, env=env, capture_output=True, text=True, timeout=self._timeout)
        except subprocess.TimeoutExpired:
            raise ConnectionError(
                f"what listens at {self.address} does not answer as Ray's head within {self._timeout:g} s: "
                "is it the address that `ray start --head` printed?"
            ) from None
        if probe.returncode:
            raise ConnectionError(self._reason(probe.stdout, probe.stderr))
        try:
            self.ray.init(self.address)
        except Exception as error:
            self.ray.shutdown()
            raise ConnectionError(
                f"Ray at {self.address} answers other processes and not this one ({_line(str(error))}): where ray was "
                "imported before, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN before Python starts"
            ) from error

    def _knock(self) -> None:
        """:raises ConnectionError: where nobody listens"""
        place = _host_and_port(self.address)
        if place is None:  # "auto"
            return
        try:
            socket.create_connection(place, timeout=min(self._timeout, 5.0)).close()
        except OSError as error:
            raise ConnectionError(
                f"no Ray at {self.address} ({error}): start the head there with `ray start --head --port="
                f"{place[1]}`, or give its address with --ray-address or RAY_ADDRESS"
            ) from error

    def _reason(self, out: str, err: str) -> str:
        if "InvalidAuthToken" in out + err or "AuthenticationError" in out:
            token = "RAY_AUTH_TOKEN is another one" if _has_token() else "there is no RAY_AUTH_TOKEN here"
            return (
                f"Ray at {self.address} refuses this process: {token}. Set it, with RAY_AUTH_MODE=token, to what the "
                "head was started with"
            )
        if self.address == "auto":
            return 'no Ray on this machine for "auto": `ray start --address=HOST:PORT` makes it a node of a cluster'
        return f"Ray at {self.address} cannot be connected to: {_line(out) or _line(err)}"

    def _check_address(self) -> None:
        """A process is connected to one cluster at most."""
        at = self.ray.get_runtime_context().gcs_address
        place = None if self._given is None else _host_and_port(self._given)
        if place is not None and (place[1] != int(at.rpartition(":")[2])):
            raise ValueError(f"this process is connected to Ray at {at}: it cannot be so to {self._given}, too")

    def _check_room(self, n_actors: int, num_cpus: float) -> None:
        cpus = [node["Resources"].get("CPU", 0.0) for node in self.ray.nodes() if node["Alive"]]
        room = sum(int(n // num_cpus) for n in cpus)
        asked = f"{n_actors} actors with num_cpus {num_cpus:g}"
        if room < n_actors:
            raise ValueError(
                f"{asked} do not fit into Ray at {self.address}: there is room for {room} on its {sum(cpus):g} CPUs "
                f"({len(cpus)} nodes). Ask for fewer actors, or start more nodes"
            )
        end = time.monotonic() + FREE_WITHIN
        while (free := self.ray.available_resources().get("CPU", 0.0)) < n_actors * num_cpus:
            if time.monotonic() > end:
                raise ValueError(
                    f"{asked} do not fit into Ray at {self.address}: of its {sum(cpus):g} CPUs {free:g} are free, "
                    "others use the rest. Ask for fewer actors, or wait"
                )
            time.sleep(0.1)


_holders: weakref.WeakSet[RayCluster] = weakref.WeakSet()
"""that need the connection which one of them has made"""


def _host_and_port(address: str) -> tuple[str, int] | None:
    match = re.fullmatch(r"\[?([^\[\]/]+?)\]?:(\d{1,5})", address)
    return (match[1], int(match[2])) if match else None


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
