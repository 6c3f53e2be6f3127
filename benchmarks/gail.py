"""
GAIL beside the GAIL of `imitation`, beside the numbers of its paper, and what it costs over plain PPO.

    python benchmarks/gail.py

Experts are SB3's PPO with rl-zoo3's settings, trained once until they reach the task's goal; their 20 greedy episodes
stay in the folder ``--experts``. A run with seed s is given the episodes from the s-th on. Ours has one set of settings
for all tasks (`PPO_SETTINGS`, `OURS`), and so has `imitation`'s (`PPO_SETTINGS`, `THEIRS`), on the same episodes, with
as many environments and evaluations. It runs gail_peer.py in a virtual environment of its own, which is made on first
use from `VERSIONS` (``--peer-python`` takes another one).

Evaluations on the way are of 10 greedy episodes, the last one of 50. CPU seconds are of training alone, on one thread.
Finished rows stay in results/gail.csv and results/gail_speed.csv.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from common import Bound, Table, hardware, in_turns, median_ratio, parse, parser, print_rows, verdict
from learning import RUN_COLUMNS, Curve, Result, row_of, train, zoo_experiment
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnRewardThreshold
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.demonstrations import Demonstrations, load, record, save
from sb3_ext.imitation import GAIL
from sb3_ext.zoo.registry import register


@dataclass(frozen=True)
class Task:
    """An environment and its budget."""

    env_id: str
    n_steps: int
    every: int
    """env steps between evaluations"""
    chance: float
    """return of a random agent"""
    goal: float
    """mean return of 20 greedy episodes at which an expert is one"""
    expert_steps: int
    """after which it is none"""
    paper: dict[int, float]
    """returns in Ho and Ermon (2016) by number of demonstrations; 0 = the expert"""

    def scaled(self, value: float, expert: float) -> float:
        """:return: 0 for a random agent, 1 for the expert"""
        return (value - self.chance) / (expert - self.chance)


TASKS = (
    # The paper has CartPole-v0, whose episodes end after 200 steps.
    Task("CartPole-v1", 30_000, 2500, 22.0, 500.0, 100_000, {0: 200, 1: 200, 4: 200, 10: 200}),
    Task("Acrobot-v1", 50_000, 5000, -500.0, -80.0, 1_000_000, {0: -75, 1: -77, 4: -83, 10: -79}),
    Task("MountainCar-v0", 100_000, 5000, -200.0, -110.0, 1_000_000, {0: -99, 1: -102, 4: -101, 10: -100}),
)
PPO_SETTINGS: dict[str, Any] = {  # of GAIL, of the PPO beside it, and of the PPO in imitation's GAIL
    "n_steps": 128,
    "batch_size": 256,
    "n_epochs": 10,
    "learning_rate": 1e-3,
    "gamma": 0.99,
}
# Beside GAIL's defaults, which were chosen by hand on seeds 0 and 1 of these tasks.
OURS: dict[str, Any] = {"held_out": 0.0}  # n demonstrations are n, as for the peer
# The best of three on CartPole, seed 0; the batch cannot be larger than the demonstrations.
THEIRS: dict[str, Any] = {"demo_batch_size": 256, "n_disc_updates_per_round": 20, "disc_opt_kwargs": {"lr": 3e-4}}
N_ENVS = 8
N_RECORDED = 20
VERSIONS = """
absl-py==2.5.1 aiohappyeyeballs==2.7.1 aiohttp==3.14.5 aiosignal==1.4.0 alembic==1.20.1 anyio==4.16.0 attrs==26.1.0
certifi==2026.10.18 charset-normalizer==3.5.2 cloudpickle==3.1.2 colorama==0.4.6 colorlog==6.12.0 contourpy==1.3.3
cycler==0.12.1 datasets==5.0.1 dill==0.4.1 docopt-ng==0.9.0 Farama-Notifications==0.0.6 filelock==4.2.11
fonttools==4.68.0 frozenlist==1.8.0 fsspec==2026.6.0 gitdb==4.0.12 GitPython==3.2.1 grpcio==1.85.1 gymnasium==0.29.1
h11==0.16.0 hf-xet==1.8.0 httpcore==1.0.9 httpx==0.28.1 huggingface_hub==0.36.2 huggingface-sb3==3.0 idna==3.20
imitation==1.0.1 Jinja2==3.1.6 joblib==1.6.0 jsonpickle==4.1.4 kiwisolver==1.5.1 Mako==1.4.3 Markdown==3.11.3
markdown-it-py==4.3.0 MarkupSafe==3.0.4 matplotlib==3.11.2 mdurl==0.1.2 mpmath==1.3.0 multidict==7.2.1
multiprocess==0.70.19 munch==4.0.0 narwhals==2.29.0 networkx==3.6.1 numpy==1.26.4 optuna==5.0.0 packaging==26.3
pandas==3.0.6 pillow==13.0.0 propcache==0.5.4 protobuf==7.36.2 py-cpuinfo==9.0.0 pyarrow==26.0.1 pygame==2.6.1
Pygments==2.21.0 pyparsing==3.3.3 python-dateutil==4.0.0 PyYAML==6.0.3 requests==2.34.2 rich==15.0.0 sacred==0.8.7
scikit-learn==1.9.1 scipy==1.17.1 seals==0.2.1 setuptools==80.9.0 smmap==5.0.3 SQLAlchemy==2.1.9
stable-baselines3==2.2.1 sympy==1.14.0 tensorboard==2.21.0 tensorboard-data-server==0.7.2 threadpoolctl==3.8.0
torch==2.13.0 tqdm==4.70.1 typing_extensions==4.16.0 tzdata==2026.6 urllib3==2.8.0 wasabi==1.1.3 Werkzeug==3.1.9
wrapt==1.17.3 xxhash==4.1.0 yarl==1.25.1
"""  # all that pip installs with imitation 1.0.1, on Python 3.11
PEER = pathlib.Path(__file__).with_name("gail_peer.py")


def expert_episodes(task: Task, folder: pathlib.Path) -> Demonstrations:
    """:return: of a PPO with rl-zoo3's settings, which is trained where the folder has none"""
    path = folder / f"{task.env_id}.npz"
    if path.exists():
        return load(path)
    print(f"training an expert on {task.env_id}", flush=True)
    experiments = zoo_experiment("ppo", task.env_id, 0, task.expert_steps)
    with experiments as experiment, contextlib.redirect_stdout(io.StringIO()):
        made = experiment.setup_experiment()
        assert made is not None
        eval_env = experiment.create_envs(10, eval_env=True, no_log=True)
    eval_env.seed(100_000)
    model = made[0]
    reached = StopTrainingOnRewardThreshold(task.goal)
    every = 10_000 // model.n_envs
    evaluation = EvalCallback(eval_env, reached, n_eval_episodes=20, eval_freq=every, verbose=0, warn=False)
    model.learn(task.expert_steps, callback=evaluation, log_interval=10**9)
    if evaluation.best_mean_reward < task.goal:
        raise RuntimeError(f"{task.env_id}: best {evaluation.best_mean_reward} of {task.expert_steps} steps")
    demonstrations = record(model, eval_env, N_RECORDED, seed=0)
    folder.mkdir(parents=True, exist_ok=True)
    save(demonstrations, path)
    return demonstrations


