"""Two processes collect with copies of the policy while this one learns."""

import argparse
from functools import partial

from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_ext import R2D2
from sb3_ext.distributed import ActorEnvs


def main(steps: int) -> None:
    make_envs = partial(make_vec_env, "CartPole-v1")  # a number of environments -> a VecEnv
    envs = ActorEnvs(make_envs, n_actors=2, envs_per_actor=8)
    # The default is an update for 16 steps of each environment: 16 of them have 16 updates for the same 16 steps.
    model = R2D2("MlpLstmPolicy", envs, gradient_steps=16, seed=0).learn(steps)
    envs.close()
    mean, _ = evaluate_policy(model, make_envs(1), n_eval_episodes=10)
    print(f"{model.num_timesteps} steps of two actors: mean return {mean:.0f}")


if __name__ == "__main__":  # actors are fresh processes, which import this file
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000)
    main(parser.parse_args().steps)
