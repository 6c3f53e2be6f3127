"""Learning in tables, as algorithms of Stable-Baselines3: what is seen has finitely many values."""

from sb3_ext.tabular.bandits import lai_robbins, regret_curves
from sb3_ext.tabular.base import TableMixin
from sb3_ext.tabular.count_model import CountModel
from sb3_ext.tabular.double_q import DoubleQ, DoubleQTablePolicy
from sb3_ext.tabular.dyna import DynaQ
from sb3_ext.tabular.expected_sarsa import ExpectedSARSA
from sb3_ext.tabular.latest import LatestTransitions
from sb3_ext.tabular.monte_carlo import MonteCarlo
from sb3_ext.tabular.observations import StateNumbers
from sb3_ext.tabular.policy import QTablePolicy
from sb3_ext.tabular.prioritized_sweeping import PrioritizedSweeping
from sb3_ext.tabular.q_learning import QLearning, Steps, TableAlgorithm
from sb3_ext.tabular.traces import SARSA, TraceAlgorithm

__all__ = [
    "SARSA",
    "CountModel",
    "DoubleQ",
    "DoubleQTablePolicy",
    "DynaQ",
    "ExpectedSARSA",
    "LatestTransitions",
    "MonteCarlo",
    "PrioritizedSweeping",
    "QLearning",
    "QTablePolicy",
    "StateNumbers",
    "Steps",
    "TableAlgorithm",
    "TableMixin",
    "TraceAlgorithm",
    "lai_robbins",
    "regret_curves",
]
