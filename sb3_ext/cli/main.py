"""
`sb3-ext COMMAND ...`: rl-zoo3's own scripts, with the user's own flags, in a process that knows our algorithms.

Wrong input ends in one line and exit code 2. Errors that nobody wrote for the user keep their traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import glob
import importlib
import os
import re
import runpy
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any
from unittest import mock

import gymnasium as gym

import sb3_ext
from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.errors import UserError, did_you_mean
from sb3_ext.zoo.configs import config_path
from sb3_ext.zoo.display import draw_without_a_display, has_display
from sb3_ext.zoo.registry import register
from sb3_ext.zoo.typed_ids import name_in_folders, with_plain_env

USAGE = """usage: sb3-ext [--version] [-h] COMMAND ...

rl-zoo3's scripts with the algorithms of sb3_ext (r2d2, rainbow, rainbowr, gail, dac, dacsac, td3, ddpg) beside the
stock ones:

  train           train an agent, or search its hyperparameters with -optimize
  enjoy           run a trained agent
  record_video    film a trained agent
  plot_train      plot the training returns of one algorithm
  all_plots       compare evaluations of several algorithms, write a table
  plot_from_file  plot what all_plots wrote with -o

and its own:

  demos           record, play, inspect, check and convert expert demonstrations
  video           film a trained agent: MP4 or GIF, with what its decisions hang on
  report          one HTML page about a trained agent: curves, an episode to step through, scores
  plot            learning curves of several runs, with intervals
  push_to_hub     evaluate a trained agent and put it on the Hugging Face Hub
  load_from_hub   download an agent, without running code of its author
  doctor          say what is installed and what is missing, and try everything

`sb3-ext COMMAND --help` lists the flags, which are rl-zoo3's for its scripts. Example:

  sb3-ext train --algo r2d2 --env CartPoleNoVel-v1 -P
"""

TRAIN_NOTES = """Beyond rl-zoo3's flags, listed below:
  --preset NAME            lay the settings of this name, under `presets` in the yml, over those of the environment
  --demonstrations FILE    what gail, dac and dacsac learn from (default: demos/ENV.npz)
  --resume FOLDER          go on with an interrupted run, to the steps that it was to make
  --final-eval-episodes N  episodes of the evaluation printed at the end for our algorithms (default: 20, 0: none)
Differences from rl-zoo3:
  --env                    MODULE:ID imports the module first
  Ctrl-C, SIGTERM          end training after the step under way; model, replay and statistics are saved, and the
                           command that goes on is printed
  --save-freq              checkpoints hold statistics too, and with --save-replay-buffer the replay, of which the
                           newest is kept: --resume goes on from there if the run is killed
  -i                       a checkpoint is gone on with from its own step, and -n counts from there
  -conf                    without it, our algorithms read their yml in {configs}
  --num-threads            without it and without OMP_NUM_THREADS, torch uses 1 thread unless observations are images:
                           small networks are slower with more
"""

WATCH_NOTES = """Differences from rl-zoo3:
  --env                    MODULE:ID imports the module first
  -f                       without it, our algorithms are looked for in logs/, where `sb3-ext train` saves them
  --exp-id                 without it, the latest run that has the model; one that was killed early has none
  --max-steps              is -n, as in `sb3-ext video`: all steps, over the ends of episodes
  --no-render              is implied for `enjoy` where there is no display
"""

# Top-level module -> the extra that brings it.
EXTRAS = {
    "huggingface_hub": "zoo",
    "huggingface_sb3": "zoo",
    "captum": "viz",
    "imageio_ffmpeg": "viz",
    "matplotlib": "zoo",
    "moviepy": "zoo",
    "optuna": "zoo",
    "pandas": "zoo",
    "PIL": "viz",
    "pygame": "zoo",
    "pytablewriter": "zoo",
    "requests": "zoo",
    "rliable": "viz",
    "rich": "zoo",
    "rl_zoo3": "zoo",
    "safetensors": "hub",
    "scipy": "zoo",
    "seaborn": "zoo",
    "tensorboard": "zoo",
    "tqdm": "zoo",
    "yaml": "zoo",
    "ale_py": "atari",
    "cv2": "atari",
    "Box2D": "box2d",
    "mujoco": "mujoco",
    "minari": "demos",
    "ray": "ray",
}

# Packages whose `raise` and `assert` messages address the user.
SPEAKING_PACKAGES = {"sb3_ext", "rl_zoo3", "stable_baselines3", "sb3_contrib", "gymnasium", "yaml"}


def main(argv: Sequence[str] | None = None) -> int:
    """
    :param argv: arguments without the program's name; None = those of the process
    :return: exit code
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"sb3-ext {sb3_ext.__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    try:
        if command not in COMMANDS:
            raise UserError(f"unknown command {command!r}{did_you_mean(command, COMMANDS)}")
        with _process_arguments([f"sb3-ext {command}", *rest]):
            return COMMANDS[command](rest) or 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        message = _one_line(command, error)
        if message is None:
            raise
        print(message, file=sys.stderr)
        return 2


