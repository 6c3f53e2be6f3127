"""
What `--help` says of the commands that are rl-zoo3's scripts. Their parsers stand inside of functions of modules that
import torch, which takes longer than a reader waits: so all of their flags are written down here, beside ours.
tests/cli/test_help.py compares them with the parsers, flag by flag.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.zoo.configs import config_path

Rows = Sequence[tuple[str, str]]
"""flags with their values, as they are typed; what they do, with the default in brackets"""

INDENT = 24  # argparse's own, of what a flag does
NARROWEST = 50


@dataclass(frozen=True)
class StockHelp:
    """
    :param usage: after "usage: sb3-ext "
    :param about: the command
    :param groups: title -> flags
    """

    usage: str
    about: str
    groups: Mapping[str, Rows]

    def shown(self, width: int | None = None) -> str:
        """
        :param width: in characters; None = of the terminal
        :return: looks as the help of our other commands
        """
        columns = max(NARROWEST, (width or shutil.get_terminal_size().columns) - 2)
        parts = [f"usage: sb3-ext {self.usage}", _wrapped(self.about, columns, "")]
        for title, rows in self.groups.items():
            parts.append("\n".join([f"{title}:", *(_row(flags, does, columns) for flags, does in rows)]))
        return "\n\n".join(parts) + "\n"

    def flags(self) -> dict[tuple[str, ...], str]:
        """:return: names of each flag -> what it does"""
        rows = (row for group in self.groups.values() for row in group)
        return {tuple(word for word in flags.split() if word.startswith("-")): does for flags, does in rows}


def _row(flags: str, does: str, columns: int) -> str:
    words = flags.split()
    names = [word for word in words if word.startswith("-")]
    head = f"  {', '.join(names)} {' '.join(words[len(names) :])}".rstrip()
    margin = " " * INDENT
    if len(head) <= INDENT - 2:
        return _wrapped(does, columns, head.ljust(INDENT), margin)
    return head + "\n" + _wrapped(does, columns, margin, margin)


def _wrapped(text: str, columns: int, first: str, margin: str = "") -> str:
    """:return: lines that break between words, never inside of a flag's name"""
    return textwrap.fill(text, columns, initial_indent=first, subsequent_indent=margin, break_on_hyphens=False)


HELP = ("-h --help", "show this help message and exit")
TRACEBACK = ("--traceback", "all of an error, and not its one line")
ALGO = (
    "--algo ALGO",
    "one of ours, see `sb3-ext --help`, or of stable-baselines3 and sb3-contrib, as ppo, sac or tqc",
)
ENV = ("--env ENV", "environment id; MODULE:ID imports the module first")
ENV_KWARGS = ("--env-kwargs NAME:VALUE ...", "for the environment")
GYM_PACKAGES = ("--gym-packages MODULE ...", "to import, for the environments they register")
DEVICE = ("--device DEVICE", "of PyTorch: auto, cpu, cuda, cuda:1 or mps (auto)")

_IMITATORS = [algo for algo, row in ALGORITHMS.items() if row.imitates]
_CONFIGS = config_path(_IMITATORS[0]).parent

