"""
Agents to try: six algorithms on six tasks, trained by `sb3-ext train` and kept with demonstrations as files that cannot
run code, a folder each.

    python benchmarks/train_agents.py

makes those of agents/ that are missing: whoever wants one anew removes its folder. A run that was cut short is gone on
with, and a training that has ended is not made again; runs lie in runs/agents. README.md and SHA256SUMS are made of the
folders.

No settings were tuned on the seed of the trainings. The score is that of the best model that was evaluated on the way,
over episodes of a seed of their own, which had no part in choosing it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch as th
from common import ROOT, hardware, print_rows, whole
from stable_baselines3.common.vec_env import unwrap_vec_normalize

from sb3_ext import demonstrations
from sb3_ext.cli.main import main as sb3_ext_command
from sb3_ext.exchange.agent_files import RESULTS, Score, agent_files
from sb3_ext.exchange.environments import environment_of
from sb3_ext.exchange.hub_data import DATA
from sb3_ext.exchange.safe_files import write_files
from sb3_ext.exchange.strict_json import json_bytes
from sb3_ext.saving import write_folder_whole
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.agents import evaluate, load_agent
from sb3_ext.zoo.runs.manifests import NAME as RUN
from sb3_ext.zoo.runs.manifests import Manifest
from sb3_ext.zoo.typed_ids import name_in_folders

AGENTS = ROOT / "benchmarks" / "agents"
CURVE = "evaluations.npz"
SUMS = "SHA256SUMS"  # as `sha256sum -c` reads it
TRAINING_SEED = 10  # of 0 to 4, and 0 to 9 for CartPoleNoVel-v1, settings were tuned or chosen on some
SCORE_SEED = 10_000
N_EPISODES = 100


@dataclass(frozen=True)
class Recipe:
    """How an agent is made."""

    algo: str
    env_id: str
    flags: tuple[str, ...]
    """of `train`, beside names and seed"""
    n_demonstrations: int = 10
    """episodes of its own; of the expert, for one that imitates"""
    expert: Recipe | None = None
    min_return: float | None = None
    """of the expert's episodes"""

    @property
    def name(self) -> str:
        """of the folder"""
        return f"{self.algo}-{name_in_folders(self.env_id)}"


def evaluated(every: int, n_episodes: int = 20) -> tuple[str, ...]:
    """
    :param every: so many env steps
    :param n_episodes: of an evaluation
    :return: flags of `train`
    """
    often = ("--eval-freq", str(every), "--eval-episodes", str(n_episodes), "--n-eval-envs", "5")
    return *often, "--final-eval-episodes", "0"


SMALL = ("-params", "policy_kwargs:dict(net_arch=[64,64])")
"""layers of Rainbow's networks: those of the yml take a megabyte"""
EXPERT = Recipe("ppo", "CartPole-v1", evaluated(10_000))
RECIPES = (
    Recipe("r2d2", "CartPoleNoVel-v1", ("-n", "40000", *evaluated(4_000))),
    Recipe("rainbow", "Acrobot-v1", ("-n", "30000", *evaluated(3_000), *SMALL)),
    Recipe("rainbowr", "sb3_ext/MemoryChain-v0", evaluated(3_000)),
    Recipe("gail", "CartPole-v1", evaluated(3_000), expert=EXPERT, min_return=475.0),
    Recipe("td3", "Pendulum-v1", evaluated(1_000)),
    Recipe("qlearning", "FrozenLake-v1", evaluated(10_000, 100), n_demonstrations=100),
)
QUICK = Recipe("qlearning", "FrozenLake-v1", ("-n", "600", *evaluated(300, 2)), n_demonstrations=2)


# ---------------------------------------------------------------------- making them


