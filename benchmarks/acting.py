"""
Collecting experience: `R2D2.collect_rollouts` beside sb3-contrib's RecurrentPPO, 16 CartPoleNoVel-v1 environments,
the same run.

    python benchmarks/acting.py

Both use SB3's own loop, one LSTM layer of 64 per network (RecurrentPPO has two: rl-zoo3's tuned settings) and actions
close to uniform, so that episodes are equally long: R2D2 is in its warm-up, in which the core is stepped all the
same, RecurrentPPO is untrained. Both store what they see and neither trains. "Environments alone" steps the same
VecEnv with random actions and no agent: nobody can be faster. So the bound is on the agent's own share, the seconds of
a collection outside `VecEnv.step`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rl_zoo3.import_envs  # noqa: F401  registers CartPoleNoVel-v1
from common import (
    COLORS,
    Bound,
    Table,
    hardware,
    in_turns,
    median_ratio,
    panels,
    parse,
    parser,
    print_rows,
    save,
    verdict,
)
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from sb3_ext import R2D2

ENV_ID = "CartPoleNoVel-v1"
N_ENVS = 16
N_STEPS = 128
COLUMNS = ("seed", "n_envs", "r2d2", "ppo_lstm", "envs_alone", "ratio", "ratio_of_envs_alone", "ratio_of_own_shares")
NAMES = {"r2d2": "R2D2", "ppo_lstm": "RecurrentPPO", "envs_alone": "environments alone"}


class TimedVecEnv(DummyVecEnv):
    """Counts the CPU seconds that all of its kind spend in their steps."""

    seconds = 0.0

    def step_wait(self) -> Any:  # Any: as SB3 has it
        begin = time.process_time()
        result = super().step_wait()
        TimedVecEnv.seconds += time.process_time() - begin
        return result


def own_time() -> float:
    """:return: CPU seconds outside the environments"""
    return time.process_time() - TimedVecEnv.seconds


def collect_r2d2(seed: int, n_envs: int, n_steps: int) -> Callable[[], object]:
    """:return: a function that collects ``n_steps`` of each environment"""
    model = R2D2(
        "MlpLstmPolicy",
        make_vec_env(ENV_ID, n_envs, seed=seed, vec_env_cls=TimedVecEnv),
        learning_starts=10**9,
        train_freq=n_steps,
        gradient_steps=0,
        seed=seed,
        device="cpu",
    )
    callback = _ready(model)
    env, buffer = model.env, model.replay_buffer
    assert env is not None and buffer is not None
    return lambda: model.collect_rollouts(env, callback, model.train_freq, buffer, learning_starts=10**9)  # type: ignore[arg-type]


def collect_ppo(seed: int, n_envs: int, n_steps: int) -> Callable[[], object]:
    """:return: the same for RecurrentPPO; settings: rl-zoo3, hyperparams/ppo_lstm.yml, without its VecNormalize"""
    model = RecurrentPPO(
        "MlpLstmPolicy",
        make_vec_env(ENV_ID, n_envs, seed=seed, vec_env_cls=TimedVecEnv),
        n_steps=n_steps,
        batch_size=256,
        policy_kwargs={
            "ortho_init": False,
            "activation_fn": nn.ReLU,
            "lstm_hidden_size": 64,
            "enable_critic_lstm": True,
            "net_arch": {"pi": [64], "vf": [64]},
        },
        seed=seed,
        device="cpu",
    )
    callback = _ready(model)
    env = model.env
    assert env is not None
    return lambda: model.collect_rollouts(env, callback, model.rollout_buffer, n_steps)


def step_envs(seed: int, n_envs: int, n_steps: int) -> Callable[[], object]:
    """:return: the same without an agent"""
    env = make_vec_env(ENV_ID, n_envs, seed=seed, vec_env_cls=TimedVecEnv)
    env.reset()
    actions = np.random.default_rng(seed).integers(2, size=(n_steps, n_envs))

    def work() -> None:
        for action in actions:
            env.step(action)

    return work


def _ready(model: BaseAlgorithm) -> Any:
    model.set_logger(Logger(None, []))
    return model._setup_learn(10**12)[1]


def run(seed: int, n_envs: int, rounds: int) -> dict[str, Any]:
    """:return: one row, env steps per CPU second; all take turns"""
    makers = {"r2d2": collect_r2d2, "ppo_lstm": collect_ppo, "envs_alone": step_envs}
    works = {name: make(seed, n_envs, N_STEPS) for name, make in makers.items()}
    seconds = in_turns(works, rounds)
    own = in_turns({name: works[name] for name in ("r2d2", "ppo_lstm")}, rounds, clock=own_time)
    return {
        "seed": seed,
        "n_envs": n_envs,
        **{name: round(float(np.median(n_envs * N_STEPS / each))) for name, each in seconds.items()},
        "ratio": round(median_ratio(seconds["ppo_lstm"], seconds["r2d2"]), 3),
        "ratio_of_envs_alone": round(median_ratio(seconds["ppo_lstm"], seconds["envs_alone"]), 3),
        "ratio_of_own_shares": round(median_ratio(own["ppo_lstm"], own["r2d2"]), 3),
    }


def report(table: Table) -> int:
    """Print the table. :return: exit status"""
    print(f"\n{N_ENVS} x {ENV_ID}, collection only, 1 thread; {hardware()}")
    rates = {name: table.median(name) for name in NAMES}
    print_rows(
        ("", "env steps per CPU-s", "us per env step", "x RecurrentPPO"),
        [
            (label, f"{rates[name]:.0f}", 1e6 / rates[name], rates[name] / rates["ppo_lstm"])
            for name, label in NAMES.items()
        ],
    )
    print(
        f"No agent can pass {table.median('ratio_of_envs_alone'):.2f} times RecurrentPPO's rate here: "
        "that is the environments alone."
    )
    # RecurrentPPO steps two LSTMs and stores no sequences, R2D2 one.
    return verdict([Bound("own share, RecurrentPPO over R2D2", table.median("ratio_of_own_shares"), at_least=1.5)])


def plot(table: Table) -> None:
    """Draw docs/images/acting.png."""
    figure, (axis,) = panels(1, width=5.6, height=2.0)
    names = list(NAMES)[::-1]
    rates = [table.median(name) for name in names]
    bars = axis.barh(
        [NAMES[name] for name in names], [rate / 1000 for rate in rates], color=[COLORS[4], COLORS[1], COLORS[0]]
    )
    axis.bar_label(bars, [f" {rate:,.0f}" for rate in rates])
    axis.set(xlabel="thousand env steps per CPU second", title=f"collection, {N_ENVS} x {ENV_ID}")
    axis.margins(x=0.15)
    axis.grid(False, axis="y")
    save(figure, "acting")


def main() -> None:
    args = parse(parser(__doc__, seeds=5))
    table = Table("acting", COLUMNS, key=("seed",), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        if not table.has(seed=seed):
            table.add(run(seed, N_ENVS, rounds=4 if args.quick else 25))
    status = report(table)
    if not args.quick:
        plot(table)
    sys.exit(status)


if __name__ == "__main__":
    main()
