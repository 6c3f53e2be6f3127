"""`sb3-ext demos COMMAND ...`: expert demonstrations from the command line."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from sb3_ext.cli import demo_reward
from sb3_ext.cli.demo_formats import add_options, known_formats, read, to_write
from sb3_ext.cli.flags import Command, Parser, add_agent_flags, add_env_flags, agent_of, env_kwargs_of, import_packages
from sb3_ext.cli.values import real, seed, whole
from sb3_ext.errors import UserError
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.agents import acts_greedily, load_agent
from sb3_ext.zoo.display import progress_bar
from sb3_ext.zoo.experts import default_path, planner_of
from sb3_ext.zoo.registry import PLANNER
from sb3_ext.zoo.typed_ids import environment_id, know_env, made

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from sb3_ext.demonstrations import Demonstrations
    from sb3_ext.demonstrations.record import Predictor

DESCRIPTION = """expert demonstrations: whole episodes with true ends, in one .npz

  sb3-ext demos record --algo ppo --env CartPole-v1 -f logs -n 10 --min-return 475
  sb3-ext demos record --algo planner --env Taxi-v4 -n 200
  sb3-ext demos play CartPole-v1
  sb3-ext demos info demos/CartPole-v1.npz --plot demos.png
  sb3-ext demos check demos/CartPole-v1.npz
  sb3-ext demos convert demos/CartPole-v1.npz trajectories --to imitation
  sb3-ext demos reward demos/FrozenLake-v1.npz --gamma 0.9
  sb3-ext demos push demos/CartPole-v1.npz --repo-id user/cartpole-demos
  sb3-ext demos pull --repo-id user/cartpole-demos
"""

RECORD_NOTES = """Run a trained agent and keep its episodes. `--algo planner` needs no training: where the environment
publishes its transition table, as gymnasium's toy text and sb3_ext/GridWorld-v0 do, it is solved."""

PLAY_NOTES = """In the window:
  a key of the game       starts the episode
  y or enter, n           keep or discard an episode that is over
  p or space              pause
  s or tab                slow motion, on and off
  r                       start the episode again
  backspace               drop the episode kept last
  escape or q             finish; the episode under way can be kept as truncated
Where a game needs one of these keys, the other one is left. A closed window or Ctrl-C saves what is kept.

--keys left=0,right=1,noop=2   noop is the action of no key; without it the last action is held
--keys up+left=3,w=0:0.5:1     keys held together; an action of three components
"""


def run(given: argparse.Namespace) -> int:
    """
    :param given: by the flags of a command of `demos`
    :return: exit code: 1 where `check` finds errors
    """
    return int(given.run(given) or 0)


def record(given: argparse.Namespace) -> None:
    """:param given: parsed arguments"""
    from sb3_ext import demonstrations

    ref = agent_of(given)
    if given.max_episodes is not None and given.max_episodes < given.n_episodes:
        raise UserError(f"--max-episodes {given.max_episodes} must be at least --n-episodes {given.n_episodes}")
    target = _target(given.output or default_path(ref.env_id), given.overwrite)
    model, env, usually_greedy = _expert(given, ref)
    deterministic = usually_greedy if given.deterministic is None else given.deterministic
    try:
        with progress_bar("recording", given.n_episodes, "episode") as show:
            demos = demonstrations.record(
                model,
                env,
                given.n_episodes,
                min_return=given.min_return,
                deterministic=deterministic,
                seed=given.seed,
                max_episodes=given.max_episodes,
                env_id=ref.env_id,
                on_kept=show,
            )
    finally:
        env.close()
    _save_and_tell(demos, target)


def _expert(given: argparse.Namespace, ref: AgentRef) -> tuple[Predictor, gym.Env[Any, Any] | VecEnv, bool]:
    """
    :return: who plays, where, and whether greedily if nothing else is asked for
    :raises UserError: for flags of another kind of expert
    """
    planning = {name: getattr(given, name) for name in ("gamma", "epsilon") if getattr(given, name) is not None}
    if ref.algo != PLANNER:
        for name in planning:
            raise UserError(f"--{name} is for --algo {PLANNER}: {ref.algo} was trained with its own")
        agent = load_agent(ref)
        return agent.model, agent.env, acts_greedily(ref.env_id)
    if ref.path is not None:
        raise UserError(f"--model {ref.path}: --algo {PLANNER} has none, it solves the environment's own table")
    draws = planning.get("epsilon", 0.0) > 0.0
    if draws and given.deterministic:
        raise UserError(f"--epsilon {given.epsilon} with --deterministic: mistakes are drawn; leave out one of them")
    model, env = planner_of(ref.env_id, ref.env_kwargs, **planning)
    return model, env, not draws


