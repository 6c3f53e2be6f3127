"""
What `sb3_ext.demonstrations.inconsistency` says of players whose inconsistency is known: the table in
docs/demonstrations.md.

    python benchmarks/inconsistency.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import gymnasium as gym
import numpy as np

from sb3_ext.demonstrations import Demonstrations, from_arrays, inconsistency

Player = Callable[[np.ndarray], int | np.ndarray]
N_EPISODES = 10
rng = np.random.default_rng(0)


def balance(row: np.ndarray) -> int:
    return int(row[2] + 0.3 * row[3] + 0.05 * row[1] + 0.02 * row[0] > 0)


def tenth_random(row: np.ndarray) -> int:
    return int(rng.integers(2)) if rng.random() < 0.1 else balance(row)


def late(most: int) -> Callable[[], Player]:
    """Answers the picture on the screen or one of those before it, at most so many steps ago."""

    def player() -> Player:
        seen: list[int] = []

        def act(row: np.ndarray) -> int:
            seen.append(balance(row))
            return seen[max(0, len(seen) - 1 - int(rng.integers(most + 1)))]

        return act

    return player


def swing(row: np.ndarray) -> np.ndarray:
    torque: np.ndarray = np.clip([-8 * np.arctan2(row[1], row[0]) - 2 * row[2]], -2, 2).astype(np.float32)
    return torque


PLAYERS: dict[str, tuple[str, Callable[[], Player]]] = {
    "CartPole-v1, linear controller": ("CartPole-v1", lambda: balance),
    "the same, every tenth action random": ("CartPole-v1", lambda: tenth_random),
    "the same, a delay of 0 or 1 steps at random, as a hand has": ("CartPole-v1", late(1)),
    "the same, a delay of 0 to 8 steps": ("CartPole-v1", late(8)),
    "a coin": ("CartPole-v1", lambda: lambda _: int(rng.integers(2))),
    "Pendulum-v1, deterministic controller": ("Pendulum-v1", lambda: swing),
    "MountainCar-v0, deterministic controller": ("MountainCar-v0", lambda: lambda row: 2 if row[1] >= 0 else 0),
    "Acrobot-v1, deterministic controller": ("Acrobot-v1", lambda: lambda row: 2 if row[5] > 0 else 0),
}


def episodes(env_id: str, player: Callable[[], Player]) -> Demonstrations:
    env = gym.make(env_id)
    observations, actions, rewards, terminated = [], [], [], []
    for seed in range(N_EPISODES):
        act = player()
        rows, taken, paid, over = [env.reset(seed=seed)[0]], [], [], False
        while not over:
            taken.append(act(rows[-1]))
            row, reward, died, cut, _ = env.step(taken[-1])
            rows.append(row)
            paid.append(float(reward))
            over = died or cut
        observations.append(np.stack(rows))
        actions.append(np.stack(taken))
        rewards.append(np.array(paid))
        terminated.append(died)
    return from_arrays(
        observations,
        actions,
        rewards,
        terminated=terminated,
        observation_space=env.observation_space,
        action_space=env.action_space,
        env_id=env_id,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="the first player alone: does it run?")
    n_players = 1 if arguments.parse_args().quick else len(PLAYERS)
    print("| who acts | share | steps with a near state |")
    print("|---|---|---|")
    for name, (env_id, player) in list(PLAYERS.items())[:n_players]:
        found = inconsistency(episodes(env_id, player))
        assert found is not None
        print(f"| {name} | {found.share:.2f} | {found.n_pairs} of {found.n_steps} |")


if __name__ == "__main__":
    main()