def any_episodes(task: Task) -> Demonstrations:
    """:return: of a PPO that learned next to nothing"""
    env = make_vec_env(task.env_id, 2, seed=0)
    return record(PPO("MlpPolicy", env, seed=0, device="cpu").learn(4096), env, N_RECORDED, seed=0)


# ---------------------------------------------------------------------- one run

COLUMNS = (*RUN_COLUMNS, "demonstrations", "subsample", "expert", "steps_to_95", "cpu_to_95")
KEY = ("task", "agent", "seed", "demonstrations", "subsample")
EVALUATIONS = {"n_episodes": 10, "final_episodes": 50}


def given(demonstrations: Demonstrations, n: int, subsample: int, seed: int) -> Demonstrations:
    """:return: n of the episodes, others for each seed"""
    some = tuple(demonstrations.episodes[(seed + i) % len(demonstrations)] for i in range(n))
    return replace(demonstrations, episodes=some).subsample(subsample, seed)


def run_ours(task: Task, demonstrations: Demonstrations, seed: int, n_steps: int, **changes: Any) -> Result:
    """:return: the finished run"""
    model = GAIL(
        "MlpPolicy",
        make_vec_env(task.env_id, N_ENVS, seed=seed),
        demonstrations,
        seed=seed,
        device="cpu",
        **{**PPO_SETTINGS, **OURS, **changes},
    )
    eval_env = make_vec_env(task.env_id, 10, seed=seed + 100_000)
    return train(model, eval_env, n_steps, min(task.every, n_steps), **EVALUATIONS)


