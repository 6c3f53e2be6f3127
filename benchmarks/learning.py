"""Training runs for the learning benchmarks: an agent, evaluated on its way, timed without the evaluations."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch as th
from common import COLORS, Table, panels, save
from matplotlib.axes import Axes
from processes import others_cpu_seconds
from rl_zoo3.exp_manager import ExperimentManager
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from sb3_ext.zoo.experiment import Experiment
from sb3_ext.zoo.registry import register

QUICK_STEPS = 2048
"""A run that is no longer only shows that it runs: it is evaluated once, by two episodes."""


@dataclass
class Curve:
    """Evaluations of one run."""

    steps: list[int]
    """environment steps over all environments"""
    cpu_seconds: list[float]
    """of training alone"""
    means: list[float]
    """mean return of each evaluation"""

    def reached(self, threshold: float) -> tuple[int | None, float | None]:
        """:return: env steps and CPU seconds at the first evaluation of at least ``threshold``, or None"""
        for steps, cpu, mean in zip(self.steps, self.cpu_seconds, self.means, strict=True):
            if mean >= threshold:
                return steps, cpu
        return None, None


class EvaluateOnTheWay(BaseCallback):
    """
    :param env: to evaluate on
    :param every: env steps between evaluations
    :param n_episodes: episodes of each
    :param gamma: discount of the returns
    """

    def __init__(self, env: VecEnv, every: int, n_episodes: int, gamma: float = 1.0) -> None:
        super().__init__()
        self.env, self.every, self.n_episodes, self.gamma = env, every, n_episodes, gamma
        self.curve = Curve([], [], [])
        self.next_at = every
        self.own_seconds = 0.0

    def _on_training_start(self) -> None:
        self.start = time.process_time()

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.next_at:
            self.next_at += self.every
            begin = time.process_time()
            mean = mean_return(self.model, self.env, self.n_episodes, self.gamma)[0]
            end = time.process_time()
            self.own_seconds += end - begin
            self.curve.steps.append(self.num_timesteps)
            self.curve.cpu_seconds.append(round(end - self.start - self.own_seconds, 2))
            self.curve.means.append(round(mean, 3))
        return True


class DiscountedReturns:
    """
    A callback of `evaluate_policy`, which itself sums rewards as they are.

    :param n_envs: E of what is evaluated on
    :param gamma: discount per step
    """

    def __init__(self, n_envs: int, gamma: float) -> None:
        self.gamma = gamma
        self.finished: list[float] = []
        self._sums, self._discounts = np.zeros(n_envs), np.ones(n_envs)

    def __call__(self, step: dict[str, Any], _: dict[str, Any]) -> None:  # Any: what `evaluate_policy` works with
        """:param step: of one environment"""
        lane = step["i"]
        self._sums[lane] += self._discounts[lane] * step["reward"]
        self._discounts[lane] *= self.gamma
        if step["done"]:
            self.finished.append(float(self._sums[lane]))
            self._sums[lane], self._discounts[lane] = 0.0, 1.0


def returns_of(model: BaseAlgorithm, env: VecEnv, n_episodes: int, gamma: float = 1.0) -> np.ndarray:
    """:return: [n_episodes] of the greedy agent, discounted by ``gamma``"""
    normalized = model.get_vec_normalize_env()
    if normalized is not None:
        sync_envs_normalization(normalized, env)
    discounted = DiscountedReturns(env.num_envs, gamma)
    returns, _ = evaluate_policy(
        model, env, n_eval_episodes=n_episodes, deterministic=True, return_episode_rewards=True, callback=discounted
    )
    return np.array(returns if gamma == 1.0 else discounted.finished)


def lanes_for(n_episodes: int) -> int:
    """:return: environments to evaluate on, which take these episodes in turns"""
    return 10 if n_episodes < 1000 else 100


def mean_return(model: BaseAlgorithm, env: VecEnv, n_episodes: int, gamma: float = 1.0) -> tuple[float, float]:
    """:return: mean and standard deviation of the greedy agent's return, discounted by ``gamma``"""
    returns = returns_of(model, env, n_episodes, gamma)
    return float(returns.mean()), float(returns.std())


@dataclass
class Result:
    """One finished run."""

    curve: Curve
    final_mean: float
    final_std: float
    cpu_seconds: float
    final_worst: float = float("nan")
    """the worst of the episodes at the end"""
    others_cpu_seconds: float = 0.0
    """of processes that the training began"""
    wall_seconds: float = float("nan")
    """of training with its evaluations"""


def train(
    model: BaseAlgorithm,
    eval_env: VecEnv,
    n_steps: int,
    every: int,
    n_episodes: int,
    final_episodes: int,
    gamma: float = 1.0,
) -> Result:
    """
    Train on one thread.

    :param model: fresh and seeded
    :param eval_env: apart from the training env
    :param n_steps: env steps over all environments; up to `QUICK_STEPS` there is one evaluation of two episodes
    :param every: env steps between evaluations
    :param n_episodes: episodes of each evaluation
    :param final_episodes: episodes of the evaluation of the final weights
    :param gamma: discount of the returns that are evaluated
    """
    th.set_num_threads(1)
    if n_steps <= QUICK_STEPS:
        every, n_episodes, final_episodes = n_steps, 2, 2
    on_the_way = EvaluateOnTheWay(eval_env, every, n_episodes, gamma)
    begin, others, clock = time.process_time(), others_cpu_seconds(), time.monotonic()
    model.learn(n_steps, callback=on_the_way, log_interval=10**9)
    cpu = time.process_time() - begin - on_the_way.own_seconds
    others, wall = others_cpu_seconds() - others, time.monotonic() - clock
    finals = returns_of(model, eval_env, final_episodes, gamma)
    if model.env is not None:
        model.env.close()
    return Result(on_the_way.curve, float(finals.mean()), float(finals.std()), cpu, float(finals.min()), others, wall)


