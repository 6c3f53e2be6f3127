"""What tests of several rooms have in common."""

from support.ray_instance import ray_instance

__all__ = ["ray_instance"]
