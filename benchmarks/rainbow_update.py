"""
What an update of Rainbow costs: with and without prioritized replay, and with everything off beside SB3's DQN.

    python benchmarks/rainbow_update.py

One call of `train(1, 64)` each, in turns, by CPU time, on replays filled with the same number of random transitions (4
floats, 2 actions, two layers of 64). "Prioritized" compares the full Rainbow with itself drawing uniformly; the share
of draw and update of the sum tree is timed alone. "Everything off" has the network, loss and batch of DQN.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from common import Bound, Table, hardware, in_turns, median_ratio, parse, parser, print_rows, verdict
from stable_baselines3 import DQN
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_ext import Rainbow
from sb3_ext.networks.heads import Scalar

BATCH = 64
COLUMNS = ("seed", "prioritized_ms", "uniform_ms", "ratio_prioritized", "tree_share", "off_ms", "dqn_ms", "ratio_off")
OFF: dict[str, Any] = {
    "double_q": False,
    "head": Scalar(td_loss="huber", dueling=None),
    "sampler": "uniform",
    "n_steps": 1,
    "value_rescaling": False,
}


def filled(model: OffPolicyAlgorithm, n_steps: int) -> OffPolicyAlgorithm:
    """:return: the model, with that many random transitions in its replay"""
    model.set_logger(Logger(folder=None, output_formats=[]))
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(1, 4)).astype(np.float32)
    assert model.replay_buffer is not None
    for i in range(n_steps):
        after = rng.normal(size=(1, 4)).astype(np.float32)
        done = np.array([i % 100 == 99])
        model.replay_buffer.add(obs, after, rng.integers(2, size=1), rng.normal(size=1), done, [{}])
        obs = rng.normal(size=(1, 4)).astype(np.float32) if done[0] else after
    return model


def run(seed: int, rounds: int, n_steps: int) -> dict[str, object]:
    """:return: one row"""

    def rainbow(**keywords: Any) -> OffPolicyAlgorithm:
        env = gym.make("CartPole-v1")
        return filled(Rainbow("MlpPolicy", env, buffer_size=n_steps, seed=seed, device="cpu", **keywords), n_steps)

    dqn = filled(DQN("MlpPolicy", gym.make("CartPole-v1"), buffer_size=n_steps, seed=seed, device="cpu"), n_steps)
    models = {"prioritized": rainbow(), "uniform": rainbow(sampler="uniform"), "off": rainbow(**OFF), "dqn": dqn}
    contestants: dict[str, Callable[[], object]] = {
        name: lambda model=model: model.train(1, BATCH)  # type: ignore[misc]
        for name, model in models.items()
    }
    buffer: Any = models["prioritized"].replay_buffer
    batch = buffer.sample(BATCH)
    errors = np.random.default_rng(seed).random(BATCH)

    def tree() -> None:
        buffer.sampler.draw(BATCH)
        buffer.update_priorities(batch.handle, errors)

    seconds = in_turns({**contestants, "tree": tree}, rounds, calls=10)
    ms = {name: 1e3 * float(np.median(values)) for name, values in seconds.items()}
    return {
        "seed": seed,
        **{f"{name}_ms": round(ms[name], 4) for name in models},
        "ratio_prioritized": round(median_ratio(seconds["prioritized"], seconds["uniform"]), 4),
        "tree_share": round(ms["tree"] / ms["prioritized"], 4),
        "ratio_off": round(median_ratio(seconds["off"], seconds["dqn"]), 4),
    }


def report(table: Table) -> int:
    """Print the table. :return: exit status"""
    print(f"\nbatch {BATCH}; {hardware()}")
    print_rows(COLUMNS, [tuple(row[name] for name in COLUMNS) for row in table.rows])
    return verdict(
        [
            Bound("full update over the same without prioritized replay", table.median("ratio_prioritized"), 1.15),
            Bound("update with everything off over DQN's", table.median("ratio_off"), 1.0),
        ]
    )


def main() -> int:
    args = parse(parser(__doc__, seeds=3))
    table = Table("rainbow_update", COLUMNS, key=("seed",), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        if not table.has(seed=seed):
            table.add(run(seed, rounds=3 if args.quick else 60, n_steps=2_000 if args.quick else 50_000))
    return report(table)


if __name__ == "__main__":
    sys.exit(main())