TRAIN = StockHelp(
    "train --algo ALGO --env ENV [flags]",
    "Train an agent, or search its hyperparameters with -optimize.",
    {
        "the run": [
            ALGO,
            ENV,
            ENV_KWARGS,
            GYM_PACKAGES,
            ("-n --n-timesteps N", "env steps to make, of all environments together (the yml's)"),
            ("--seed SEED", "of everything that is random (drawn, and printed)"),
            (
                "--seeds SEEDS",
                "one run after another with each of these seeds (0-4, or 0,3,7), each a process of its own; one that "
                "fails leaves the others alone",
            ),
            ("--jobs N", "as many of them at a time (1)"),
            DEVICE,
            (
                "--num-threads N",
                "of torch (1 unless observations are images, or OMP_NUM_THREADS says otherwise: small networks are "
                "slower with more)",
            ),
            ("--vec-env KIND", "dummy: environments in this process, or subproc: each in one of its own (dummy)"),
        ],
        "settings": [
            (
                "-conf --conf-file FILE",
                f"yml, or Python package, of settings (for our algorithms that in {_CONFIGS}; for "
                "stock ones rl-zoo3's, or that in its stock/ where rl-zoo3's has no block of the environment)",
            ),
            (
                "--preset NAME",
                "lay the settings of this name, under `presets` in the yml, over those of the environment",
            ),
            ("-params --hyperparams NAME:VALUE ...", "stronger than the yml, as learning_rate:0.01"),
            ("--eval-env-kwargs NAME:VALUE ...", "for the environment of evaluations (as --env-kwargs)"),
            (
                "--demonstrations FILE",
                f"what {', '.join(_IMITATORS[:-1])} and {_IMITATORS[-1]} learn from (demos/ENV.npz)",
            ),
            ("--expert WHO", "whom dagger asks: planner, keyboard, or the algorithm of a trained agent (the yml's)"),
        ],
        "what is shown": [
            (
                "-v --verbose N",
                "0: nothing but errors; 1: how far it is, a line for each tenth of the run, and what to do with the "
                "result; 2: all tables of SB3 and rl-zoo3 (1)",
            ),
            ("-P --progress", "the bar also where stderr is no terminal, and with -v 0; with -v 2, SB3's"),
            (
                "--log-interval N",
                "episodes, or rollouts, from one entry of SB3's log to the next; -2: none (-1: SB3's)",
            ),
            ("-tb --tensorboard-log FOLDER", "curves for TensorBoard (none)"),
            (
                "--optimality-gap [EVERY]",
                "every so many steps (1000), how far the policy is from the best one, exactly, for any algorithm "
                "where the environment publishes its table (FrozenLake-v1, Taxi-v4, ...); recurrent ones are "
                "estimated. Logged as lab/..., and kept in the run's optimality.csv",
            ),
            TRACEBACK,
            HELP,
        ],
        "evaluation": [
            ("--eval-freq N", "steps from one to the next, of all environments together; negative: none (25000)"),
            ("--eval-episodes N", "of each (5)"),
            ("--n-eval-envs N", "environments of them (1)"),
            ("--final-eval-episodes N", "of the evaluation at the end, for our algorithms (20; 0: none)"),
        ],
        "saving, and going on": [
            ("-f --log-folder FOLDER", "of runs; each has its own, FOLDER/ALGO/ENV_1, _2 and so on (logs)"),
            ("-uuid --uuid", "a unique id in the name of the run's folder"),
            (
                "--save-freq N",
                "a checkpoint every so many steps; negative: none (-1). With statistics of observations, and with "
                "--save-replay-buffer the replay, of which the newest is kept: --resume goes on from there if the run "
                "is killed",
            ),
            ("--save-replay-buffer", "at the end, and with checkpoints"),
            (
                "--save-every STEPS",
                "what --save-freq STEPS and --save-replay-buffer do together: model, replay and statistics, all that "
                "--resume needs if the run is killed",
            ),
            (
                "--resume FOLDER",
                "go on with a run that has not finished, to the steps that it was to make; `latest`: the newest of "
                "this algorithm and environment in the log folder, and of this --seed where one is typed. Ctrl-C and "
                "SIGTERM end training after the step under way: model, replay and statistics are saved, and the "
                "command that goes on is printed",
            ),
            (
                "-i --trained-agent FILE",
                "a zip to go on with: a checkpoint from its own step, and -n counts from there; another model from 0",
            ),
            ("--truncate-last-trajectory BOOL", "of a replay of HER that is gone on with (True)"),
        ],
        "other processes that collect (r2d2, rainbow and rainbowr)": [
            (
                "--actors N",
                "that many, each with its share of the environments, while this one learns. `actors:` in a yml takes "
                "N, or what the flags below say by name: {n_actors: 2, envs_per_actor: 8, backend: ray}",
            ),
            ("--envs-per-actor E", "N x E environments in place of as many as the yml says"),
            (
                "--keep-ratio",
                "with another number of environments: scale train_freq and gradient_steps, so that updates per env "
                "step stay those of the yml",
            ),
            (
                "--backend NAME",
                "process, ray: on a Ray cluster, or inline: all in this process, for a debugger (process)",
            ),
            (
                "--ray-address ADDRESS",
                "of the cluster, as `ray start` takes it (RAY_ADDRESS, or a Ray of this run alone)",
            ),
            ("--chunk K", "steps of each environment that an actor sends at once"),
            ("--orders N", "blocks that an actor may be ahead (2)"),
            ("--lockstep", "actors wait for the learner and for each other: the same run with every backend"),
        ],
        "search of hyperparameters": [
            ("-optimize --optimize-hyperparameters", "search, in place of training"),
            ("--n-trials N", "of this process (500)"),
            ("--max-total-trials N", "of all processes that share the storage; stronger than --n-trials"),
            ("--n-jobs N", "trials at once (1; -1: as many as there are CPUs)"),
            ("--sampler NAME", "random, tpe or auto (tpe)"),
            ("--pruner NAME", "halving, median or none (median)"),
            ("--n-startup-trials N", "random ones before the sampler begins (10)"),
            ("--n-evaluations N", "of a trial (one for each 100 000 steps)"),
            ("--storage URL", "database, or .log file, of the study (memory)"),
            ("--study-name NAME", "in the storage"),
            ("--trial-id N", "train with what this trial of the study had"),
            ("--optimization-log-path FOLDER", "the best model and the evaluations of each trial (none)"),
            ("--no-optim-plots", "no plots of the search"),
        ],
        "Weights & Biases": [
            ("--track", "the run is tracked there"),
            ("--wandb-project-name NAME", "(sb3)"),
            ("--wandb-entity NAME", "team of the project"),
            ("--wandb-group NAME", "of the run"),
            ("-tags --wandb-tags TAG ...", "of the run"),
        ],
    },
)

