"""How a trained agent is loaded with its environment, and what it reaches there."""

from __future__ import annotations

import shlex
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_ext.algorithms import ALGORITHMS, IMITATORS
from sb3_ext.errors import UserError
from sb3_ext.replaced import replaced
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.display import draw_without_a_display, progress_bar
from sb3_ext.zoo.registry import check_algorithm, register
from sb3_ext.zoo.runs.manifests import Manifest
from sb3_ext.zoo.typed_ids import know_env

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv


@dataclass(frozen=True)
class Agent:
    """A trained agent in its environment."""

    ref: AgentRef
    """that named it"""
    model: BaseAlgorithm
    env: VecEnv
    """with the statistics and wrappers of the training"""
    path: Path
    """of the zip, or of the weights among safe files"""
    hyperparams: dict[str, Any]
    """as they were in the yml"""


def acts_greedily(env_id: str) -> bool:
    """:return: whether its agents are evaluated greedily; `enjoy` samples on Atari and MiniGrid"""
    from rl_zoo3.exp_manager import ExperimentManager

    return not (ExperimentManager.is_atari(env_id) or ExperimentManager.is_minigrid(env_id))


def know_names(ref: AgentRef) -> None:
    """
    Our algorithms are known from here on.

    :raises UserError: for an algorithm or an environment that nobody knows
    """
    register()
    know_env(ref.env_id)
    check_algorithm(ref.algo)


def load_agent(ref: AgentRef, keep_settings: bool = False, film: bool = False) -> Agent:
    """
    As `rl_zoo3.enjoy` does.

    :param ref: which agent
    :param keep_settings: schedules and replay sizes too, which an agent that acts does not need
    :param film: its environment draws pictures
    :raises UserError: where there is no such agent
    """
    know_names(ref)
    env_kwargs = {**ref.env_kwargs, "render_mode": "rgb_array"} if film else dict(ref.env_kwargs)
    return _safe_agent(ref, env_kwargs) if ref.is_safe else _agent_of_zip(ref, env_kwargs, keep_settings)


def _agent_of_zip(ref: AgentRef, env_kwargs: dict[str, Any], keep_settings: bool) -> Agent:
    import yaml
    from rl_zoo3.utils import create_test_env, get_saved_hyperparams
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from sb3_ext.exchange.trust import beside, load_statistics, say_trusted

    path, settings = ref.zip()
    print(f"Loading {path}")
    say_trusted([path, *beside(settings)])
    hyperparams, stats_path = get_saved_hyperparams(str(settings), test_mode=True)
    saved = dict(hyperparams)
    trained_with = dict(hyperparams.pop("env_kwargs", None) or {})
    arguments = settings / "args.yml"
    if arguments.is_file():
        # rl-zoo3 writes Python objects; whoever loads the zip beside it trusts the folder already.
        typed = yaml.load(arguments.read_text(), Loader=yaml.UnsafeLoader)
        trained_with = dict(typed.get("env_kwargs") or trained_with)
    saved["env_kwargs"] = {**trained_with, **ref.env_kwargs} or None
    with replaced(VecNormalize, "load", staticmethod(load_statistics)):
        env = create_test_env(
            ref.env_id,
            stats_path=stats_path,
            seed=ref.seed,
            should_render=False,
            hyperparams=hyperparams,
            env_kwargs={**trained_with, **env_kwargs},
            vec_env_cls=DummyVecEnv,
        )
    model = load_zip(ref, path, env) if keep_settings else load_to_act(ref, path, hyperparams, env)
    return Agent(ref, model, env, path, saved)


def load_zip(ref: AgentRef, path: Path, env: VecEnv | None, **keywords: Any) -> BaseAlgorithm:
    """
    :param ref: whose algorithm and device it is
    :param path: of the zip
    :param env: None = without one
    :param keywords: of `load`
    :return: as it was saved
    :raises UserError: for another file
    """
    from rl_zoo3.utils import ALGOS

    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no model: not a zip")
    return ALGOS[ref.algo].load(path, env=env, device=ref.device, **keywords)


