"""What a cluster that cannot be learned on says, in one line and soon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.fake_actor import FakeActor, make_spec
from support.fake_backend import WEIGHTS

from sb3_ext.distributed import ray_cluster
from sb3_ext.distributed.ray import RayBackend, store_bytes
from sb3_ext.distributed.ray_cluster import RayCluster, imported_ray

pytestmark = pytest.mark.ray
TESTS = Path(__file__).parents[1]


def refusal(address: str | None, timeout: float = 60.0) -> str:
    """:return: the line"""
    with pytest.raises(ConnectionError) as error:
        RayCluster(address, timeout)._connect()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_distributed_needs_no_ray() -> None:
    code = "import sys, sb3_ext.distributed.ray; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'^backend "ray" needs the extra ray: pip install "sb3-ext\[ray\]"'):
        RayBackend()


@pytest.mark.parametrize(("kwargs", "line"), [
    (dict(address="ray://host:10001"), r"^Ray address 'ray://host:10001' is of Ray's client: run the learner on"),
    (dict(address="host"), r"^Ray address 'host' must be HOST:PORT of the head, \"auto\" or \"local\"$"),
    (dict(num_cpus=0), r"^num_cpus 0 must be positive"),
    (dict(connect_timeout=0), r"^connect_timeout 0 s must be positive$"),
])  # fmt: skip
def test_keywords_are_checked(kwargs: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        RayBackend(**kwargs)


def test_the_address_is_the_environments_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RayCluster(None, 1.0).address == "local"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert [RayCluster(address, 1.0).address for address in (None, "local")] == ["head:6379", "local"]


def test_an_address_at_which_nobody_listens_is_refused_at_once() -> None:
    line = refusal("127.0.0.1:1")
    assert line.startswith("no Ray at 127.0.0.1:1 (") and "ray start --head --port=1" in line


def test_what_listens_and_does_not_answer_is_refused_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert refusal(address, timeout=2.0).startswith(
            f"what listens at {address} does not answer as Ray's head within 2 s"
        )


def test_a_wrong_token_is_refused(ray_instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    line = refusal(ray_instance)
    assert line.startswith(f"Ray at {ray_instance} refuses this process: RAY_AUTH_TOKEN is another one. Set it")


def test_the_other_cluster_is_refused_where_one_is_connected(ray_instance: str) -> None:
    cluster = RayCluster("127.0.0.1:1", 1.0)
    with pytest.raises(ValueError, match=r"^this process is connected to Ray at .* cannot be so to 127.0.0.1:1, too$"):
        cluster.join(1, 1.0, 0)
    assert imported_ray().is_initialized(), "it was there before"


@pytest.mark.usefixtures("ray_instance")
def test_actors_without_a_cpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = RayBackend(make_actor=FakeActor)
    with pytest.raises(ValueError, match=r"^4 actors with num_cpus 1 .* room for 3 on its 3 CPUs \(1 nodes\)"):
        backend.start(make_spec(), 4, WEIGHTS)
    with pytest.raises(ValueError, match=r"^2 actors with num_cpus 2 .* room for 1 on its 3 CPUs"):
        RayBackend(num_cpus=2, make_actor=FakeActor).start(make_spec(), 2, WEIGHTS)
    monkeypatch.setattr(ray_cluster, "FREE_WITHIN", 0.2)
    monkeypatch.setattr(imported_ray(), "available_resources", lambda: {"CPU": 1.0})
    with pytest.raises(ValueError, match=r"^2 actors with num_cpus 1 .* of its 3 CPUs 1 are free, others use the rest"):
        backend.start(make_spec(), 2, WEIGHTS)


@pytest.mark.parametrize("n_failures", [1, 2])
def test_a_start_that_fails_is_tried_once_more(n_failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = RayCluster("local", 1.0)
    tries: list[dict[str, Any]] = []

    class NoRay:
        def init(self, address: str, **settings: Any) -> None:
            tries.append(settings)
            if len(tries) <= n_failures:
                raise Exception("The current node timed out\nduring startup")

        def shutdown(self) -> None:
            pass

    monkeypatch.setattr(cluster, "ray", NoRay())
    if n_failures == 1:
        cluster._start(64, 2**27)
    else:
        line = r"^Ray could not be started on this machine in two tries \(The current node timed out during startup\)"
        with pytest.raises(ConnectionError, match=line):
            cluster._start(64, 2**27)
    assert len(tries) == 2 and tries[0] == tries[1]
    assert tries[0]["num_cpus"] >= 64 and tries[0]["include_dashboard"] is False


def test_the_object_store_has_room_for_the_window_and_four_versions_of_weights() -> None:
    assert store_bytes(make_spec(), 2, WEIGHTS) == 2**27
    spec = make_spec(recorder_cells=10**6)
    assert store_bytes(spec, 2, WEIGHTS) == 4 * 2 * 10**6 * (64 + 4) + 4 * 4
    assert store_bytes(make_spec(recorder_cells=10**12), 2, WEIGHTS) < 2**50, "no more than the machine has"


LEARNER = """
import os, signal, sys
before = signal.getsignal(signal.SIGTERM)
from support.fake_actor import FakeActor, make_spec
from support.fake_backend import WEIGHTS
from sb3_ext.distributed.messages import Ready
from sb3_ext.distributed.ray import RayBackend
backend = RayBackend("local", object_store_memory=2**27, make_actor=FakeActor)
backend.start(make_spec(), 1, WEIGHTS)
[ready] = backend.poll(300)
assert isinstance(ready, Ready) and signal.getsignal(signal.SIGTERM) is before
print(ready.pid, flush=True)
if sys.stdin.readline() == "close\\n":
    backend.close()
    import ray
    assert not ray.is_initialized()
    print("closed", flush=True)
    sys.stdin.readline()
signal.pause()
"""


def processes_of(session: int) -> list[str]:
    """:return: names of those that live in a session of processes, without the first"""
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().rsplit(")", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(rest.split()[3]) == session != int(stat.parent.name) and rest.split()[0] != "Z":
            names.append(name.split("(", 1)[1])
    return names


@pytest.mark.slow
@pytest.mark.parametrize("end", ["close", "kill"])
def test_a_ray_of_its_own_ends_with_the_learner(end: str) -> None:
    command = [sys.executable, "-c", LEARNER]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), os.environ.get("PYTHONPATH", "")))}
    learner = subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert learner.stdin is not None and learner.stdout is not None
    with learner, learner.stdin, learner.stdout:
        assert int(learner.stdout.readline()) > 0
        assert len(processes_of(learner.pid)) > 3
        if end == "close":
            learner.stdin.write("close\n")
            learner.stdin.flush()
            assert learner.stdout.readline() == "closed\n"
        else:
            learner.send_signal(signal.SIGKILL)
            learner.wait()
        deadline = time.monotonic() + 120.0
        # Of a killed learner Ray's own agents go after the 60 s in which they look for their daemon.
        while left := processes_of(learner.pid):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        learner.kill()