_AGENT: Rows = [
    ALGO,
    ENV,
    ENV_KWARGS,
    GYM_PACKAGES,
    (
        "-f --folder FOLDER",
        "log folder of the training (for our algorithms logs/, where `sb3-ext train` saves them; for stock ones "
        "rl-trained-agents: what is not there is downloaded from the Hub)",
    ),
    ("--exp-id N", "run in it (0: the latest that has the model, -1: no folder per run)"),
    ("--load-best", "the best model, not the last one"),
    ("--load-checkpoint STEPS", "that of so many steps"),
    ("--load-last-checkpoint", "the last one"),
    ("--custom-objects", "for files of old versions that cannot be loaded otherwise"),
]
_STEPS = ("-n --n-timesteps --max-steps N", "all steps, over the ends of episodes (1000)")
_WATCHED: Rows = [
    ("--n-envs N", "environments at once (1)"),
    ("--seed SEED", "of the environments (0)"),
    ("--deterministic", "the default, but for Atari and MiniGrid"),
    ("--stochastic", "sample actions"),
    ("--no-render", "no window; implied where there is no display"),
]

ENJOY = StockHelp(
    "enjoy --algo ALGO --env ENV [flags]",
    "Run a trained agent, in a window where there is a display.",
    {
        "the agent": [
            (
                "--agent FOLDER",
                "of safe files, in place of a run: it says its algorithm and environment, and none runs code",
            ),
            *_AGENT,
            DEVICE,
            ("--num-threads N", "of torch (-1: torch's own choice)"),
        ],
        "what it does": [
            _STEPS,
            *_WATCHED,
            ("--norm-reward", "rewards as VecNormalize made them in training"),
            ("--reward-log FOLDER", "monitor.csv of the episodes (none)"),
        ],
        "what is shown": [
            ("-v --verbose N", "0: nothing, 1: returns of episodes (1)"),
            ("-P --progress", "a bar"),
            TRACEBACK,
            HELP,
        ],
    },
)

