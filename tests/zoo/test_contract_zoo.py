"""
What we reach into of rl-zoo3: that it exists, has these parameters and is called from there, and that nothing else is
reached into. After an upgrade this gives the list of what to look at.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import pytest
from rl_zoo3 import enjoy, exp_manager, hyperparams_opt, plots, train, utils
from rl_zoo3.exp_manager import ExperimentManager
from sb3_contrib import MaskablePPO, RecurrentPPO
from sb3_contrib.ppo_mask import ppo_mask
from sb3_contrib.ppo_recurrent import ppo_recurrent
from stable_baselines3 import PPO
from stable_baselines3.common import base_class
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.ppo import ppo
from support.contracts import attributes_set_in, calls_in, function_of, overridden, parameters_of, parsed, texts_in

import sb3_ext
from sb3_ext import TD3, RainbowR
from sb3_ext.cli.flags import StockParser
from sb3_ext.cli.stock import COMMANDS
from sb3_ext.zoo import console, experiment, run_keeper, settings
from sb3_ext.zoo.hyperparams_opt import search_of
from sb3_ext.zoo.runs.checkpoints import _CHECKPOINT

ZOO = Path(sb3_ext.__file__).parent / "zoo"
SET_UP = ExperimentManager.setup_experiment


class Hook(NamedTuple):
    """A method of `ExperimentManager` that we override or call."""

    name: str
    parameters: str = ""
    called_by: Callable[..., Any] | None = None  # None: by ours alone


HOOKS = [
    Hook("setup_experiment", "", train.train),
    Hook("read_hyperparameters", "", SET_UP),
    Hook("load_trial", "storage study_name trial_id convert", ExperimentManager.read_hyperparameters),
    Hook("_preprocess_hyperparams", "hyperparams", SET_UP),
    Hook("_preprocess_schedules", "hyperparams", ExperimentManager._preprocess_hyperparams),
    Hook("create_log_folder", "", SET_UP),
    Hook("create_callbacks", "", SET_UP),
    Hook("create_envs", "n_envs eval_env no_log", SET_UP),
    Hook("_maybe_normalize", "env eval_env", ExperimentManager.create_envs),
    Hook("_preprocess_action_noise", "hyperparams saved_hyperparams env", SET_UP),
    Hook("_load_pretrained_agent", "hyperparams env", SET_UP),
    Hook("_save_config", "saved_hyperparams", SET_UP),
    Hook("learn", "model", train.train),
    Hook("save_trained_model", "model", train.train),
    Hook("hyperparameters_optimization", "", train.train),
    Hook("is_atari", "env_id", enjoy.enjoy),
    Hook("is_minigrid", "env_id", enjoy.enjoy),
]
FUNCTIONS = [
    (utils, "create_test_env",
     "env_id n_envs stats_path seed log_dir should_render hyperparams env_kwargs vec_env_cls vec_env_kwargs"),
    (utils, "get_model_path", "exp_id folder algo env_name load_best load_checkpoint load_last_checkpoint"),
    (utils, "get_saved_hyperparams", "stats_path norm_reward test_mode"),
    (utils, "get_latest_run_id", "log_path env_name"),
    (utils, "get_wrapper_class", "hyperparams key"),
    (train, "train", ""),
    (enjoy, "enjoy", ""),
    (plots, "plot_train", ""),
    (plots, "all_plots", ""),
    (plots, "plot_from_file", ""),
]  # fmt: skip
# Names that are replaced while a script runs, and the functions in which rl-zoo3 looks them up as they are then.
REPLACED: list[tuple[Any, str, Callable[..., Any]]] = [
    (train, "ExperimentManager", train.train),
    (exp_manager, "CheckpointCallback", ExperimentManager.create_callbacks),
    (exp_manager, "EvalCallback", ExperimentManager.create_callbacks),
    (enjoy, "get_model_path", enjoy.enjoy),
    (utils, "SubprocVecEnv", utils.create_test_env),
    (utils, "VecNormalize", utils.create_test_env),
    (exp_manager, "pprint", ExperimentManager.read_hyperparameters),
]
# Functions of modules of rl-zoo3 and SB3 whose prints are ours to silence.
PRINT = {
    train: train.train,
    exp_manager: ExperimentManager.read_hyperparameters,
    base_class: BaseAlgorithm.__init__,
    ppo: PPO.train,
    ppo_mask: MaskablePPO.train,
    ppo_recurrent: RecurrentPPO.train,
}
# What `record_video`, a script without a function, takes from `utils` when it begins.
OF_RECORD_VIDEO = {"get_model_path", "create_test_env"}
# Names of rl-zoo3's modules that ours import.
IMPORTED = {
    "rl_zoo3": {"exp_manager"},
    "rl_zoo3.exp_manager": {"ExperimentManager"},
    "rl_zoo3.hyperparams_opt": {"HYPERPARAMS_CONVERTER", "HYPERPARAMS_SAMPLER"},
    "rl_zoo3.utils": {
        "ALGOS", "create_test_env", "get_latest_run_id", "get_saved_hyperparams", "get_wrapper_class",
    },
}  # fmt: skip
MODULES = {"rl_zoo3.enjoy", "rl_zoo3.import_envs", "rl_zoo3.plots", "rl_zoo3.record_video", "rl_zoo3.train"}
MODULES |= {"rl_zoo3.utils"}
BY_NAME = ("importlib.import_module", "runpy.run_module")


def source_of(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    return ast.parse(Path(spec.origin).read_text())


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_a_hook_is_there_and_called(hook: Hook) -> None:
    assert parameters_of(ExperimentManager, hook.name) == hook.parameters.split()
    if hook.called_by is not None:
        assert hook.name in calls_in(hook.called_by)


@pytest.mark.parametrize(("module", "name", "parameters"), FUNCTIONS, ids=lambda x: x if isinstance(x, str) else "")
def test_a_function_takes_these(module: Any, name: str, parameters: str) -> None:
    assert parameters_of(module, name) == parameters.split()


def test_nothing_else_is_overridden() -> None:
    found = {name for owner, name in overridden("rl_zoo3") if owner is ExperimentManager}
    assert len(found) > 10
    assert found <= {hook.name for hook in HOOKS}


def test_a_run_is_prepared_in_this_order() -> None:
    """Settings, folder, callbacks, environments, noise; then the model, old or new, and what it was made with."""
    order = [
        "read_hyperparameters", "_preprocess_hyperparams", "create_log_folder", "create_callbacks", "create_envs",
        "_preprocess_action_noise", "_load_pretrained_agent", "_save_config",
    ]  # fmt: skip
    assert [name for name in calls_in(SET_UP) if name in order] == order
    outside = ["ExperimentManager", "setup_experiment", "learn", "save_trained_model", "hyperparameters_optimization"]
    assert [name for name in calls_in(train.train) if name in outside] == outside


def test_environments_are_made_in_this_order() -> None:
    """Which `EnvFactory` follows; with VecNormalize, `normalized_last` has put all else below it."""
    order = ["spec", "make_vec_env", "vec_env_wrapper", "_maybe_normalize", "VecFrameStack", "VecTransposeImage"]
    made = calls_in(ExperimentManager.create_envs)
    assert [name for name in dict.fromkeys(made) if name in order] == order
    (call,) = (node for node in ast.walk(parsed(ExperimentManager.create_envs))
               if isinstance(node, ast.Call) and ast.unparse(node.func) == "make_vec_env")  # fmt: skip
    assert {keyword.arg for keyword in call.keywords} == {
        "n_envs", "seed", "env_kwargs", "monitor_dir", "wrapper_class", "vec_env_cls", "vec_env_kwargs",
        "monitor_kwargs",
    }  # fmt: skip


def test_their_time_limit_comes_with_their_environments() -> None:
    assert gym.wrappers.TimeLimit.__module__ == "rl_zoo3.gym_patches"


@pytest.mark.parametrize("module", [settings, run_keeper, experiment], ids=lambda module: module.__name__)
def test_the_attributes_that_we_read_are_set_there(module: Any) -> None:
    """All that is read of ``self`` and that no class of ours has."""
    read = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    ours = {name for cls in experiment.Experiment.__mro__[:3] for name in vars(cls)}
    of_ours = (settings.SettingsReader, run_keeper.RunKeeper, experiment.Experiment)
    ours |= {name for cls in of_ours for method in vars(cls).values() if inspect.isfunction(method)
             for name in attributes_set_in(method)}  # fmt: skip
    theirs = attributes_set_in(ExperimentManager.__init__) | set(dir(ExperimentManager))
    ours |= attributes_set_in(EvalCallback.__init__)  # of the one that keeps the latest of the best
    assert read - ours <= theirs, sorted(read - ours - theirs)
    set_by_us = {"vec_env_class", "config", "args", "env_kwargs", "continue_training", "env_name", "save_path"}
    assert set_by_us <= theirs


@pytest.mark.parametrize(("owner", "name", "used_by"), REPLACED, ids=lambda x: x if isinstance(x, str) else "")
def test_a_replaced_name_is_looked_up_where_it_is_replaced(owner: Any, name: str, used_by: Callable[..., Any]) -> None:
    assert hasattr(owner, name)
    assert used_by.__globals__ is vars(owner)
    assert name in used_by.__code__.co_names


def test_modules_that_are_silenced_print() -> None:
    assert {*console.PRINTING, train} == PRINT.keys()
    for module, function in PRINT.items():
        assert function.__globals__ is vars(module) and "print" in function.__code__.co_names


def test_record_video_takes_what_is_replaced_from_utils_when_it_begins() -> None:
    tree = source_of("rl_zoo3.record_video")
    taken = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "rl_zoo3.utils"]
    assert {alias.name for node in taken for alias in node.names} >= OF_RECORD_VIDEO
    (begin,) = (node for node in tree.body if isinstance(node, ast.If))
    calls = [node for node in ast.walk(begin) if isinstance(node, ast.Call)]
    made = [call for call in calls if ast.unparse(call.func) == "create_test_env"]
    assert [{keyword.arg for keyword in call.keywords} >= {"hyperparams", "env_kwargs"} for call in made] == [True]


def test_statistics_are_loaded_by_the_replaced_name() -> None:
    assert vars(utils)["VecNormalize"] is vars(exp_manager)["VecNormalize"] is VecNormalize
    for function in (utils.create_test_env, ExperimentManager._maybe_normalize):
        assert "load" in calls_in(function)
    assert parameters_of(VecNormalize, "load") == ["load_path", "venv"]


def test_the_command_line_is_read_and_noted_there() -> None:
    assert "parse_args" in calls_in(train.train) and "parse_args" in calls_in(enjoy.enjoy)
    assert "orig_argv" in function_of(ExperimentManager, "hyperparameters_optimization").__code__.co_names
    assert {"command.txt", "args.yml", "config.yml"} <= {
        text.rpartition("/")[2] for text in texts_in(ExperimentManager._save_config)
    }


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_scripts_have_the_flags_that_we_read_too(command: Any) -> None:
    """A flag goes to the script by the first of its names."""
    plot = f"plots.{command.name}" if "plot" in command.name else command.name
    calls = [node for node in ast.walk(source_of(f"rl_zoo3.{plot}")) if isinstance(node, ast.Call)]
    declared = [call for call in calls if ast.unparse(call.func) == "parser.add_argument"]
    theirs = {arg.value for call in declared for arg in call.args if isinstance(arg, ast.Constant)}
    parser = command.parser()
    assert isinstance(parser, StockParser)
    given = parser.parse([])
    assert {flag.option_strings[0] for flag in given.shared} <= theirs
    ours = {name for action in parser._actions for name in action.option_strings if action not in given.shared}
    assert not ours & theirs, "what only we read would never reach the script"


def test_checkpoints_are_called_as_the_scripts_look_for_them() -> None:
    (name,) = (text for text in texts_in(utils.get_model_path) if "*" in text)
    assert _CHECKPOINT.fullmatch(name.replace("*", "300")) is not None
    assert "rl_model" in texts_in(ExperimentManager.create_callbacks)


def test_searches_have_the_form_of_theirs() -> None:
    stock = hyperparams_opt.HYPERPARAMS_SAMPLER["dqn"]
    ours = search_of(RainbowR)
    assert ours is not None
    assert parameters_of_function(ours[0]) == parameters_of_function(stock)
    assert parameters_of_function(ours[1]) == parameters_of_function(hyperparams_opt.HYPERPARAMS_CONVERTER["ppo"])
    assert search_of(TD3) is None and "td3" in hyperparams_opt.HYPERPARAMS_SAMPLER


def parameters_of_function(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def imports_of_theirs() -> Iterator[tuple[str, str | None]]:
    """:return: module of rl-zoo3 and name in it, None = the module, of every import in the room"""
    for path in ZOO.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rl_zoo3"):
                yield from ((str(node.module), alias.name) for alias in node.names)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in BY_NAME:
                yield from ((str(x.value), None) for x in node.args if isinstance(x, ast.Constant))


def test_nothing_else_is_imported() -> None:
    found: dict[str, set[str]] = {}
    modules = set()
    for module, name in imports_of_theirs():
        if name is not None:
            found.setdefault(module, set()).add(name)
        elif module.startswith("rl_zoo3"):
            modules.add(module)
    assert found == IMPORTED
    assert modules == MODULES
    for module, names in found.items():
        assert all(hasattr(importlib.import_module(module), name) for name in names)