@contextlib.contextmanager
def zoo_experiment(
    algo: str, env_id: str, seed: int, env_steps: int, **hyperparams: Any
) -> Iterator[ExperimentManager]:
    """
    What `sb3-ext train` would set up: the block of our yml for our algorithms, rl-zoo3's own for its.

    :param algo: id of the algorithm in the zoo
    :param env_id: environment
    :param seed: of the run
    :param env_steps: of the run; ``n_steps`` is a keyword of algorithms
    :param hyperparams: in place of those of the yml
    """
    with tempfile.TemporaryDirectory() as folder:
        yield Experiment.of(
            algo,
            env_id,
            folder,
            n_timesteps=env_steps,
            eval_freq=-1,
            hyperparams=hyperparams,
            seed=seed,
            verbose=0,
            device="cpu",
        )


def train_with_the_zoo(
    algo: str,
    env_id: str,
    seed: int,
    env_steps: int,
    every: int,
    n_episodes: int,
    final_episodes: int,
    discount: float = 1.0,
    **hyperparams: Any,
) -> Result:
    """
    The other parameters are as for `train` and `zoo_experiment`.

    :param discount: of the returns that are evaluated; ``gamma`` is a keyword of algorithms
    """
    register()
    with zoo_experiment(algo, env_id, seed, env_steps, **hyperparams) as experiment:
        with contextlib.redirect_stdout(io.StringIO()):
            made = experiment.setup_experiment()  # reads the yml, which the evaluation env needs too
            assert made is not None
            eval_env = experiment.create_envs(lanes_for(n_episodes), eval_env=True, no_log=True)
        eval_env.seed(seed + 100_000)
        return train(made[0], eval_env, env_steps, every, n_episodes, final_episodes, discount)


# ---------------------------------------------------------------------- tables of tasks and agents

RUN_COLUMNS = ("task", "agent", "seed", "env_steps", "final_mean", "final_std", "best", "cpu_seconds", "curve")
RUN_KEY = ("task", "agent", "seed")


def row_of(result: Result, task: str, agent: str, seed: int, n_steps: int) -> dict[str, object]:
    """:return: a row of `RUN_COLUMNS`"""
    return {
        "task": task,
        "agent": agent,
        "seed": seed,
        "env_steps": n_steps,
        "final_mean": round(result.final_mean, 3),
        "final_std": round(result.final_std, 3),
        "best": max(result.curve.means),
        "cpu_seconds": round(result.cpu_seconds, 1),
        "curve": " ".join(f"{s}:{m}" for s, m in zip(result.curve.steps, result.curve.means, strict=True)),
    }


def cell_of(table: Table, task: str, agent: str, digits: int = 2) -> str:
    """:return: mean and spread of the final return over seeds (seeds; CPU seconds of a run)"""
    finals = table.values("final_mean", task=task, agent=agent)
    cpu = table.median("cpu_seconds", task=task, agent=agent)
    return (
        f"{finals.mean():.{digits}f} +- {finals.std():.{digits}f} ({len(finals)}; {cpu:.0f} s)" if len(finals) else "-"
    )


class Level(NamedTuple):
    """Returns to draw a line at, or a band where they are known to lie between two numbers."""

    low: float
    high: float
    label: str = ""
    """in the legend"""
    line: str = ":"

    def draw(self, axis: Axes) -> None:
        axis.axhspan(self.low, self.high, color="0.5", alpha=0.3, linewidth=0)
        axis.axhline((self.low + self.high) / 2, color="0.4", linestyle=self.line, linewidth=1, label=self.label)


class Panel(NamedTuple):
    """A task in a picture."""

    task: str
    levels: Sequence[Level]
    ylabel: str = ""
    """where it differs from the first panel's"""

    @classmethod
    def of(cls, task: str, level: float) -> Panel:
        """:return: with one line, which the legend does not name"""
        return cls(task, [Level(level, level)])


def plot_curves(
    table: Table,
    tasks: Sequence[Panel],
    agents: Mapping[str, str],
    name: str,
    n_episodes: int = 20,
    columns: int | None = None,
) -> None:
    """
    Draw docs/images/<name>.png: a panel per task, mean and range over seeds.

    :param table: of `RUN_COLUMNS`
    :param tasks: what to draw
    :param agents: names by id
    :param name: of the picture
    :param n_episodes: of an evaluation
    :param columns: panels in a row, None = all
    """
    figure, axes = panels(len(tasks), width=2.7, height=2.8, columns=columns)
    for axis, panel in zip(axes, tasks, strict=True):
        # The first agent is drawn above the others.
        for (agent, label), color, order in zip(agents.items(), COLORS, range(20, 0, -1), strict=False):
            rows = [row for row in table.rows if row["task"] == panel.task and row["agent"] == agent]
            curves = [[point.split(":") for point in row["curve"].split()] for row in rows]
            if not curves:
                continue
            n_points = min(len(curve) for curve in curves)
            steps = [int(point[0]) / 1000 for point in curves[0][:n_points]]
            means = np.array([[float(point[1]) for point in curve[:n_points]] for curve in curves])
            axis.plot(steps, means.mean(axis=0), color=color, label=label, zorder=order)
            axis.fill_between(steps, means.min(axis=0), means.max(axis=0), color=color, alpha=0.15, linewidth=0)
        for level in panel.levels:
            level.draw(axis)
        axis.set(title=panel.task, xlabel="env steps (thousands)", ylabel=panel.ylabel)
    axes[0].set_ylabel(f"return, {n_episodes} greedy episodes")
    lines = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(len(lines), 4))
    save(figure, name)