def run_peer(task: Task, demonstrations: Demonstrations, seed: int, n_steps: int, python: pathlib.Path) -> Result:
    """:return: the finished run of the other process"""
    answer = ask_peer(task.env_id, demonstrations, seed, n_steps, min(task.every, n_steps), python)
    curve = Curve(answer["steps"], answer["seconds"], answer["means"])
    return Result(curve, answer["final_mean"], answer["final_std"], answer["cpu_seconds"])


def ask_peer(
    env_id: str,
    demonstrations: Demonstrations,
    seed: int,
    n_steps: int,
    every: int,
    python: pathlib.Path,
    **more: Any,  # Any: keywords of gail_peer's `run`
) -> dict[str, Any]:
    """:return: what gail_peer's `run` does, in a process of its own"""
    with tempfile.TemporaryDirectory() as folder:
        path = save(demonstrations, pathlib.Path(folder) / "demonstrations.npz")
        arguments = {
            "env_id": env_id,
            "demonstrations": str(path),
            "seed": seed,
            "n_envs": N_ENVS,
            "n_steps": n_steps,
            "every": every,
            **EVALUATIONS,
            "ppo": PPO_SETTINGS,
            # A batch of the expert's steps must not be larger than there are.
            "gail": {**THEIRS, "demo_batch_size": min(THEIRS["demo_batch_size"], demonstrations.n_steps)},
            **more,
        }
        finished = subprocess.run(
            # -I: nothing of this process's paths reaches the other one.
            [str(python), "-I", str(PEER), json.dumps(arguments)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
        )
    answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return answer


def peer_python(given_one: pathlib.Path | None, experts: pathlib.Path) -> pathlib.Path:
    """:return: interpreter of the peer's virtual environment, which is made where there is none"""
    if given_one is not None:
        return given_one
    folder = experts.parent / "gail_peer"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"installing imitation into {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *VERSIONS.split()], check=True)
        (folder / "complete").touch()
    return python


def row(
    result: Result, task: Task, agent: str, seed: int, n: int, subsample: int, n_steps: int, expert: float
) -> dict[str, object]:
    """:return: of `COLUMNS`"""
    steps, seconds = result.curve.reached(task.chance + 0.95 * (expert - task.chance))
    return {
        **row_of(result, task.env_id, agent, seed, n_steps),
        "demonstrations": n,
        "subsample": subsample,
        "expert": round(expert, 3),
        "steps_to_95": "" if steps is None else steps,
        "cpu_to_95": "" if seconds is None else seconds,
    }


# ---------------------------------------------------------------------- speed

SPEED_COLUMNS = ("task", "settings", "seed", "ppo_steps_per_s", "gail_steps_per_s", "ratio")
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # of both, and of GAIL alone
    "defaults": ({"n_steps": 2048 // N_ENVS}, {}),  # PPO's 2048 steps a rollout, batches of 64, and all of GAIL's own
    "gail.yml": (PPO_SETTINGS, OURS),
}


def run_speed(demonstrations: Demonstrations, name: str, seed: int, rounds: int, n_rollouts: int) -> dict[str, object]:
    """:return: one row: GAIL and PPO with its settings learn in turns on the demonstrations' task"""
    assert demonstrations.env_id is not None
    shared, own = SETTINGS[name]

    def env() -> VecEnv:
        return make_vec_env(str(demonstrations.env_id), N_ENVS, seed=seed)

    models: dict[str, OnPolicyAlgorithm] = {
        "ppo": PPO("MlpPolicy", env(), seed=seed, device="cpu", **shared),
        "gail": GAIL("MlpPolicy", env(), demonstrations, seed=seed, device="cpu", **shared, **own),
    }
    n_steps = n_rollouts * N_ENVS * int(shared["n_steps"])
    for model in models.values():
        model.set_logger(Logger(folder=None, output_formats=[]))

    def learn(model: OnPolicyAlgorithm) -> None:
        model.learn(n_steps, reset_num_timesteps=False, log_interval=10**9)

    seconds = in_turns({name: lambda m=model: learn(m) for name, model in models.items()}, rounds)  # type: ignore[misc]
    return {
        "task": demonstrations.env_id,
        "settings": name,
        "seed": seed,
        "ppo_steps_per_s": round(n_steps / float(np.median(seconds["ppo"]))),
        "gail_steps_per_s": round(n_steps / float(np.median(seconds["gail"]))),
        "ratio": round(median_ratio(seconds["ppo"], seconds["gail"]), 4),
    }


# ---------------------------------------------------------------------- what is said about it

AGENTS = {"gail": "GAIL (ours)", "imitation": "GAIL of imitation"}
N_DEMONSTRATIONS = (1, 4, 10)


def spread(values: np.ndarray, digits: int = 0) -> str:
    """:return: median, and the range where there are several"""
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return "-"
    low, middle, high = (f"{x:.{digits}f}" for x in (values.min(), np.median(values), values.max()))
    return f"{middle} [{low}, {high}]"


def report_peer(table: Table) -> None:
    """Print ours beside the peer's, 10 demonstrations."""
    cells: list[tuple[object, ...]] = []
    for task in TASKS:
        for agent, label in AGENTS.items():
            where: dict[str, Any] = {"task": task.env_id, "agent": agent, "demonstrations": 10, "subsample": 1}
            steps, finals = table.values("steps_to_95", **where), table.values("final_mean", **where)
            if len(finals) == 0:
                continue
            experts = table.values("expert", **where)
            cells.append(
                (
                    task.env_id,
                    label,
                    f"{int((~np.isnan(steps)).sum())} of {len(steps)}",
                    spread(steps),
                    spread(table.values("cpu_to_95", **where), 1),
                    f"{finals.mean():.1f} +- {finals.std():.1f}",
                    f"{task.scaled(finals.mean(), experts.mean()):.2f}",
                    f"{np.median(table.values('env_steps', **where) / table.values('cpu_seconds', **where)):.0f}",
                )
            )
    header = (
        "task",
        "agent",
        "reached 95 %",
        "env steps to it",
        "CPU-s to it",
        "final return",
        "scaled",
        "steps/CPU-s",
    )
    print_rows(header, cells)
    print("Median [range] over the seeds that reached it; final: 50 episodes, mean and deviation over seeds.\n")


def report_demonstrations(table: Table) -> None:
    """Print ours beside the paper's numbers, by number of demonstrations."""
    cells: list[tuple[object, ...]] = []
    for task in TASKS:
        for n in N_DEMONSTRATIONS:
            for subsample in (1, 20):
                where: dict[str, Any] = {
                    "task": task.env_id,
                    "agent": "gail",
                    "demonstrations": n,
                    "subsample": subsample,
                }
                finals, experts = table.values("final_mean", **where), table.values("expert", **where)
                if len(finals) == 0:
                    continue
                ours = np.array([task.scaled(x, e) for x, e in zip(finals, experts, strict=True)])
                name = f"{n}" if subsample == 1 else f"{n}, every {subsample}th step"
                cells.append(
                    (
                        task.env_id,
                        name,
                        spread(ours, 2),
                        f"{ours.mean():.2f}",
                        f"{finals.mean():.1f}",
                        f"{experts.mean():.1f}",
                        f"{finals.mean() / experts.mean():.2f}",
                        f"{task.paper[n] / task.paper[0]:.2f}" if subsample == 1 else "-",
                        len(finals),
                    )
                )
    header = ("task", "demonstrations", "scaled, median", "mean", "return", "expert's", "ratio", "the paper's", "seeds")
    print_rows(header, cells)
    print("Final return of 50 greedy episodes; scaled: 0 is a random agent, 1 the expert. Ratio: the return over the")
    print("expert's (below 0 a smaller one is better). The paper has other versions of the tasks and other budgets.\n")


def report_speed(speed: Table) -> None:
    """Print env steps per CPU-s beside PPO's."""
    cells: list[tuple[object, ...]] = []
    for name in SETTINGS:
        for task in TASKS:
            where = {"task": task.env_id, "settings": name}
            rates = [f"{speed.median(column, **where):.0f}" for column in SPEED_COLUMNS[3:5]]
            cells.append((task.env_id, name, *rates, f"{speed.median('ratio', **where):.3f}"))
    print_rows(("task", "settings", "PPO", "GAIL", "ratio"), cells)
    print("Env steps per CPU-s in training, medians over seeds.")


def bounds(table: Table, speed: Table) -> list[Bound]:
    """:return: what the table has to keep to"""
    sub: dict[str, Any] = {"task": "CartPole-v1", "agent": "gail", "demonstrations": 1, "subsample": 20}
    result = []
    for name in SETTINGS:
        for task in TASKS:
            ratio = speed.median("ratio", task=task.env_id, settings=name)
            result.append(Bound(f"{task.env_id}, {name}: env steps per CPU-s over PPO's", ratio, at_least=0.9))
    result.append(
        Bound(
            "CartPole-v1, one demonstration, every 20th step: return", table.median("final_mean", **sub), at_least=475
        )
    )
    for task in TASKS:
        theirs, ours = (
            table.values("final_mean", task=task.env_id, agent=agent, demonstrations=10, subsample=1)
            for agent in ("imitation", "gail")
        )
        n = min(len(ours), len(theirs))
        gap = float(ours[:n].mean() - theirs[:n].mean()) if n else float("nan")
        result.append(Bound(f"{task.env_id}: final return above imitation's", gap, at_least=0.0))
    return result


def runs(seeds: int) -> list[tuple[Task, str, int, int, int]]:
    """:return: task, agent, demonstrations, subsample, seed of every row, those that tell most first"""
    result: list[tuple[Task, str, int, int, int]] = []
    for seed in range(seeds):
        for task in TASKS:
            result += [(task, agent, 10, 1, seed) for agent in AGENTS]
        result.append((TASKS[0], "gail", 1, 20, seed))
        if seed < 3:
            result += [(task, "gail", n, 1, seed) for task in TASKS for n in N_DEMONSTRATIONS[:-1]]
    return result


def main() -> int:
    cache = pathlib.Path.home() / ".cache" / "sb3_ext" / "experts"
    arguments = parser(__doc__, seeds=5)
    arguments.add_argument("--experts", type=pathlib.Path, default=cache, help="folder of their episodes")
    arguments.add_argument("--peer-python", type=pathlib.Path, help="interpreter that has imitation's versions")
    arguments.add_argument("--agents", nargs="+", default=list(AGENTS), choices=list(AGENTS), help="only these")
    arguments.add_argument("--tasks", nargs="+", default=[task.env_id for task in TASKS], help="only these")
    args = parse(arguments)
    register()  # rl-zoo3's parts that read its yml
    saved, fresh = not args.quick, args.fresh
    table = Table("gail", COLUMNS, key=KEY, saved=saved, fresh=fresh)
    speed = Table("gail_speed", SPEED_COLUMNS, key=("task", "settings", "seed"), saved=saved, fresh=fresh)
    if args.quick and args.peer_python is None:
        args.peer_python = pathlib.Path(sys.executable)
    experts = {
        task.env_id: any_episodes(task) if args.quick else expert_episodes(task, args.experts)
        for task in TASKS
        if task.env_id in args.tasks
    }
    for seed in range(min(args.seeds, 3)):
        for env_id, demonstrations in experts.items():
            for name in SETTINGS:
                if not speed.has(task=env_id, settings=name, seed=seed):
                    speed.add(run_speed(demonstrations, name, seed, *((2, 1) if args.quick else (6, 2))))
    for task, agent, n, subsample, seed in runs(args.seeds):
        wanted = agent in args.agents and task.env_id in args.tasks
        key = {"task": task.env_id, "agent": agent, "seed": seed, "demonstrations": n, "subsample": subsample}
        if not wanted or table.has(**key):
            continue
        demonstrations = given(experts[task.env_id], n, subsample, seed)
        n_steps = 2048 if args.quick else task.n_steps
        if agent == "gail":
            result = run_ours(task, demonstrations, seed, n_steps)
        else:
            result = run_peer(task, demonstrations, seed, n_steps, peer_python(args.peer_python, args.experts))
        # The expert is what it did in all recorded episodes: one of them alone may be a bad day.
        expert = float(experts[task.env_id].returns.mean())
        table.add(row(result, task, agent, seed, n, subsample, n_steps, expert))
    print(hardware())
    report_peer(table)
    report_demonstrations(table)
    report_speed(speed)
    return verdict(bounds(table, speed))


if __name__ == "__main__":
    sys.exit(main())
