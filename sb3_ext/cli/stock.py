"""The commands that are rl-zoo3's scripts: its flags, a few of ours, and agents that are found where ours lie."""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.cli.flags import Command, StockNamespace, StockParser, import_packages, names_in
from sb3_ext.cli.seeds import check, seeds, train_seeds
from sb3_ext.cli.stock_help import ALL_PLOTS, ENJOY, PLOT_FROM_FILE, PLOT_TRAIN, RECORD_VIDEO, TRAIN
from sb3_ext.cli.values import MAX_SEED, device, real, whole
from sb3_ext.errors import UserError
from sb3_ext.zoo import scripts
from sb3_ext.zoo.actors import FLAGS
from sb3_ext.zoo.agent_folders import run_of
from sb3_ext.zoo.agent_ref import AgentRef, Which
from sb3_ext.zoo.display import draw_without_a_display, has_display
from sb3_ext.zoo.registry import check_algorithm, register
from sb3_ext.zoo.typed_ids import environment_id, know_env, module_of, name_in_folders

PLOTS = {"plot_train": PLOT_TRAIN, "all_plots": ALL_PLOTS, "plot_from_file": PLOT_FROM_FILE}

# Flags of the plots whose values are environments.
ENVIRONMENTS: dict[str, list[tuple[str, ...]]] = {
    "plot_train": [("-e", "--env")],
    "all_plots": [("-e", "--env")],
    "plot_from_file": [("-skip", "--skip-envs"), ("--keep-envs",)],
}

EVALUATED = ("results", "ep_lengths", "successes")  # what EvalCallback writes of each episode


def _train_parser() -> StockParser:
    parser = StockParser("sb3-ext train", TRAIN)
    _share_names(parser)
    parser.share("--gym-packages", nargs="+", default=[])
    parser.share("--log-folder", "-f", default="logs")
    parser.share("-optimize", "--optimize-hyperparameters", action="store_true")
    parser.share("--n-timesteps", "-n", type=whole(1))
    parser.share("--num-threads", type=whole(1, also={-1}))
    parser.share("--log-interval", type=whole(1, also={-1, -2}))
    for count in ("--eval-episodes", "--n-eval-envs", "--n-trials", "--max-total-trials", "--n-evaluations"):
        parser.share(count, type=whole(1))
    parser.share("--n-jobs", type=whole(1, also={-1}))
    parser.share("--seed", type=whole(0, MAX_SEED, also={-1}))
    for count in ("--n-startup-trials", "--trial-id"):
        parser.share(count, type=whole(0))
    parser.share("--verbose", "-v", type=whole(0), default=1)
    parser.share("--device", type=device)
    parser.add_argument("--final-eval-episodes", type=whole(0))
    parser.add_argument("--optimality-gap", type=int, nargs="?", const=1000)
    parser.add_argument("--preset")
    parser.add_argument("--demonstrations")
    parser.add_argument("--expert")
    parser.add_argument("--resume")
    parser.add_argument("--seeds", type=seeds)
    parser.add_argument("--jobs", type=whole(1))
    parser.add_argument("--save-every", type=whole(1))
    for name, flag in FLAGS.items():
        if name in ("lockstep", "keep_ratio"):
            parser.add_argument(flag, dest=name, action="store_true", default=None)
        else:
            parser.add_argument(flag, dest=name, type=str if name in ("backend", "ray_address") else int)
    return parser


def train(given: argparse.Namespace) -> int | None:
    """
    :param given: by the flags of `train`
    :return: exit code
    """
    assert isinstance(given, StockNamespace)
    check(given)
    if given.seeds is not None:
        _ask_for_names(given)
        return train_seeds(given)
    imports = (*given.gym_packages, *module_of(given.env))
    _know_names(given)
    _ask_for_names(given)
    settings = _given(given, ("final_eval_episodes", "optimality_gap", "preset", "demonstrations", "expert"))
    settings.update(_given(given, ("resume", "save_every")))
    if given.seed is not None and given.seed >= 0:
        settings["resume_seed"] = given.seed
    settings.update(actors=_given(given, FLAGS), imports=imports)
    scripts.train(given.argv(), given.typed, settings, given.verbose)
    return None


