"""`sb3-ext demos reward FILE`: the reward that explains demonstrations, of an environment that publishes its table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sb3_ext.cli.demo_formats import read
from sb3_ext.cli.flags import env_kwargs_of, import_packages
from sb3_ext.cli.values import real
from sb3_ext.errors import UserError
from sb3_ext.zoo.experts import default_path
from sb3_ext.zoo.typed_ids import know_env, made

if TYPE_CHECKING:
    from sb3_ext.imitation import MaxEntReward

NOTES = """Maximum causal entropy inverse reinforcement learning, in the table that the environment publishes.
`sb3-ext lab --reward FILE` draws what was found; `RewardTable` trains any algorithm on it."""
SHOWN = 4  # states with the largest and the smallest rewards


def add_flags(parser: argparse.ArgumentParser) -> None:
    """:param parser: gets what `reward` reads, beside the flags of a file of demonstrations"""
    parser.add_argument("--gamma", type=real(0, 1), default=0.99, help="discount (0.99)")
    kinds = "what rewards are of: arriving in a state, or state and action (arrival)"
    parser.add_argument("--features", choices=["arrival", "state_action"], default="arrival", help=kinds)
    parser.add_argument("--l2", type=real(0), default=1e-4, help="penalty on large rewards (1e-4)")
    parser.add_argument("-o", "--output", type=Path, help="file to write (demos/ENV.reward.json)")
    parser.add_argument("--overwrite", action="store_true", help="it may exist")


def reward(given: argparse.Namespace) -> int:
    """
    :param given: parsed arguments
    :return: 1 where it is not the optimum
    """
    from sb3_ext.demonstrations.play import check_target
    from sb3_ext.imitation import max_ent_irl
    from sb3_ext.imitation.max_ent_reward import with_suffix
    from sb3_ext.planning import TabularMDP

    demos = read(given)
    env_id = given.env or demos.env_id
    if env_id is None:
        raise UserError(f"{given.path} does not name its environment: name it by --env")
    target = with_suffix(given.output or default_path(env_id).with_suffix(".reward.json"))
    check_target(target, given.overwrite)
    import_packages(given)
    know_env(env_id)
    env = made(env_id, env_kwargs_of(given))
    try:
        mdp = TabularMDP.from_env(env, given.gamma)
    finally:
        env.close()
    found = max_ent_irl(mdp, demos, given.features, given.l2)
    found.save(target)
    print(f"{env_id}, discount {given.gamma:g}: {len(demos)} demonstrations, {found.n_steps} steps")
    print(summary(found))
    print(f"Saved {target}")
    return 0 if found.converged else 1


def summary(found: MaxEntReward) -> str:
    """:return: lines about how well it explains them, and where it pays"""
    by_chance = -np.log(found.policy.shape[1])
    largest = np.abs(found.weights).max()
    optimum = "" if found.converged else ", NOT the optimum"
    lines = [
        f"log-likelihood of a step {found.log_likelihood:.4f} ({by_chance:.4f} by chance), {found.n_iterations} "
        f"iterations{optimum}",
        f"gap of features {found.feature_gap:.3g}; the penalty holds back {found.l2:g} x {largest:.3g}",
    ]
    if found.of_arrival is not None:
        order = np.argsort(-found.of_arrival, kind="stable")
        most, least = (
            ", ".join(f"{s} ({found.of_arrival[s]:.3g})" for s in some) for some in (order[:SHOWN], order[::-1][:SHOWN])
        )
        lines.append(f"arriving pays most in state {most}; least in {least}")
    return "\n".join(lines)