def train(rest: list[str]) -> None:
    """:param rest: arguments after ``train``"""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--final-eval-episodes", type=int, default=argparse.SUPPRESS)
    parser.add_argument("--preset", default=argparse.SUPPRESS)
    parser.add_argument("--demonstrations", default=argparse.SUPPRESS)
    parser.add_argument("--resume", default=argparse.SUPPRESS)
    ours, rl_zoo3_arguments = parser.parse_known_args(rest)
    if "-h" in rest or "--help" in rest:
        print(TRAIN_NOTES.format(configs=config_path("r2d2").parent))
    _prepare(with_plain_env(rest))
    stock = importlib.import_module("rl_zoo3.train")
    experiment = importlib.import_module("sb3_ext.zoo.experiment")
    made = functools.partial(experiment.Experiment, **vars(ours), command=["sb3-ext", "train", *rest])
    sys.argv[1:] = with_plain_env(rl_zoo3_arguments)
    shown = importlib.import_module("sb3_ext.exchange.redaction").redacted_arguments(["sb3-ext", "train", *rest])
    interrupts = importlib.import_module("sb3_ext.zoo.interrupts")
    with (
        mock.patch.object(stock, "ExperimentManager", made),
        mock.patch.object(sys, "orig_argv", shown),  # which rl-zoo3 writes into the study of a search
        interrupts.sigterm_as_ctrl_c(),
    ):
        stock.train()


def enjoy(rest: list[str]) -> None:
    """:param rest: arguments after ``enjoy``"""
    _find_agent("enjoy", rest)
    if not has_display() and "--no-render" not in rest:
        print("No display: running with --no-render")
        sys.argv.append("--no-render")
    script = importlib.import_module("rl_zoo3.enjoy")
    with _loading_as_we_do(script):
        script.enjoy()


def record_video(rest: list[str]) -> None:
    """:param rest: arguments after ``record_video``"""
    draw_without_a_display()
    _find_agent("record_video", rest)
    utils = importlib.import_module("rl_zoo3.utils")
    create = utils.create_test_env

    def create_as_trained(*args: Any, hyperparams: dict[str, Any], env_kwargs: dict[str, Any], **kwargs: Any) -> Any:
        of_yml = hyperparams.get("env_kwargs") or {}  # which rl-zoo3's script forgets, and not its enjoy
        return create(*args, hyperparams=hyperparams, env_kwargs={**of_yml, **env_kwargs}, **kwargs)

    with mock.patch.object(utils, "create_test_env", create_as_trained), _loading_as_we_do(utils):
        runpy.run_module("rl_zoo3.record_video", run_name="__main__")  # a script without a function to call


@contextlib.contextmanager
def _loading_as_we_do(script: ModuleType) -> Iterator[None]:
    """
    Within the block it says whose files are trusted, takes safe statistics where they are, and closes its workers.

    :param script: in whose name space `get_model_path` is looked up
    """
    utils = importlib.import_module("rl_zoo3.utils")
    trust = importlib.import_module("sb3_ext.exchange.trust")
    workers = importlib.import_module("sb3_ext.zoo.workers")

    def get_model_path(exp_id: int, folder: str, algo: str, env_name: str, *args: Any) -> tuple[str, str, str]:
        prefix, path, run = utils_get_model_path(exp_id, folder, algo, env_name, *args)
        trust.say_trusted([path, *trust.beside(Path(run) / env_name)])
        return prefix, path, run

    utils_get_model_path = utils.get_model_path
    with (
        mock.patch.object(script, "get_model_path", get_model_path),
        mock.patch.object(utils.VecNormalize, "load", staticmethod(trust.load_statistics)),
        mock.patch.object(utils, "SubprocVecEnv", workers.UninterruptedSubprocVecEnv),
    ):
        yield


