"""
What an update of TD3 costs beside SB3's, and what a million transitions take.

    python benchmarks/update_speed.py

One call of `train(UPDATES, 256)` each, in turns, by CPU time (on a GPU: benchmarks/gpu.py), spaces of
HalfCheetah (17 floats of 64 bits, 6 actions), replays filled with the same random transitions. Bytes are those of the
arrays that a replay of a million transitions allocates.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3 as sb3
import torch as th
from common import Bound, Table, hardware, in_turns, median_ratio, parse, parser, print_rows, verdict
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_ext import TD3
from sb3_ext.buffers import Proportional

BATCH = 256
UPDATES = 2
OBS = spaces.Box(-np.inf, np.inf, (17,), np.float64)
ACT = spaces.Box(-1, 1, (6,), np.float32)
COLUMNS = ("device", "case", "seed", "updates_per_s", "ratio", "bytes_per_transition")
STOCK = "SB3"
CASES: dict[str, tuple[type[sb3.TD3], dict[str, Any]]] = {
    STOCK: (sb3.TD3, {}),
    "nothing switched on": (TD3, {}),
    "optimize_memory_usage": (TD3, {"optimize_memory_usage": True}),
    "prioritized": (TD3, {"sampler": Proportional(alpha=0.4)}),
    "n_steps=3, prioritized": (TD3, {"sampler": Proportional(alpha=0.4), "n_steps": 3}),
    "LayerNormPolicy": (TD3, {"policy": "LayerNormPolicy"}),
    "SimbaPolicy": (TD3, {"policy": "SimbaPolicy"}),
}


class Empty(gym.Env):
    """Spaces only; the replay is filled without it."""

    observation_space = OBS
    action_space = ACT


def filled(case: str, seed: int, n_steps: int) -> sb3.TD3:
    """:return: ready for `train`"""
    cls, keywords = CASES[case]
    policy = keywords.get("policy", "MlpPolicy")
    given = {name: value for name, value in keywords.items() if name != "policy"}
    # [256, 256] for all but SimBa, which has its own.
    if policy != "SimbaPolicy":
        given["policy_kwargs"] = {"net_arch": [256, 256]}
    model = cls(policy, Empty(), buffer_size=n_steps, seed=seed, device="cpu", **given)
    model.set_logger(Logger(folder=None, output_formats=[]))
    fill(model, n_steps)
    return model


def fill(model: OffPolicyAlgorithm, n_steps: int) -> None:
    """Random transitions, in episodes of 1000 that end by their time limit."""
    replay = model.replay_buffer
    assert replay is not None
    rng = np.random.default_rng(0)
    space = model.observation_space

    def draw() -> np.ndarray:
        if space.dtype == np.uint8:
            return rng.integers(0, 256, (1, *(space.shape or ())), dtype=np.uint8)
        return rng.normal(size=(1, *(space.shape or ())))

    obs = draw()
    for i in range(n_steps):
        after = draw()
        done = np.array([i % 1000 == 999])
        if isinstance(model.action_space, spaces.Discrete):
            action = rng.integers(int(model.action_space.n), size=1)
        else:
            action = rng.uniform(-1, 1, (1, *(model.action_space.shape or ()))).astype(np.float32)
        replay.add(obs, after, action, rng.normal(size=1), done, [{"TimeLimit.truncated": bool(done[0])}])
        obs = draw() if done[0] else after


def stored_bytes(model: sb3.TD3, n_steps: int) -> float:
    """:return: per transition"""
    arrays = (x for x in vars(model.replay_buffer).values() if isinstance(x, np.ndarray | th.Tensor))
    cells = getattr(model.replay_buffer, "_cells", None)
    stored = () if cells is None else (*cells.observations.values(), *cells.columns.values())
    per_step: float = sum(x.nbytes for x in (*arrays, *stored)) / n_steps
    return per_step


def run(seed: int, rounds: int, n_steps: int) -> list[dict[str, object]]:
    """:return: one row for each case"""
    models = {case: filled(case, seed, n_steps) for case in CASES}
    contestants = {case: partial(model.train, UPDATES, BATCH) for case, model in models.items()}
    seconds = in_turns(contestants, rounds, calls=5)
    return [
        {
            "device": "cpu",
            "case": case,
            "seed": seed,
            "updates_per_s": round(UPDATES / float(np.median(seconds[case])), 1),
            "ratio": round(median_ratio(seconds[STOCK], seconds[case]), 4),
            "bytes_per_transition": round(stored_bytes(models[case], n_steps), 1),
        }
        for case in CASES
    ]


def main() -> int:
    args = parse(parser(__doc__, seeds=3))
    th.set_num_threads(1)
    table = Table("update_speed", COLUMNS, key=("device", "case", "seed"), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        if not table.has(case=STOCK, seed=seed):
            for row in run(seed, 2 if args.quick else 40, 2000 if args.quick else 20_000):
                table.add(row)
    print(hardware())
    cells: list[tuple[object, ...]] = []
    for case in CASES:
        where = {"case": case}
        if len(table.values("ratio", **where)):
            median = [table.median(name, **where) for name in COLUMNS[3:]]
            cells.append((case, *median))
    print_rows(("case", "updates/s", "of SB3's speed", "bytes per transition"), cells)
    ours = {"case": "nothing switched on"}
    half = table.median("bytes_per_transition", case=STOCK) / 2
    compact = table.median("bytes_per_transition", case="optimize_memory_usage")
    return verdict(
        [
            Bound("updates/s over SB3's", table.median("ratio", **ours), at_least=1.0),
            Bound("bytes per transition, each observation once", compact, at_most=half),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
