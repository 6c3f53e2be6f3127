"""The commands that are rl-zoo3's scripts: its flags, a few of ours, and agents that are found where ours lie."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.cli import stock_plots
from sb3_ext.cli.flags import Command, StockNamespace, StockParser, import_packages, names_in
from sb3_ext.cli.seeds import check, seeds, train_seeds
from sb3_ext.cli.stock_help import ENJOY, RECORD_VIDEO, TRAIN
from sb3_ext.cli.values import MAX_SEED, device, whole
from sb3_ext.errors import UserError
from sb3_ext.zoo import scripts
from sb3_ext.zoo.actors import FLAGS
from sb3_ext.zoo.agent_folders import run_of
from sb3_ext.zoo.agent_ref import AgentRef, Which
from sb3_ext.zoo.display import draw_without_a_display, has_display
from sb3_ext.zoo.registry import check_algorithm, register
from sb3_ext.zoo.streams import readers_may_go
from sb3_ext.zoo.typed_ids import environment_id, know_env, module_of


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


def train(given: argparse.Namespace) -> int:
    """
    :param given: by the flags of `train`
    :return: exit code
    """
    assert isinstance(given, StockNamespace)
    check(given)
    with readers_may_go():
        return _train(given)


def _train(given: StockNamespace) -> int:
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
    return scripts.train(given.argv(), given.typed, settings, given.verbose)


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


COMMANDS = (
    Command("train", "train an agent, or search its hyperparameters with -optimize", _train_parser, train),
    Command("enjoy", "run a trained agent", functools.partial(_watch_parser, "enjoy"), enjoy),
    Command("record_video", "film a trained agent", functools.partial(_watch_parser, "record_video"), record_video),
    *stock_plots.COMMANDS,
)
