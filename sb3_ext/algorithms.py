"""The one table of algorithms, in strings: it is read where PyTorch must not be imported yet."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """What is known of an algorithm before it is imported."""

    name: str
    """public name: its class"""
    module: str
    """that defines the class"""
    imitates: bool = False
    """learns from demonstrations"""
    asks: bool = False
    """of an expert, with or without demonstrations"""
    is_continuous: bool = False
    """its actions are vectors alone"""
    is_tabular: bool = False
    """it keeps a table: what it sees has finitely many values"""


_ROWS = (
    Row("DAC", "sb3_ext.imitation.dac", imitates=True, is_continuous=True),
    Row("DACSAC", "sb3_ext.imitation.dac", imitates=True, is_continuous=True),
    Row("DAgger", "sb3_ext.imitation.dagger", imitates=True, asks=True),
    Row("DDPG", "sb3_ext.ddpg.ddpg", is_continuous=True),
    Row("DoubleQ", "sb3_ext.tabular.double_q", is_tabular=True),
    Row("DynaQ", "sb3_ext.tabular.dyna", is_tabular=True),
    Row("ExpectedSARSA", "sb3_ext.tabular.expected_sarsa", is_tabular=True),
    Row("GAIL", "sb3_ext.imitation.gail", imitates=True),
    Row("MonteCarlo", "sb3_ext.tabular.monte_carlo", is_tabular=True),
    Row("PrioritizedSweeping", "sb3_ext.tabular.prioritized_sweeping", is_tabular=True),
    Row("QLearning", "sb3_ext.tabular.q_learning", is_tabular=True),
    Row("R2D2", "sb3_ext.r2d2.r2d2"),
    Row("Rainbow", "sb3_ext.rainbow.rainbow"),
    Row("RainbowR", "sb3_ext.rainbow.rainbowr"),
    Row("SARSA", "sb3_ext.tabular.traces", is_tabular=True),
    Row("TD3", "sb3_ext.td3.td3", is_continuous=True),
)
ALGORITHMS = {row.name.lower(): row for row in _ROWS}
"""
The zoo's id, which is the lower-cased class name -> row. In an `sb3-ext` process "td3" and "ddpg" stand in place of
SB3's, which they are with nothing switched on.
"""
MODULES = {row.name: row.module for row in _ROWS}
"""public name -> module"""
IMITATORS = {algo for algo, row in ALGORITHMS.items() if row.imitates}
"""ids of those that learn from demonstrations"""
