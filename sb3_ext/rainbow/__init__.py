"""Rainbow and Rainbow-R."""

from sb3_ext.rainbow.rainbow import Rainbow
from sb3_ext.rainbow.rainbowr import RainbowR

__all__ = ["Rainbow", "RainbowR"]
