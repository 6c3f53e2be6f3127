"""How far a policy is from the best one, as a number that no episode was played for."""

import argparse

from stable_baselines3 import DQN

from sb3_ext import QLearning
from sb3_ext.planning import OptimalityGap


def main(steps: int) -> None:
    measured = OptimalityGap(every=1000)
    QLearning("TablePolicy", "FrozenLake-v1", seed=0).learn(steps, callback=measured)
    for row in measured.history[:: max(1, len(measured.history) // 10)]:
        print(f"QLearning after {row['steps']:6.0f} steps: {row['gap_fraction']:.1%} short of the best policy")

    compared = OptimalityGap(every=1000)  # SB3's own algorithms too
    DQN("MlpPolicy", "FrozenLake-v1", seed=0, device="cpu").learn(min(steps, 5000), callback=compared)
    print(f"DQN after {compared.history[-1]['steps']:.0f} steps: {compared.history[-1]['gap_fraction']:.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000)
    main(parser.parse_args().steps)
