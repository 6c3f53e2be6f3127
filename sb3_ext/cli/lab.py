"""`sb3-ext lab`: exact answers about an environment that publishes its tables."""

from __future__ import annotations

import argparse

import gymnasium as gym

from sb3_ext.cli.flags import Command, Parser, add_env_flags, env_kwargs_of, import_packages
from sb3_ext.zoo.typed_ids import environment_id, know_env

DESCRIPTION = """what a memory is worth: the discounted return, without a limit of steps, of the best agent that acts by
what it saw last, of the best one that remembers all it has seen, between two certain bounds, and of the best one that
sees the state

  sb3-ext lab --memory-value sb3_ext/MaskedFrozenLake-v0 --env-kwargs show:column
"""


def _parser() -> Parser:
    parser = Parser("sb3-ext lab", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    shown = "environment id, or MODULE:ID, of an environment with `pomdp` (sb3_ext.envs.tables)"
    parser.add_argument("--memory-value", required=True, metavar="ENV", help=shown)
    parser.add_argument("--gamma", type=float, help="discount (the environment's own)")
    parser.add_argument("--tol", type=float, default=1e-5, help="width of the interval at which to stop (1e-5)")
    parser.add_argument("--max-beliefs", type=int, default=10_000, help="at which to stop: more narrow it (10000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="at which to stop (60)")
    add_env_flags(parser)
    return parser


def run(given: argparse.Namespace) -> None:
    """:param given: by the flags of `lab`"""
    from sb3_ext.planning import TabularPOMDP, memory_value

    env_kwargs = env_kwargs_of(given)
    import_packages(given)
    env_id = environment_id(given.memory_value, "--memory-value")
    know_env(env_id)
    env = gym.make(env_id, **env_kwargs)
    try:
        pomdp = TabularPOMDP.from_env(env, given.gamma)
    finally:
        env.close()
    print(memory_value(pomdp, given.tol, given.max_beliefs, given.seconds))


LAB = Command("lab", "what a memory is worth in an environment, exactly", _parser, run)