RECORD_VIDEO = StockHelp(
    "record_video --algo ALGO --env ENV [flags]",
    "Film a trained agent, as rl-zoo3 does. `sb3-ext video` films whole episodes, with what its decisions hang on.",
    {
        "the agent": _AGENT,
        "the film": [_STEPS, *_WATCHED, ("-o --output-folder FOLDER", "of the film (videos, in the run's)")],
        "what is shown": [TRACEBACK, HELP],
    },
)

_FIGURE: Rows = [("--figsize WIDTH HEIGHT", "inches (6.4 4.8)"), ("--fontsize N", "(14)")]
_PLOT_ENDS: Rows = [TRACEBACK, HELP]

PLOT_TRAIN = StockHelp(
    "plot_train -a ALGO -e ENV ... -f FOLDER [flags]",
    "Plot what the training episodes of one algorithm returned.",
    {
        "runs": [
            ("-a --algo ALGO", "whose runs"),
            ("-e --env ENV ...", "on these environments"),
            ("-f --exp-folder FOLDER", "log folder"),
            ("-max --max-timesteps N", "of a curve (all)"),
        ],
        "the plot": [
            ("-x --x-axis AXIS", "steps, episodes or time (steps)"),
            ("-y --y-axis AXIS", "success, reward or length (reward)"),
            ("-w --episode-window N", "episodes that a point is the mean of (100)"),
            *_FIGURE,
            *_PLOT_ENDS,
        ],
    },
)

ALL_PLOTS = StockHelp(
    "all_plots -a ALGO ... -e ENV ... -f FOLDER ... [flags]",
    "Compare evaluations of several algorithms: a plot for each environment, and a table.",
    {
        "runs": [
            ("-a --algos --algo ALGO ...", "whose runs"),
            ("-e --env ENV ...", "on these environments"),
            ("-f --exp-folders --exp-folder FOLDER ...", "log folders"),
            ("-min --min-timesteps N", "leave runs with fewer steps out (-1: none)"),
            ("-max --max-timesteps N", "of a curve (2000000)"),
            ("-k --key KEY", "of evaluations.npz: results are returns (results)"),
        ],
        "what is made of them": [
            ("-l --labels TEXT ...", "one for each folder"),
            ("-median --median", "in the table, in place of the mean"),
            ("-print --print-n-trials", "number of runs of each cell"),
            ("-o --output FILE", "for `sb3-ext plot_from_file` (none)"),
            ("--no-million", "steps on the axis, not millions of them"),
            ("--no-display", "no plots"),
            *_PLOT_ENDS,
        ],
    },
)

PLOT_FROM_FILE = StockHelp(
    "plot_from_file -i FILE [flags]",
    "Plot what `sb3-ext all_plots -o FILE` wrote.",
    {
        "results": [
            ("-i --input FILE", "of all_plots"),
            ("--merge FILE ...", "more of them"),
            ("-skip --skip-envs ENV ...", "not these environments"),
            ("--keep-envs ENV ...", "only these environments"),
            ("--skip-keys KEY ...", "not these algorithms, as algorithm-folder"),
            ("--keep-keys KEY ...", "only these algorithms"),
        ],
        "plots": [
            ("--skip-timesteps", "no learning curves"),
            ("-r --rliable", "interquartile means and profiles, with intervals"),
            ("-ci --ci-size SHARE", "of an interval (0.95)"),
            ("-vs --versus", "probabilities of improvement"),
            ("-iqm --iqm", "interquartile mean over steps"),
            ("-b --boxplot", "a box for each algorithm"),
        ],
        "how they look": [
            ("-o --output FILE", "picture to write (a window)"),
            ("--format FORMAT", "of the picture (that of its name)"),
            ("-l --labels TEXT ...", "names of the algorithms"),
            ("-loc --legend-loc PLACE", "of the legend (best)"),
            ("--no-million", "steps on the axis, not millions of them"),
            ("-latex --latex", "texts by LaTeX"),
            *_FIGURE,
            *_PLOT_ENDS,
        ],
    },
)
