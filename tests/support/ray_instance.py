"""
One Ray instance for all tests, on this machine, with a token of its own: a first start would otherwise write one into
the home folder.
"""

from __future__ import annotations

import gc
import logging
import os
import uuid
import warnings
from collections.abc import Iterator

import pytest

# Read when ray is imported, which is when the first test needs it.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=uuid.uuid4().hex, RAY_USAGE_STATS_ENABLED="0")
for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def ray_instance() -> Iterator[str]:
    """:return: its address, with 3 CPUs. Skips where Ray is not there, or does not start in two tries"""
    from sb3_ext.distributed.ray_cluster import imported_ray  # few tests need what comes with it

    try:
        ray = imported_ray()
    except ImportError as error:
        pytest.skip(str(error))  # which names the extra that is not installed
    settings = dict(num_cpus=3, object_store_memory=2**27, include_dashboard=False, _node_ip_address="127.0.0.1")
    for tries_left in (1, 0):
        try:
            ray.init("local", logging_level=logging.ERROR, log_to_driver=False, **settings)
            break
        except Exception as error:  # of any kind: no test of ours is about what keeps Ray from starting here
            ray.shutdown()
            if not tries_left:
                pytest.skip(f"Ray does not start here: {error}")
        with warnings.catch_warnings():
            # Its processes have been told to end; who asks for one that is still on its way is not the next test.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