def play(given: argparse.Namespace) -> None:
    """:param given: parsed arguments"""
    from sb3_ext.demonstrations.keys import parse_keys
    from sb3_ext.demonstrations.play import play

    keys = None if given.keys is None else parse_keys(given.keys)
    target = _target(given.output or default_path(given.env), given.overwrite)
    import_packages(given)
    know_env(given.env)
    demos = play(
        given.env,
        keys,
        n_episodes=given.n_episodes,
        path=target,
        fps=given.fps,
        zoom=given.zoom,
        seed=given.seed,
        turn_based=given.turn_based,
        overwrite=given.overwrite,
        env_kwargs=env_kwargs_of(given),
    )
    _tell(demos, target)


def info(given: argparse.Namespace) -> None:
    """:param given: parsed arguments"""
    from sb3_ext.demonstrations.info import info, plot

    demos = read(given)
    if given.plot is not None:
        # First: a name that cannot be written to is answered before the screen is full.
        given.plot = plot(demos, given.plot)
    print(info(demos))
    if given.plot is not None:
        print(f"Saved {given.plot}")


def check(given: argparse.Namespace) -> int:
    """
    :param given: parsed arguments
    :return: 1 where there are errors
    """
    from sb3_ext.demonstrations.check import check
    from sb3_ext.demonstrations.findings import Finding

    demos = read(given)
    env_id = given.env or demos.env_id
    env = None
    if env_id is not None:
        import_packages(given)
        know_env(env_id)
        env = made(env_id, env_kwargs_of(given))
    try:
        findings = check(demos, env)
    finally:
        if env is not None:
            env.close()
    if env is None:
        findings.append(
            Finding("warning", "env_id: unknown, nothing was compared with an environment; name one by --env")
        )
    for finding in findings:
        print(f"{finding.level}: {finding.text}")
    n_errors = sum(finding.level == "error" for finding in findings)
    against = "" if env_id is None else f" against {env_id}"
    print(f"{given.path}: {n_errors} errors, {len(findings) - n_errors} warnings{against}")
    return int(n_errors > 0)


def convert(given: argparse.Namespace) -> None:
    """:param given: parsed arguments"""
    from sb3_ext.demonstrations import save

    to = to_write(given)
    if given.output.exists() and not (given.overwrite and given.output.is_file()):
        fix = "choose another name or remove it" if given.output.is_dir() else "choose another name or pass --overwrite"
        raise UserError(f"{given.output} exists; {fix}")
    demos = read(given)
    written = save(demos, given.output, to)
    print(f"Saved {len(demos)} episodes, {demos.n_steps} steps, to {written} ({to.name})")


def push(given: argparse.Namespace) -> None:
    """:param given: parsed arguments"""
    from sb3_ext.exchange.hub_data import push_demonstrations, reach

    reach(given.repo_id, "dataset")
    demos = read(given)
    url = push_demonstrations(demos, given.repo_id, private=given.private, message=given.message)
    print(f"Pushed {len(demos)} episodes to {url}")


def pull(given: argparse.Namespace) -> None:
    """:param given: parsed arguments"""
    from sb3_ext.exchange.hub_data import load_demonstrations

    target = None if given.output is None else _target(given.output, given.overwrite)
    demos = load_demonstrations(given.repo_id, revision=given.revision, max_bytes=given.max_bytes)
    if target is None:
        if demos.env_id is None:
            raise UserError(f"{given.repo_id} does not name its environment: name the file by -o")
        # It becomes a name of a file, which `load` has seen to: `id_of_file`.
        target = _target(default_path(demos.env_id), given.overwrite)
    _save_and_tell(demos, target)


