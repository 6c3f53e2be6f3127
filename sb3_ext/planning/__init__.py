"""
Exact answers about environments with few states: what is the best return, how far is a model from it, what is a memory
worth. Numbers that are exact and numbers that are estimated never have one name.
"""

from sb3_ext.planning.beliefs import BeliefPolicy, BeliefSolution, solve_beliefs
from sb3_ext.planning.callbacks import OptimalityGap
from sb3_ext.planning.counts import TransitionCounts
from sb3_ext.planning.evaluation import as_table, evaluate, expected_return, occupancy
from sb3_ext.planning.fixed_point import Sweep
from sb3_ext.planning.gap_file import GapCurve, read_gap
from sb3_ext.planning.linear_program import lp_value
from sb3_ext.planning.mdp import Csr, Outcomes, TabularMDP
from sb3_ext.planning.memoryless import MemorylessSolution, MemoryValue, best_memoryless, memory_value
from sb3_ext.planning.model_states import is_recurrent
from sb3_ext.planning.model_tables import policy_table, q_table, value_table
from sb3_ext.planning.policy import PlannerPolicy
from sb3_ext.planning.pomdp import TabularPOMDP
from sb3_ext.planning.simulate import SimulatedReturns, simulate_returns
from sb3_ext.planning.soft import epsilon_soft_value_iteration, soft_policy_iteration, soft_value_iteration
from sb3_ext.planning.solve import Solution, backup, best_return, policy_iteration, solve, value_iteration
from sb3_ext.planning.tabular_env import TabularEnv
from sb3_ext.planning.vec_env import TabularVecEnv

__all__ = [
    "BeliefPolicy",
    "BeliefSolution",
    "Csr",
    "GapCurve",
    "MemoryValue",
    "MemorylessSolution",
    "OptimalityGap",
    "Outcomes",
    "PlannerPolicy",
    "SimulatedReturns",
    "Solution",
    "Sweep",
    "TabularEnv",
    "TabularMDP",
    "TabularPOMDP",
    "TabularVecEnv",
    "TransitionCounts",
    "as_table",
    "backup",
    "best_memoryless",
    "best_return",
    "epsilon_soft_value_iteration",
    "evaluate",
    "expected_return",
    "is_recurrent",
    "lp_value",
    "memory_value",
    "occupancy",
    "policy_iteration",
    "policy_table",
    "q_table",
    "read_gap",
    "simulate_returns",
    "soft_policy_iteration",
    "soft_value_iteration",
    "solve",
    "solve_beliefs",
    "value_iteration",
    "value_table",
]
