"""Which trained agent a command means, and how it is loaded with its environment."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import shlex
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from unittest import mock

import gymnasium as gym
import numpy as np

from sb3_ext.algorithms import ALGORITHMS, IMITATORS
from sb3_ext.errors import UserError, did_you_mean
from sb3_ext.zoo.display import draw_without_a_display
from sb3_ext.zoo.registry import register
from sb3_ext.zoo.typed_ids import environment_id

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv


class Parser(argparse.ArgumentParser):
    """Its errors are one line, as all of ours."""

    def error(self, message: str) -> NoReturn:
        """:raises UserError: always"""
        raise UserError(f"{message}; see `{self.prog} --help`")


def add_agent_arguments(parser: argparse.ArgumentParser) -> None:
    """:param parser: gets what `load_agent` reads"""
    parser.add_argument("--algo", required=True, help="as for `sb3-ext enjoy`")
    parser.add_argument("--env", required=True, type=environment_id, help="environment id, or MODULE:ID")
    parser.add_argument("-f", "--folder", type=Path, default=Path("logs"), help="log folder of the training (logs)")
    parser.add_argument("--exp-id", type=int, default=0, help="run in it (0: the latest, -1: no folder per run)")
    parser.add_argument("--model", type=Path, help="a zip, with the settings beside it, or a folder of safe files")
    parser.add_argument("--last", action="store_true", help="the last model, although there is a best one")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    parser.add_argument("--device", default="auto", help="PyTorch device")
    add_env_arguments(parser)


def add_env_arguments(parser: argparse.ArgumentParser) -> None:
    """:param parser: gets what `env_kwargs_of` and `know_env` read"""
    parser.add_argument("--env-kwargs", nargs="+", default=[], metavar="NAME:VALUE", help="for the environment")
    parser.add_argument("--gym-packages", nargs="+", default=[], help="to import, for the environments they register")


def acts_greedily(env_id: str) -> bool:
    """:return: whether its agents are evaluated greedily; `enjoy` samples on Atari and MiniGrid"""
    from rl_zoo3.exp_manager import ExperimentManager

    return not (ExperimentManager.is_atari(env_id) or ExperimentManager.is_minigrid(env_id))


def env_kwargs_of(given: argparse.Namespace) -> dict[str, Any]:
    kwargs = {}
    for text in given.env_kwargs:
        name, found, value = text.partition(":")
        if not found:
            raise UserError(f"--env-kwargs {text!r} is not NAME:VALUE")
        try:
            kwargs[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            kwargs[name] = value  # a word needs no quotes
    return kwargs


def know_env(env_id: str, packages: list[str]) -> None:
    for package in packages:
        importlib.import_module(package)
    if env_id.startswith("ALE/"):
        gym.register_envs(importlib.import_module("ale_py"))
    if env_id in gym.registry:
        return
    # Only now: rl-zoo3 patches gymnasium's TimeLimit when it is imported.
    if find_spec("rl_zoo3") is not None:
        importlib.import_module("rl_zoo3.import_envs")
    if env_id not in gym.registry:
        raise UserError(f"unknown environment {env_id!r}{did_you_mean(env_id, gym.registry)}")


@contextlib.contextmanager
def progress_bar(what: str, total: int | None, unit: str = "step") -> Iterator[Callable[[int], None]]:
    """
    :param what: is done
    :param total: number of units, None = unknown
    :param unit: counted
    :return: takes the number of units so far
    """
    from tqdm import tqdm

    with tqdm(desc=what, total=total, unit=unit, disable=None) as bar:  # None: not where it is no terminal

        def show(n: int) -> None:
            bar.update(n - bar.n)

        yield show


class Agent(NamedTuple):
    """A trained agent in its environment."""

    model: BaseAlgorithm
    env: VecEnv
    """with the statistics and wrappers of the training"""
    path: Path
    """of the zip"""
    hyperparams: dict[str, Any]
    """as they were in the yml"""


def load_agent(given: argparse.Namespace, keep_settings: bool = False, film: bool = False) -> Agent:
    """
    As `rl_zoo3.enjoy` does.

    :param given: what `add_agent_arguments` reads
    :param keep_settings: schedules and replay sizes too, which an agent that acts does not need
    :param film: its environment draws pictures
    :raises UserError: where there is no such agent
    """
    register()
    know_env(given.env, given.gym_packages)
    import yaml
    from huggingface_sb3 import EnvironmentName
    from rl_zoo3.utils import ALGOS, create_test_env, get_saved_hyperparams
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from sb3_ext.exchange.safe_agents import load_safe_agent
    from sb3_ext.exchange.trust import beside, load_statistics, say_trusted
    from sb3_ext.zoo.run_folders import latest_run, models_of

    if given.algo not in ALGOS:
        raise UserError(f"unknown --algo {given.algo!r}{did_you_mean(given.algo, ALGOS)}")
    name = EnvironmentName(given.env)
    if given.model is not None and given.model.is_dir():
        drawn = {"render_mode": "rgb_array"} if film else {}
        model, env, saved = load_safe_agent(given, {**env_kwargs_of(given), **drawn})
        return Agent(model, env, given.model / "policy.safetensors", saved)
    if given.model is None:
        runs = given.folder / given.algo
        run_id = given.exp_id or latest_run(runs, name, models_of(name)[1:] if given.last else models_of(name))
        folder = runs if given.exp_id < 0 else runs / f"{name}_{run_id}"
        candidates = [folder / f"{name}.zip"] if given.last else [folder / "best_model.zip", folder / f"{name}.zip"]
    else:
        folder, candidates = given.model.parent, [given.model]
    found = [path for path in candidates if path.is_file()]
    if not found:
        fix = (
            "" if given.model else f": train one with `sb3-ext train --algo {given.algo} --env {given.env}`, or pass -f"
        )
        raise UserError(f"no {given.algo} agent for {given.env}: no {' and no '.join(map(str, candidates))}{fix}")
    print(f"Loading {found[0]}")
    say_trusted([found[0], *beside(folder / name)])

    hyperparams, stats_path = get_saved_hyperparams(str(folder / name), test_mode=True)
    saved = dict(hyperparams)
    env_kwargs = dict(hyperparams.pop("env_kwargs", None) or {})
    arguments = folder / name / "args.yml"
    if arguments.is_file():
        # rl-zoo3 writes Python objects; whoever loads the zip beside it trusts the folder already.
        trained_with = yaml.load(arguments.read_text(), Loader=yaml.UnsafeLoader)
        env_kwargs = dict(trained_with.get("env_kwargs") or env_kwargs)
    env_kwargs |= env_kwargs_of(given)
    saved["env_kwargs"] = env_kwargs or None
    with mock.patch.object(VecNormalize, "load", staticmethod(load_statistics)):
        env = create_test_env(
            given.env,
            stats_path=stats_path,
            seed=given.seed,
            should_render=False,
            hyperparams=hyperparams,
            env_kwargs={**env_kwargs, "render_mode": "rgb_array"} if film else env_kwargs,
            vec_env_cls=DummyVecEnv,
        )
    model = _load(given, found[0], hyperparams, env, keep_settings)
    return Agent(model, env, found[0], saved)


def load_to_film(given: argparse.Namespace, keep_settings: bool = False) -> tuple[Agent, str | None]:
    """
    Parameters as in `load_agent`.

    :return: an agent whose environment draws pictures; or one whose environment does not, and why
    """
    draw_without_a_display()
    try:
        return load_agent(given, keep_settings, film=True), None
    except Exception as error:  # any: if drawing is not what is wrong, it comes again
        agent = load_agent(given, keep_settings)
        return agent, f"{given.env} draws no pictures here ({' '.join(str(error).split())[:200]})"


def command_of(agent: Agent, env_id: str) -> str | None:
    """:return: that trained it, without the paths of a machine; None where rl-zoo3 did not note it"""
    from huggingface_sb3 import EnvironmentName

    path = agent.path.parent / EnvironmentName(env_id) / "command.txt"
    if not path.is_file():
        return None
    parts = shlex.split(path.read_text())
    # rl-zoo3 alone writes interpreter and script as they were found.
    names = [Path(part).name for part in parts[:2]] + parts[2:]
    return shlex.join(names[1:] if "sb3-ext" in names[1:2] else names)


def evaluate(agent: Agent, env_id: str, n_episodes: int) -> np.ndarray:
    """
    :param agent: in its environment
    :param env_id: says whether it acts greedily
    :param n_episodes: K >= 1
    :return: [K] returns
    """
    from stable_baselines3.common.evaluation import evaluate_policy

    with progress_bar("evaluating", n_episodes, "episode") as show:
        result, _ = evaluate_policy(
            agent.model,
            agent.env,
            n_episodes,
            deterministic=acts_greedily(env_id),
            callback=lambda here, _: show(int(here["episode_counts"].sum())),
            return_episode_rewards=True,
        )
    returns = np.array(result)
    print(f"Evaluation: mean return {returns.mean():.2f} +- {returns.std():.2f} over {n_episodes} episodes")
    return returns


def _load(
    given: argparse.Namespace, path: Path, hyperparams: dict[str, Any], env: VecEnv, keep_settings: bool
) -> BaseAlgorithm:
    from rl_zoo3.utils import ALGOS
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no model: not a zip")
    algorithm = ALGOS[given.algo]
    if keep_settings:
        return algorithm.load(path, env=env, device=given.device)
    keywords: dict[str, Any] = {}
    if issubclass(algorithm, OffPolicyAlgorithm) and (given.algo not in ALGORITHMS or given.algo in IMITATORS):
        # No replay is needed, and stock ones, which DAC has too, are allocated whole. Our own are not.
        keywords["buffer_size"] = 1
        if "optimize_memory_usage" in hyperparams:
            keywords["optimize_memory_usage"] = False
    if "HerReplayBuffer" in str(hyperparams.get("replay_buffer_class", "")):
        keywords["env"] = env
    # Schedules were pickled by another Python perhaps, and nothing is trained.
    schedules = {"learning_rate": 0.0, "lr_schedule": _zero, "clip_range": _zero}
    return algorithm.load(path, custom_objects=schedules, device=given.device, **keywords)


def _zero(_: float) -> float:
    return 0.0