def load_to_act(ref: AgentRef, path: Path, hyperparams: dict[str, Any], env: VecEnv) -> BaseAlgorithm:
    """
    Parameters as in `load_zip`.

    :param hyperparams: as rl-zoo3 saved them
    :return: without what training alone needs
    """
    from rl_zoo3.utils import ALGOS
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    keywords: dict[str, Any] = {}
    stores = issubclass(ALGOS[ref.algo], OffPolicyAlgorithm)
    if stores and (ref.algo not in ALGORITHMS or ref.algo in IMITATORS):
        # No replay is needed, and stock ones, which DAC has too, are allocated whole. Our own are not.
        keywords["buffer_size"] = 1
        if "optimize_memory_usage" in hyperparams:
            keywords["optimize_memory_usage"] = False
    is_her = "HerReplayBuffer" in str(hyperparams.get("replay_buffer_class", ""))
    # Schedules were pickled by another Python perhaps, and nothing is trained.
    schedules = {"learning_rate": 0.0, "lr_schedule": _zero, "clip_range": _zero}
    return load_zip(ref, path, env if is_her else None, custom_objects=schedules, **keywords)


def _safe_agent(ref: AgentRef, env_kwargs: dict[str, Any]) -> Agent:
    """
    :return: out of a folder that `save_safe` wrote, or one of the Hub, in its environment: nothing in it can run code
    :raises UnsafeFile: for files that are not what they should be
    """
    from rl_zoo3.utils import create_test_env
    from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

    from sb3_ext.exchange.environments import checked_environment
    from sb3_ext.exchange.safe_files import CONFIG, NORMALIZE, WEIGHTS, load_safe, load_vec_normalize, read_json

    assert ref.path is not None
    saved = checked_environment(read_json(ref.path / CONFIG).get("environment"))
    wrappers: dict[str, Any] = {key: saved[key] for key in ("env_wrapper", "vec_env_wrapper") if key in saved}
    env = create_test_env(
        ref.env_id,
        seed=ref.seed,
        should_render=False,
        hyperparams=wrappers,
        env_kwargs={**(saved.get("env_kwargs") or {}), **env_kwargs},
        vec_env_cls=DummyVecEnv,
    )
    if (ref.path / f"{NORMALIZE}.json").is_file():
        env = load_vec_normalize(ref.path, env)
        env.norm_reward = False
    if saved.get("frame_stack"):
        env = VecFrameStack(env, saved["frame_stack"])
    return Agent(ref, load_safe(ref.path, device=ref.device), env, ref.path / WEIGHTS, saved)


def load_to_film(ref: AgentRef, keep_settings: bool = False) -> tuple[Agent, str | None]:
    """
    Parameters as in `load_agent`.

    :return: an agent whose environment draws pictures; or one whose environment does not, and why
    """
    draw_without_a_display()
    try:
        return load_agent(ref, keep_settings, film=True), None
    except Exception as error:  # any: if drawing is not what is wrong, it comes again
        agent = load_agent(ref, keep_settings)
        return agent, f"{ref.env_id} draws no pictures here ({' '.join(str(error).split())[:200]})"


def command_of(agent: Agent) -> str | None:
    """:return: that trained it, without the paths of a machine; None where nobody noted it"""
    path = agent.path.parent / agent.ref.name / "command.txt"
    if not path.is_file():
        manifest = Manifest.read(agent.path.parent)
        return None if manifest is None else manifest.command or None
    parts = shlex.split(path.read_text())
    # rl-zoo3 alone writes interpreter and script as they were found.
    names = [Path(part).name for part in parts[:2]] + parts[2:]
    return shlex.join(names[1:] if "sb3-ext" in names[1:2] else names)


def evaluate(agent: Agent, n_episodes: int) -> np.ndarray:
    """
    :param agent: in its environment
    :param n_episodes: K >= 1
    :return: [K] returns
    """
    from stable_baselines3.common.evaluation import evaluate_policy

    with progress_bar("evaluating", n_episodes, "episode") as show:
        result, _ = evaluate_policy(
            agent.model,
            agent.env,
            n_episodes,
            deterministic=acts_greedily(agent.ref.env_id),
            callback=lambda here, _: show(int(here["episode_counts"].sum())),
            return_episode_rewards=True,
        )
    returns = np.array(result)
    print(f"Evaluation: mean return {returns.mean():.2f} +- {returns.std():.2f} over {n_episodes} episodes")
    return returns


def _zero(_: float) -> float:
    return 0.0