def trained(recipe: Recipe, work: Path) -> Path:
    """
    :param recipe: of an agent
    :param work: where its runs are, in ``logs``
    :return: folder of its run, which has finished
    """
    if recipe.expert is not None and not expert_file(recipe.expert, work).is_file():
        trained(recipe.expert, work)
        names = ("--algo", recipe.expert.algo, "--env", recipe.env_id)
        episodes = ("-n", str(recipe.n_demonstrations), "--min-return", str(recipe.min_return))
        command(work, "demos", "record", *names, *episodes)
    names = ("--algo", recipe.algo, "--env", recipe.env_id)
    ref = AgentRef(recipe.algo, recipe.env_id, work / "logs")
    runs = sorted(ref.runs.glob(f"{ref.name}_*/{RUN}"), key=lambda path: path.stat().st_mtime)
    made = [run.parent for run in runs if ended(run.parent) == "finished"]
    if made:
        return made[-1]
    if runs and ended(runs[-1].parent) in ("interrupted", "running"):
        command(work, "train", *names, "--resume", str(runs[-1].parent.relative_to(work)))
    else:
        command(work, "train", *names, "--seed", str(TRAINING_SEED), *recipe.flags)
    return trained(recipe, work)


def ended(run: Path) -> str:
    """:return: how it did"""
    manifest = Manifest.read(run)
    assert manifest is not None, run
    return manifest.ended


def expert_file(expert: Recipe, work: Path) -> Path:
    """:return: demonstrations, where `train` looks for them"""
    return work / "demos" / f"{name_in_folders(expert.env_id)}.npz"


def command(work: Path, *words: str) -> None:
    """
    :param work: folder to be in
    :param words: of `sb3-ext`
    :raises CalledProcessError: where it fails
    """
    print(f"sb3-ext {shlex.join(words)}", flush=True)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    program = [sys.executable, "-m", "sb3_ext", *words]
    subprocess.run(program, cwd=work, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, check=True)


def publish(recipe: Recipe, run: Path, work: Path, target: Path, n_episodes: int) -> None:
    """
    :param recipe: of the agent
    :param run: in which it was trained
    :param work: where its runs are
    :param target: folder that does not exist yet
    :param n_episodes: of its score
    """
    number = int(run.name.rpartition("_")[2])
    ref = AgentRef(recipe.algo, recipe.env_id, work / "logs", number, seed=SCORE_SEED, device="cpu")
    agent = load_agent(ref, keep_settings=True)
    try:
        returns = evaluate(agent, n_episodes)
    finally:
        agent.env.close()
    score = Score(float(returns.mean()), float(returns.std()), len(returns))
    statistics = unwrap_vec_normalize(agent.env)
    files = agent_files(agent.model, recipe.env_id, environment_of(agent.hyperparams), score, statistics)
    files[RESULTS] = json_bytes({**json.loads(files[RESULTS]), "hardware": hardware()}, RESULTS)
    files |= {name: (run / name).read_bytes() for name in (RUN, CURVE)}

    def write(folder: Path) -> None:
        write_files(files, folder)
        if recipe.expert is not None:
            (folder / DATA).write_bytes(expert_file(recipe.expert, work).read_bytes())
            return
        episodes = ("-n", str(recipe.n_demonstrations), "-o", str(folder / DATA))
        if sb3_ext_command(["demos", "record", "--agent", str(folder), *episodes]) != 0:
            raise RuntimeError(f"{recipe.name}: its demonstrations could not be recorded")

    write_folder_whole(target, write)


# ---------------------------------------------------------------------- what is said of them