def _parser() -> Parser:
    parser = Parser("sb3-ext demos", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="record|play|info|check|convert|reward|push|pull")
    raw = functools.partial(commands.add_parser, formatter_class=argparse.RawDescriptionHelpFormatter)

    sub = raw("record", help="run a trained agent, or the best there is", description=RECORD_NOTES)
    add_agent_flags(sub)
    sub.add_argument("--gamma", type=real(0, 1), help="discount of the planner (0.99)")
    sub.add_argument("--epsilon", type=real(0, 1), help="part of the planner's actions that are drawn at random (0)")
    sub.add_argument("-n", "--n-episodes", type=whole(1), default=10, help="episodes to keep (10)")
    sub.add_argument("--min-return", type=real(), help="drop episodes with a smaller return")
    sub.add_argument("--max-episodes", type=whole(1), help="give up after as many (10 times --n-episodes)")
    how = sub.add_mutually_exclusive_group()
    how.add_argument(
        "--deterministic", action="store_true", default=None, help="the default but for Atari and MiniGrid"
    )
    how.add_argument("--stochastic", action="store_false", dest="deterministic", default=None, help="sample actions")
    _add_output(sub)
    sub.set_defaults(run=record)

    sub = raw("play", help="play yourself", description="Play, and keep your episodes.", epilog=PLAY_NOTES)
    sub.add_argument("env", type=environment_id, help="environment id, or MODULE:ID")
    sub.add_argument("--keys", help="KEY=ACTION,... in place of the environment's own keys, see below")
    sub.add_argument("-n", "--n-episodes", "--episodes", type=whole(1), help="end after as many kept ones")
    sub.add_argument("--fps", type=real(0), help="steps per second (the environment's own; 0: as fast as possible)")
    sub.add_argument("--zoom", type=real(0, above=True), help="size of the picture (1; small ones are enlarged)")
    sub.add_argument("--seed", type=seed, help="of the first episode, the next has the next number (drawn)")
    sub.add_argument("--turn-based", action=argparse.BooleanOptionalAction, help="one step per key (for grid worlds)")
    _add_output(sub)
    add_env_flags(sub)
    sub.set_defaults(run=play)

    sub = raw("push", help="to the Hugging Face Hub", description="Put a file on the Hub, as a data set.")
    _add_input(sub)
    sub.add_argument("--repo-id", required=True, help="user/name")
    sub.add_argument("--private", action="store_true", default=None, help="a private data set")
    sub.add_argument("-m", "--message", help="of the commit")
    sub.set_defaults(run=push)

    sub = raw("pull", help="from the Hugging Face Hub", description="Download a data set. Nothing of it is run.")
    sub.add_argument("--repo-id", required=True, help="user/name")
    sub.add_argument("--revision", help="branch, tag or commit")
    _add_limit(sub)
    _add_output(sub)
    sub.set_defaults(run=pull)

    sub = raw("info", help="returns, lengths, ends, seeds", description="Tell what is in a file.")
    _add_input(sub)
    sub.add_argument("--plot", type=Path, metavar="PNG", help="draw returns, lengths and actions")
    sub.set_defaults(run=info)

    sub = raw("check", help="compare with an environment", description="Name every mismatch; exit code 1 for errors.")
    _add_input(sub)
    sub.set_defaults(run=check)

    sub = raw(
        "reward", help="that explains the demonstrations, where a table is published", description=demo_reward.NOTES
    )
    _add_input(sub)
    demo_reward.add_flags(sub)
    sub.set_defaults(run=demo_reward.reward)

    sub = raw("convert", help="to and from other formats", description=f"Formats: {', '.join(known_formats())}.")
    _add_input(sub)
    sub.add_argument("output", type=Path, help="file or folder to write")
    known = ", ".join(form.suffixes[0] for form in known_formats().values() if form.suffixes)
    sub.add_argument("--to", metavar="FORMAT", help=f"format to write (by the suffix: {known})")
    add_options(sub, writing=True)
    sub.add_argument("--overwrite", action="store_true", help="the file to write may exist")
    sub.set_defaults(run=convert)
    return parser


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, help="file to write (demos/ENV.npz)")
    parser.add_argument("--overwrite", action="store_true", help="it may exist")


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", help="file or folder; for minari also the id of a data set on this machine")
    parser.add_argument("--from", dest="source", metavar="FORMAT", help=f"{', '.join(known_formats())} (found out)")
    parser.add_argument("--env", type=environment_id, help="environment id, or MODULE:ID (the one in the file)")
    add_options(parser, writing=False)
    _add_limit(parser)
    add_env_flags(parser)


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-bytes", type=whole(1), help="of memory that reading may take (256 MiB, or 100 times the size on disk)"
    )


def _target(path: Path, overwrite: bool) -> Path:
    from sb3_ext.demonstrations.formats.npz_files import npz_path
    from sb3_ext.demonstrations.play import check_target

    path = npz_path(path)
    check_target(path, overwrite)
    return path


def _save_and_tell(demos: Demonstrations, target: Path) -> None:
    from sb3_ext.demonstrations import save

    save(demos, target)
    _tell(demos, target)


def _tell(demos: Demonstrations, target: Path) -> None:
    from sb3_ext.demonstrations.info import info

    print(info(demos))
    print(f"Saved {target}")


DEMOS = Command("demos", "record, play, inspect, check, convert, push and pull expert demonstrations", _parser, run)
