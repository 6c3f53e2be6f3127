"""Rainbow with a head and a sampler that are chosen: quantiles of the return, and draws by the rank of the error."""

import argparse

from stable_baselines3.common.evaluation import evaluate_policy

from sb3_ext import Rainbow
from sb3_ext.buffers import RankBased
from sb3_ext.networks import Quantile


def main(steps: int) -> None:
    model = Rainbow(
        "MlpPolicy",
        "CartPole-v1",
        head=Quantile(n_quantiles=32, noise=0.5),
        sampler=RankBased(alpha=0.6),
        seed=0,
    ).learn(steps)
    env = model.get_env()
    assert env is not None
    mean, deviation = evaluate_policy(model, env, n_eval_episodes=10)
    print(f"{model.head}, {model.sampler}: mean return {mean:.0f}, standard deviation of episodes {deviation:.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    main(parser.parse_args().steps)