def plot(name: str, rest: list[str]) -> None:
    """
    :param name: of the function in ``rl_zoo3.plots``
    :param rest: arguments after the command
    """
    register()
    from matplotlib import pyplot as plt

    # The folders of runs have "-" for the "/" in an environment's id, and no module before it.
    typed = re.compile(r"[\w.]+:[\w./-]+-v\d+")
    sys.argv[1:] = [name_in_folders(a) if a in gym.registry or typed.fullmatch(a) is not None else a for a in rest]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*non-interactive.*")  # said better below
        try:
            getattr(importlib.import_module("rl_zoo3.plots"), name)()
        except ValueError as error:
            if "empty sequence" not in str(error):
                raise
            raise UserError("the file needs two runs or more of each algorithm and environment") from error
    if plt.get_backend().lower() == "agg":
        for number in plt.get_fignums():
            path = f"{name}_{number}.png"
            plt.figure(number).savefig(path)
            print(f"No display: saved {path}")
    plt.close("all")


def demos(rest: list[str]) -> int:
    """
    :param rest: arguments after ``demos``
    :return: exit code
    """
    return importlib.import_module("sb3_ext.cli.demos").main(rest)


def picture(command: str, rest: list[str]) -> None:
    """
    :param command: ``video``, ``report`` or ``plot``
    :param rest: arguments after it
    """
    getattr(importlib.import_module("sb3_ext.cli.viz"), command)(rest)


def push_to_hub(rest: list[str]) -> None:
    """:param rest: arguments after ``push_to_hub``"""
    importlib.import_module("sb3_ext.cli.hub").push(rest)


def load_from_hub(rest: list[str]) -> None:
    """:param rest: arguments after ``load_from_hub``"""
    importlib.import_module("sb3_ext.cli.hub").load(rest)


def doctor(rest: list[str]) -> int:
    """
    :param rest: arguments after ``doctor``
    :return: exit code
    """
    return importlib.import_module("sb3_ext.cli.doctor").main(rest)


# They return their exit code, None = 0.
COMMANDS: dict[str, Callable[[list[str]], int | None]] = {
    "train": train,
    "enjoy": enjoy,
    "record_video": record_video,
    "plot_train": functools.partial(plot, "plot_train"),
    "plot_from_file": functools.partial(plot, "plot_from_file"),
    "all_plots": functools.partial(plot, "all_plots"),
    "demos": demos,
    "video": functools.partial(picture, "video"),
    "report": functools.partial(picture, "report"),
    "plot": functools.partial(picture, "plot"),
    "push_to_hub": push_to_hub,
    "load_from_hub": load_from_hub,
    "doctor": doctor,
}


