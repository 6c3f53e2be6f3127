"""rl-zoo3's plots: what they would draw or write is looked for first, and a run of several folders is one to them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sb3_ext.cli.flags import Command, StockNamespace, StockParser
from sb3_ext.cli.stock_help import ALL_PLOTS, PLOT_FROM_FILE, PLOT_TRAIN
from sb3_ext.cli.values import real, whole
from sb3_ext.errors import UserError
from sb3_ext.zoo import scripts
from sb3_ext.zoo.registry import register
from sb3_ext.zoo.typed_ids import name_in_folders

EVALUATED = ("results", "ep_lengths", "successes")  # what EvalCallback writes of each episode


def _plot_train_parser() -> StockParser:
    parser = StockParser("sb3-ext plot_train", PLOT_TRAIN)
    _share_sizes(parser)
    parser.share("--algo", "-a")
    parser.share("--exp-folder", "-f")
    parser.share("--episode-window", "-w", type=whole(1))
    parser.share("--max-timesteps", "-max", type=whole(1))
    parser.share("--x-axis", "-x", choices=("steps", "episodes", "time"))
    parser.share("--y-axis", "-y", choices=("success", "reward", "length"), default="reward")
    parser.share("-e", "--env", nargs="+")
    return parser


def plot_train(given: argparse.Namespace) -> None:
    """:param given: by the flags of `plot_train`"""
    assert isinstance(given, StockNamespace)
    _begin("plot_train", given, "env")
    if not (given.algo and given.env and given.exp_folder):
        scripts.plot("plot_train", given.argv())  # which says what is missing
        return
    from sb3_ext.zoo.runs.drawn import check_curves, check_runs
    from sb3_ext.zoo.runs.joined_logs import joined_episodes

    runs = Path(given.exp_folder) / given.algo
    check_runs(runs, given.env)
    lines: list[str] = []
    with joined_episodes(runs, given.env, lines) as joined:
        _say(lines)
        given.exp_folder = joined
        window = given.episode_window or 100  # as in rl-zoo3's script
        check_curves(Path(joined) / given.algo, given.env, given.y_axis, window, given.max_timesteps)
        scripts.plot("plot_train", given.argv())


def _all_plots_parser() -> StockParser:
    parser = StockParser("sb3-ext all_plots", ALL_PLOTS)
    parser.share("-a", "--algos", "--algo", nargs="+")
    parser.share("-e", "--env", nargs="+")
    parser.share("-f", "--exp-folders", "--exp-folder", nargs="+")
    parser.share("-l", "--labels", nargs="+")
    parser.share("-k", "--key", choices=EVALUATED, default="results")
    parser.share("-max", "--max-timesteps", type=whole(1), default=2_000_000)  # as in rl-zoo3's script
    parser.share("-min", "--min-timesteps", type=whole(-1), default=-1)
    return parser


def all_plots(given: argparse.Namespace) -> None:
    """
    :param given: by the flags of `all_plots`
    :raises UserError: where it would write numbers that no run has, or end in a traceback
    """
    assert isinstance(given, StockNamespace)
    _begin("all_plots", given, "env")
    flags = {"-a": given.algos, "-e": given.env, "-f": given.exp_folders}
    missing = [flag for flag, typed in flags.items() if typed is None]
    if missing:
        raise UserError(f"the following arguments are required: {', '.join(missing)}; see `sb3-ext all_plots --help`")
    n_folders = len(given.exp_folders)
    if given.labels is not None and len(given.labels) != n_folders:
        raise UserError(f"-l {' '.join(given.labels)}: each folder of -f needs one label, and there are {n_folders}")
    from sb3_ext.zoo.runs.joined_logs import joined_evaluations

    lines: list[str] = []
    with joined_evaluations(
        given.algos,
        given.env,
        given.exp_folders,
        lines,
        key=given.key,
        max_steps=given.max_timesteps,
        is_cut=given.min_timesteps > 0,
    ) as joined:
        _say(lines)
        given.labels, given.exp_folders = given.labels or given.exp_folders, joined
        scripts.plot("all_plots", given.argv())


def _plot_from_file_parser() -> StockParser:
    parser = StockParser("sb3-ext plot_from_file", PLOT_FROM_FILE)
    _share_sizes(parser)
    parser.share("--input", "-i")
    parser.share("--output", "-o")
    parser.share("--format")
    parser.share("--ci-size", "-ci", type=real(0, 1))
    parser.share("-skip", "--skip-envs", nargs="+")
    parser.share("--keep-envs", nargs="+")
    return parser


def plot_from_file(given: argparse.Namespace) -> None:
    """
    A picture has the format of its name, unless another is asked for.

    :param given: by the flags of `plot_from_file`
    :raises UserError: where no file is named, it is not there, or no picture has the format
    """
    assert isinstance(given, StockNamespace)
    _begin("plot_from_file", given, "skip_envs", "keep_envs")
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
    scripts.plot("plot_from_file", given.argv())


def _share_sizes(parser: StockParser) -> None:
    parser.share("--fontsize", type=whole(1))
    parser.share("--figsize", nargs=2, type=whole(1))


def _begin(name: str, given: StockNamespace, *flags: str) -> None:
    """
    :param name: of the function in ``rl_zoo3.plots``
    :param given: by its flags
    :param flags: whose values are environments: folders have "-" for the "/" in an id, and no module before it
    """
    register()
    for flag in flags:
        typed = getattr(given, flag)
        if typed is not None:
            setattr(given, flag, [name_in_folders(env) for env in typed])
    scripts.plot_function(name)  # a missing extra comes before names


def _say(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


COMMANDS = (
    Command("plot_train", "plot the training returns of one algorithm", _plot_train_parser, plot_train),
    Command("all_plots", "compare evaluations of several algorithms, write a table", _all_plots_parser, all_plots),
    Command("plot_from_file", "plot what all_plots wrote with -o", _plot_from_file_parser, plot_from_file),
)
