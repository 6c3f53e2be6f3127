"""A head of one's own: one class says what a Q-network bootstraps from."""

import argparse
from dataclasses import dataclass

import torch as th

from sb3_ext import Rainbow
from sb3_ext.networks.backups import Mixture, NextPolicy
from sb3_ext.networks.heads import Scalar


@dataclass(frozen=True)
class Soft(Scalar):
    """Bootstraps from a softmax over the target network's values, in place of its best action."""

    temperature: float = 0.1

    def next_policy(self, chooser_out: th.Tensor, target_out: th.Tensor) -> NextPolicy:
        return Mixture((target_out / self.temperature).softmax(-1))


def main(steps: int) -> None:
    model = Rainbow("MlpPolicy", "CartPole-v1", head=Soft(temperature=0.2), seed=0, verbose=1).learn(steps)
    print(f"trained with {model.head}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    main(parser.parse_args().steps)
