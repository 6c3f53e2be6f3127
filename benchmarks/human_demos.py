"""
Do people's demonstrations imitate worse than a network's? GAIL and behaviour cloning on CartPole-v1 from ten episodes
of players whose inconsistency is known (benchmarks/inconsistency.py).

    python benchmarks/human_demos.py

Finished runs stay in results/human_demos.csv.
"""

from __future__ import annotations

import time

import gymnasium as gym
import torch as th
from common import Table, hardware, parse, parser, print_rows
from inconsistency import PLAYERS, episodes
from learning import mean_return
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from sb3_ext import GAIL
from sb3_ext.demonstrations import Demonstrations, inconsistency
from sb3_ext.imitation import behaviour_cloning

ENV = "CartPole-v1"
N_STEPS = 30_000
COLUMNS = ("player", "agent", "seed", "demo_return", "share", "final_mean", "final_std", "cpu_seconds")
TEACHERS = [name for name, (env_id, _) in PLAYERS.items() if env_id == ENV and name != "a coin"]
AGENTS = {"gail": "GAIL", "bc": "behaviour cloning"}


def run(player: str, agent: str, seed: int, demos: Demonstrations, n_steps: int) -> dict[str, object]:
    """:return: one row"""
    th.set_num_threads(1)
    begin = time.process_time()
    model: PPO
    if agent == "gail":
        env = make_vec_env(ENV, 8, seed=seed)
        rate = 1e-3  # zoo_configs/gail.yml
        model = GAIL("MlpPolicy", env, demos, n_steps=128, batch_size=256, learning_rate=rate, seed=seed, device="cpu")
        model.learn(n_steps)
    else:
        model = PPO("MlpPolicy", gym.make(ENV), seed=seed, device="cpu")
        behaviour_cloning(model, demos, n_epochs=50, seed=seed)
    cpu = time.process_time() - begin
    mean, std = mean_return(model, make_vec_env(ENV, 10, seed=seed + 100_000), 50)
    found = inconsistency(demos)
    assert found is not None
    values = (player, agent, seed, demos.returns.mean(), round(found.share, 3), mean, round(std, 2), round(cpu, 1))
    return dict(zip(COLUMNS, values, strict=True))


def report(table: Table) -> None:
    """Print the mean over seeds of each player and agent."""
    cells: list[tuple[object, ...]] = []
    for player in TEACHERS:
        row: list[object] = [player]
        for column in ("demo_return", "share"):
            values = table.values(column, player=player)
            row.append(f"{values.mean():.2f}" if len(values) else "-")
        for agent in AGENTS:
            finals = table.values("final_mean", player=player, agent=agent)
            row.append(f"{finals.mean():.0f} +- {finals.std():.0f} ({len(finals)})" if len(finals) else "-")
        cells.append(tuple(row))
    print_rows(("player", "return", "inconsistency", *AGENTS.values()), cells)


def main() -> None:
    args = parse(parser(__doc__, seeds=5))
    table = Table("human_demos", COLUMNS, key=("player", "agent", "seed"), saved=not args.quick, fresh=args.fresh)
    for player in TEACHERS:
        demos = episodes(*PLAYERS[player])
        for seed in range(1 if args.quick else args.seeds):
            for agent in AGENTS:
                if not table.has(player=player, agent=agent, seed=seed):
                    table.add(run(player, agent, seed, demos, 1200 if args.quick else N_STEPS))
    print(hardware())
    report(table)


if __name__ == "__main__":
    main()