COLUMNS = ("agent", "task", "return", "env steps", "CPU-s", "demonstrations", "kB", "trained by")
README = """# Agents to try

{table}

- **return**: mean +- standard deviation over {n_episodes} episodes of seed {score_seed}, acting greedily.
- **CPU-s**: of the training with its evaluations, on one thread. **kB**: all files of the folder.
- **demonstrations**: episodes and their mean return; the agent's own, but for GAIL's, which are those of a PPO that it
  learned from.
- No settings were tuned on the seed of the trainings, {seed}. A folder holds the best model that was evaluated on the
  way, and the score has episodes of its own.
- `config.json` (algorithm, networks, environment), `policy.safetensors` (weights), `vec_normalize.*` (statistics),
  `results.json` (score), `run.json` (the run: steps, versions, commit, seed), `evaluations.npz` (its curve),
  `demonstrations.npz`. None can run code when it is read, see
  [what a repository holds](../../docs/hub.md#what-a-repository-holds).
- `sha256sum -c {sums}` says whether they are as they were made.

```bash
sb3-ext enjoy --agent benchmarks/agents/{first}
sb3-ext report --agent benchmarks/agents/{first}
sb3-ext demos check benchmarks/agents/{first}/{data}
```

Made by `python benchmarks/train_agents.py` ({hardware}).
"""


def row(folder: Path) -> tuple[str, ...]:
    """:return: what the README's table says of an agent, all of it out of its files"""
    manifest = Manifest.read(folder)
    assert manifest is not None, folder
    score = json.loads((folder / RESULTS).read_text())
    demos = demonstrations.load(folder / DATA)
    n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    return (
        f"[{folder.name}]({folder.name})",
        score["env_id"],
        f"{score['mean']:.2f} +- {score['std']:.2f}",
        f"{manifest.num_timesteps}",
        f"{manifest.cpu_seconds or 0:.0f}",
        f"{len(demos)}, {demos.returns.mean():.2f}",
        f"{n_bytes / 1e3:.0f}",
        f"`{manifest.command}`",
    )


def readme(agents: Path) -> str:
    """
    :param agents: folder of folders
    :return: Markdown
    """
    made = folders(agents)
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(row, made)]
    return README.format(
        table="\n".join(f"| {' | '.join(cells)} |" for cells in rows),
        n_episodes=N_EPISODES,
        score_seed=SCORE_SEED,
        seed=TRAINING_SEED,
        sums=SUMS,
        data=DATA,
        first=made[0].name,
        hardware=" / ".join(sorted({json.loads((x / RESULTS).read_text())["hardware"] for x in made})),
    )


def folders(agents: Path) -> list[Path]:
    """:return: of the agents, in the order of the recipes"""
    return [agents / recipe.name for recipe in RECIPES if (agents / recipe.name).is_dir()]


def sums(agents: Path) -> str:
    """:return: a line for each file of the agents: its SHA-256, and its path"""
    files = sorted(path for folder in folders(agents) for path in folder.iterdir())
    return "".join(f"{hashlib.sha256(x.read_bytes()).hexdigest()}  {x.relative_to(agents).as_posix()}\n" for x in files)


def make(recipes: tuple[Recipe, ...], agents: Path, work: Path, n_episodes: int) -> None:
    """
    :param recipes: of the agents
    :param agents: folder of their folders; those that are there stay as they are
    :param work: where runs are kept
    :param n_episodes: of a score
    """
    work.mkdir(parents=True, exist_ok=True)
    for recipe in recipes:
        target = agents / recipe.name
        if not target.is_dir():
            publish(recipe, trained(recipe, work), work, target, n_episodes)
        for name, text in (("README.md", readme(agents)), (SUMS, sums(agents))):
            with whole(agents / name) as temporary:
                temporary.write_text(text)
    print_rows(COLUMNS[1:-1], [row(folder)[1:-1] for folder in folders(agents)])


def main() -> int:
    """:return: exit status"""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="one short training, nothing is kept: does it run?")
    arguments.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "agents", help="where runs are kept (runs/agents)"
    )
    arguments.add_argument("--only", nargs="+", choices=[recipe.name for recipe in RECIPES], help="of the agents (all)")
    args = arguments.parse_args()
    th.set_num_threads(1)
    if not args.quick:
        chosen = tuple(recipe for recipe in RECIPES if args.only is None or recipe.name in args.only)
        make(chosen, AGENTS, args.work, N_EPISODES)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        make((QUICK,), Path(folder) / "agents", Path(folder) / "work", 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