def _prepare(rest: list[str]) -> argparse.Namespace:
    """
    Make our algorithms known, and name an unknown algorithm or a missing Atari.

    :param rest: arguments after the command
    :return: those that all three scripts share; None where not given
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--algo")
    parser.add_argument("--env")
    parser.add_argument("-f", "--folder")
    parser.add_argument("--exp-id", type=int, default=0)
    parser.add_argument("--gym-packages", nargs="+", default=[])
    parser.add_argument("--load-best", action="store_true")
    parser.add_argument("--load-checkpoint", type=int)
    parser.add_argument("--load-last-checkpoint", action="store_true")
    given, _ = parser.parse_known_args(rest)
    register()
    from rl_zoo3.utils import ALGOS

    if given.algo is not None and given.algo not in ALGOS:
        raise UserError(f"unknown --algo {given.algo!r}{did_you_mean(given.algo, ALGOS)}")
    if given.env is not None and given.env.startswith("ALE/") and find_spec("ale_py") is None:
        raise ModuleNotFoundError("No module named 'ale_py'", name="ale_py")
    return given


def _find_agent(command: str, rest: list[str]) -> None:
    """
    Rewrites `sys.argv`: for our algorithms `train`'s log folder is the default, the latest run that has the model is
    taken, and a missing agent is named before rl-zoo3 looks elsewhere.

    :param command: whose arguments they are
    :param rest: arguments after it
    """
    if "-h" in rest or "--help" in rest:
        print(WATCH_NOTES)
    sys.argv[1:] = ["-n" if a == "--max-steps" else a.replace("--max-steps=", "-n=") for a in with_plain_env(rest)]
    given = _prepare(sys.argv[1:])
    import rl_zoo3.import_envs  # noqa: F401 - registers
    from huggingface_sb3 import EnvironmentName

    from sb3_ext.zoo.run_folders import latest_run

    if given.folder is None and given.algo in ALGORITHMS:
        given.folder = "logs"
        sys.argv.extend(["-f", given.folder])
    if given.env is None:
        return
    for package in given.gym_packages:
        importlib.import_module(package)
    if given.env not in gym.registry:
        raise UserError(f"unknown --env {given.env!r}{did_you_mean(given.env, gym.registry)}")
    if given.algo is None or given.folder is None or given.exp_id != 0:
        return
    runs, name = Path(given.folder) / given.algo, EnvironmentName(given.env)
    number = latest_run(runs, name, _wanted_models(given, name))
    if number > 0:
        sys.argv.extend(["--exp-id", str(number)])
    elif given.algo in ALGORITHMS:
        killed = latest_run(runs, name, ["rl_model_*_steps.zip"])
        raise UserError(
            f"no {given.algo} agent for {given.env} in {runs}: "
            + (f"{name}_{killed} has checkpoints, which --load-last-checkpoint takes; or " if killed else "")
            + f"train one with `sb3-ext train --algo {given.algo} --env {given.env} -f {given.folder}`"
        )


def _wanted_models(given: argparse.Namespace, name: str) -> list[str]:
    """:return: pattern of the file that rl-zoo3 will load"""
    if given.load_best:
        return ["best_model.zip"]
    if given.load_checkpoint is not None:
        return [f"rl_model_{given.load_checkpoint}_steps.zip"]
    return ["rl_model_*_steps.zip" if given.load_last_checkpoint else f"{glob.escape(name)}.zip"]


def _one_line(command: str, error: Exception) -> str | None:
    """:return: the line to print for an error that the user can mend, None for any other"""
    text = " ".join(str(error).split())
    module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if module in EXTRAS:
        extra = EXTRAS[module]
        return f'sb3-ext {command} needs the {extra} extra: pip install "sb3-ext[{extra}]"'
    if "DependencyNotInstalled" in type(error).__name__ and "mujoco" in text.lower():
        return f'sb3-ext {command} needs the mujoco extra: pip install "sb3-ext[mujoco]"'
    if "DependencyNotInstalled" in type(error).__name__ and "box2d" in text.lower():
        return f'sb3-ext {command} needs the box2d extra: pip install "sb3-ext[box2d]"'
    if "OpenGL" in _packages_of(error):
        chosen = os.environ.get("MUJOCO_GL", "not set")
        return (
            f"sb3-ext {command}: MuJoCo finds no OpenGL library, MUJOCO_GL is {chosen} ({text}). Without a display set "
            "MUJOCO_GL=egl"
        )
    if isinstance(error, UserError):
        return f"sb3-ext {command}: {text}"
    if _in_expression(error):
        hint = """Values of -params and --env-kwargs are Python: -params "state_init:'zero'\""""
        return f"sb3-ext {command}: {text}. {hint}"
    addressed = isinstance(error, OSError) and error.filename is not None
    if text and (addressed or _is_message(error.__traceback__)):
        return f"sb3-ext {command}: {text}"
    return None


def _packages_of(error: Exception) -> set[str]:
    """:return: of the code that it passed through"""
    frames = traceback.walk_tb(error.__traceback__)
    return {frame.f_globals.get("__name__", "").partition(".")[0] for frame, _line in frames}


def _is_message(trace: TracebackType | None) -> bool:
    """Whether the error comes from a written `raise` or `assert` in a package that speaks to its users."""
    *_, (frame, _line) = traceback.walk_tb(trace)
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    statement = traceback.extract_tb(trace)[-1].line or ""
    return package in SPEAKING_PACKAGES and statement.startswith(("raise ", "assert "))


def _in_expression(error: Exception) -> bool:
    """Whether it is about a value of the command line, which rl-zoo3 evaluates."""
    if isinstance(error, SyntaxError):
        return error.filename == "<string>"
    return traceback.extract_tb(error.__traceback__)[-1].filename == "<string>"


@contextlib.contextmanager
def _process_arguments(arguments: list[str]) -> Iterator[None]:
    """rl-zoo3's scripts read `sys.argv`."""
    before = sys.argv
    sys.argv = arguments
    try:
        yield
    finally:
        sys.argv = before
