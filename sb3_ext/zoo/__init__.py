"""rl-zoo3 with our algorithms. No other package knows rl-zoo3; it is imported when `register` is called."""

from sb3_ext.zoo.configs import config_path
from sb3_ext.zoo.registry import register

__all__ = ["config_path", "register"]
