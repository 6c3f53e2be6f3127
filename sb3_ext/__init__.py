"""
Extension pack for Stable-Baselines3.

Importing it is quick: an algorithm, and with it torch, is imported when its name is first used. The import registers
the package's environments in gymnasium; rl-zoo3 is told of the algorithms by `sb3_ext.zoo.register()` alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sb3_ext.algorithms import MODULES
from sb3_ext.envs import register_envs

if TYPE_CHECKING:  # the table of algorithms, as a type checker reads it; a test holds them equal
    from sb3_ext.ddpg.ddpg import DDPG as DDPG
    from sb3_ext.imitation.dac import DAC as DAC
    from sb3_ext.imitation.dac import DACSAC as DACSAC
    from sb3_ext.imitation.dagger import DAgger as DAgger
    from sb3_ext.imitation.gail import GAIL as GAIL
    from sb3_ext.r2d2.r2d2 import R2D2 as R2D2
    from sb3_ext.rainbow.rainbow import Rainbow as Rainbow
    from sb3_ext.rainbow.rainbowr import RainbowR as RainbowR
    from sb3_ext.tabular.double_q import DoubleQ as DoubleQ
    from sb3_ext.tabular.dyna import DynaQ as DynaQ
    from sb3_ext.tabular.expected_sarsa import ExpectedSARSA as ExpectedSARSA
    from sb3_ext.tabular.monte_carlo import MonteCarlo as MonteCarlo
    from sb3_ext.tabular.prioritized_sweeping import PrioritizedSweeping as PrioritizedSweeping
    from sb3_ext.tabular.q_learning import QLearning as QLearning
    from sb3_ext.tabular.traces import SARSA as SARSA
    from sb3_ext.td3.td3 import TD3 as TD3

__all__ = sorted([*MODULES, "__version__"])

__version__ = "0.1.0"

register_envs()


def __getattr__(name: str) -> Any:  # Any: what a module attribute may be
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(MODULES[name]), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *MODULES})