def _given(given: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:  # Any: values of flags
    """:return: those that were typed"""
    return {name: getattr(given, name) for name in names if getattr(given, name) is not None}


def _watch_parser(name: str) -> StockParser:
    parser = StockParser(f"sb3-ext {name}", ENJOY if name == "enjoy" else RECORD_VIDEO)
    _share_names(parser)
    flag = parser.add_argument if name == "record_video" else parser.share  # rl-zoo3's does not have it
    flag("--gym-packages", nargs="+", default=[])
    parser.share("--folder", "-f")
    parser.share("--exp-id", type=whole(0, also={-1}), default=0)
    parser.share("--load-best", action="store_true")
    parser.share("--load-checkpoint", type=whole(1))
    parser.share("--load-last-checkpoint", action="store_true")
    parser.share("--n-timesteps", "-n", "--max-steps", type=whole(1))
    parser.share("--no-render", action="store_true")
    parser.share("--n-envs", type=whole(1))
    parser.share("--seed", type=whole(0, MAX_SEED))
    if name == "enjoy":  # rl-zoo3's record_video has none of them
        parser.share("--num-threads", type=whole(1, also={-1}))
        parser.share("--verbose", "-v", type=whole(0))
        parser.share("--device", type=device)
        parser.add_argument("--agent", type=Path)
    return parser


def enjoy(given: argparse.Namespace) -> None:
    """:param given: by the flags of `enjoy`"""
    assert isinstance(given, StockNamespace)
    if given.agent is not None:
        _enjoy_folder(given)
        return
    _find_agent(given)
    _watch(given)


def _enjoy_folder(given: StockNamespace) -> None:
    """:raises UserError: for flags that name another agent"""
    register()
    for name in ("folder", "exp_id", "load_best", "load_checkpoint", "load_last_checkpoint"):
        if getattr(given, name):
            raise UserError(
                f"--{name.replace('_', '-')} is for runs of a log folder, and --agent {given.agent} is none"
            )
    import_packages(given)
    _, env_id = names_in(given.agent, given.algo, given.env)
    with run_of(given.agent, env_id) as run:
        given.algo, given.env, given.folder, given.exp_id = run.algo, run.env_id, run.folder.parents[1], 1
        _watch(given, is_ours=True)


def _watch(given: StockNamespace, is_ours: bool = False) -> None:
    """:param is_ours: its files were just made by us"""
    if not has_display() and not given.no_render:
        print("No display: running with --no-render")
        given.no_render = True
    scripts.enjoy(given.argv(), is_ours)


def record_video(given: argparse.Namespace) -> None:
    """:param given: by the flags of `record_video`"""
    assert isinstance(given, StockNamespace)
    draw_without_a_display()
    _find_agent(given)
    scripts.record_video(given.argv())


def _plot_parser(name: str) -> StockParser:
    parser = StockParser(f"sb3-ext {name}", PLOTS[name])
    if name != "all_plots":
        parser.share("--fontsize", type=whole(1))
        parser.share("--figsize", nargs=2, type=whole(1))
    if name == "plot_train":
        parser.share("--algo", "-a")
        parser.share("--exp-folder", "-f")
        parser.share("--episode-window", "-w", type=whole(1))
        parser.share("--max-timesteps", "-max", type=whole(1))
        parser.share("--x-axis", "-x", choices=("steps", "episodes", "time"))
        parser.share("--y-axis", "-y", choices=("success", "reward", "length"), default="reward")
    if name == "plot_from_file":
        parser.share("--input", "-i")
        parser.share("--output", "-o")
        parser.share("--format")
        parser.share("--ci-size", "-ci", type=real(0, 1))
    for names in ENVIRONMENTS[name]:
        parser.share(*names, nargs="+")
    if name == "all_plots":
        parser.share("-a", "--algos", "--algo", nargs="+")
        parser.share("-f", "--exp-folders", "--exp-folder", nargs="+")
        parser.share("-l", "--labels", nargs="+")
        parser.share("-k", "--key", choices=EVALUATED, default="results")
        parser.share("-max", "--max-timesteps", type=whole(1), default=2_000_000)  # as in rl-zoo3's script
        parser.share("-min", "--min-timesteps", type=whole(-1), default=-1)
    return parser


def plot(name: str, given: argparse.Namespace) -> None:
    """
    :param name: of the function in ``rl_zoo3.plots``
    :param given: by its flags
    """
    assert isinstance(given, StockNamespace)
    register()
    for names in ENVIRONMENTS[name]:
        flag = names[-1].removeprefix("--").replace("-", "_")
        typed = getattr(given, flag)
        if typed is not None:  # folders of runs have "-" for the "/" in an id, and no module before it
            setattr(given, flag, [name_in_folders(env) for env in typed])
    scripts.plot_function(name)  # a missing extra comes before names
    if name == "plot_train":
        _check_curves(given)
    elif name == "plot_from_file":
        _check_file(given)
    elif name == "all_plots":
        _check_table(given)
    with _joined(name, given):
        scripts.plot(name, given.argv())


@contextlib.contextmanager
def _joined(name: str, given: StockNamespace) -> Iterator[None]:
    """Within the block the log folders are others, in which a run that was interrupted is one."""
    from sb3_ext.zoo.drawn_runs import check_curves
    from sb3_ext.zoo.joined_logs import joined_episodes, joined_evaluations

    lines: list[str] = []
    with contextlib.ExitStack() as stack:
        if name == "plot_train" and given.algo and given.env and given.exp_folder:
            runs = Path(given.exp_folder) / given.algo
            given.exp_folder = stack.enter_context(joined_episodes(runs, given.env, lines))
            runs = Path(given.exp_folder) / given.algo
            check_curves(runs, given.env, given.y_axis, given.episode_window or 100, given.max_timesteps)
        elif name == "all_plots":
            cells = (given.algos, given.env, given.exp_folders)
            settings = {"key": given.key, "max_steps": given.max_timesteps, "is_cut": given.min_timesteps > 0}
            folders = stack.enter_context(joined_evaluations(*cells, lines, **settings))
            given.labels, given.exp_folders = given.labels or given.exp_folders, folders
        for line in lines:
            print(line, file=sys.stderr)
        yield


def _check_curves(given: StockNamespace) -> None:
    """:raises UserError: where there is nothing to draw; rl-zoo3 would draw empty axes"""
    if not (given.algo and given.env and given.exp_folder):
        return  # which the script says
    from sb3_ext.zoo.drawn_runs import check_runs

    check_runs(Path(given.exp_folder) / given.algo, given.env)


def _check_file(given: StockNamespace) -> None:
    """
    A picture has the format of its name, unless another is asked for.

    :raises UserError: where no file is named, or it is not there
    """
    if given.input is None:
        raise UserError("name the file that all_plots wrote with -o: -i FILE.pkl; see `sb3-ext plot_from_file --help`")
    path = Path(given.input if given.input.endswith(".pkl") else f"{given.input}.pkl")
    if not path.is_file():
        raise UserError(f"there is no {path}, which `sb3-ext all_plots -o {path.stem}` writes")
    if given.output is not None and given.format is None:
        given.format = Path(given.output).suffix.removeprefix(".") or None
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if given.format is not None and given.format not in known:
        raise UserError(f"no picture has the format {given.format!r}; use one of {', '.join(sorted(known))}")


def _check_table(given: StockNamespace) -> None:
    """:raises UserError: where `all_plots` would end in a traceback"""
    flags = {"-a": given.algos, "-e": given.env, "-f": given.exp_folders}
    missing = [flag for flag, typed in flags.items() if typed is None]
    if missing:
        raise UserError(f"the following arguments are required: {', '.join(missing)}; see `sb3-ext all_plots --help`")
    if given.labels is not None and len(given.labels) != len(given.exp_folders):
        n_folders = len(given.exp_folders)
        raise UserError(f"-l {' '.join(given.labels)}: each folder of -f needs one label, and there are {n_folders}")


def _share_names(parser: StockParser) -> None:
    parser.share("--algo")
    parser.share("--env")


def _know_names(given: StockNamespace) -> None:
    """
    Our algorithms are known from here on. ``env`` becomes a plain id.

    :raises UserError: for names of algorithms and environments that nobody knows
    """
    register()
    if given.algo is not None:
        check_algorithm(given.algo)
    import_packages(given)
    if given.env is not None:
        given.env = environment_id(given.env)
        if given.env.startswith("ALE/"):
            import ale_py  # noqa: F401 - a missing one is named by its extra


def _ask_for_names(given: StockNamespace) -> None:
    """:raises UserError: where one is not given; rl-zoo3 would take PPO, and CartPole-v1"""
    if given.algo and given.env:
        return
    missing = " and ".join(flag for flag, name in (("--algo", given.algo), ("--env", given.env)) if not name)
    command = " ".join(given.typed[:2])
    raise UserError(f"name {missing}, as in `{command} --algo ppo --env CartPole-v1`; see `{command} --help`")


def _find_agent(given: StockNamespace) -> None:
    """
    For our algorithms `train`'s log folder is the default, the latest run that has the model is taken, and a missing
    agent is named before rl-zoo3 looks elsewhere.
    """
    _know_names(given)
    if given.folder is None and given.algo in ALGORITHMS:
        given.folder = "logs"
    _ask_for_names(given)
    know_env(given.env, called="--env")
    if given.folder is None or given.exp_id != 0:
        return
    ref = AgentRef(given.algo, given.env, Path(given.folder), which=_which(given))
    given.exp_id = ref.latest()
    if given.exp_id == 0 and given.algo in ALGORITHMS:
        killed = AgentRef(given.algo, given.env, ref.folder, which="last checkpoint").latest()
        raise UserError(
            f"no {given.algo} agent for {given.env} in {ref.runs}: "
            + (f"{ref.name}_{killed} has checkpoints, which --load-last-checkpoint takes; or " if killed else "")
            + f"train one with `sb3-ext train --algo {given.algo} --env {given.env} -f {given.folder}`"
        )


def _which(given: StockNamespace) -> Which:
    """:return: the model that rl-zoo3 will load"""
    if given.load_best:
        return "best"
    if given.load_checkpoint is not None:
        return int(given.load_checkpoint)
    return "last checkpoint" if given.load_last_checkpoint else "last"


def _plot_command(name: str, help_: str) -> Command:
    return Command(name, help_, functools.partial(_plot_parser, name), functools.partial(plot, name))


COMMANDS = (
    Command("train", "train an agent, or search its hyperparameters with -optimize", _train_parser, train),
    Command("enjoy", "run a trained agent", functools.partial(_watch_parser, "enjoy"), enjoy),
    Command("record_video", "film a trained agent", functools.partial(_watch_parser, "record_video"), record_video),
    _plot_command("plot_train", "plot the training returns of one algorithm"),
    _plot_command("all_plots", "compare evaluations of several algorithms, write a table"),
    _plot_command("plot_from_file", "plot what all_plots wrote with -o"),
)
