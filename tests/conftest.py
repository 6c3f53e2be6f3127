"""What tests of several rooms have in common."""

import gc

from support.ray_instance import ray_instance

__all__ = ["ray_instance"]


def pytest_collection_finish() -> None:
    """
    What was imported by now stays to the end: the collector need not look at half a million objects each time that it,
    or a test, looks for garbage. It was half of the time of many rooms.
    """
    gc.collect()
    gc.freeze()
