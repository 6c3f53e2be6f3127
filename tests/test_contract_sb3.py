"""
What we reach into of Stable-Baselines3: that it exists, has these parameters and is called from there, and that nothing
else is reached into. After an upgrade this gives the list of what to look at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from sb3_contrib import RecurrentPPO
from stable_baselines3 import DQN, PPO, TD3
from stable_baselines3.common import (
    env_util,
    evaluation,
    logger,
    monitor,
    preprocessing,
    save_util,
    torch_layers,
    utils,
    vec_env,
)
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BaseModel, BasePolicy, ContinuousCritic
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.td3.policies import Actor, TD3Policy
from support.contracts import (
    attributes_set_in,
    calls_in,
    function_of,
    overridden,
    parameters_of,
    private_names,
    texts_in,
)

ROLLOUTS = OffPolicyAlgorithm.collect_rollouts
LEARN = "total_timesteps callback log_interval tb_log_name reset_num_timesteps progress_bar"
SETUP_LEARN = "total_timesteps callback reset_num_timesteps tb_log_name progress_bar"
PREDICT = "observation state episode_start deterministic"


class Hook(NamedTuple):
    """A method that we override or call."""

    owner: type
    name: str
    parameters: str = ""
    called_by: Callable[..., Any] | None = None  # None: by users, or by ours alone


HOOKS = [
    # The life of a model.
    Hook(BaseAlgorithm, "_setup_model", "", BaseAlgorithm.load),
    Hook(OffPolicyAlgorithm, "_setup_model", "", DQN._setup_model),
    Hook(OffPolicyAlgorithm, "_convert_train_freq", "", OffPolicyAlgorithm._setup_model),
    Hook(BaseAlgorithm, "_setup_lr_schedule", "", OffPolicyAlgorithm._setup_model),
    Hook(TD3, "_setup_model", "", TD3.__init__),
    Hook(BaseAlgorithm, "set_random_seed", "seed", OffPolicyAlgorithm._setup_model),
    Hook(BaseAlgorithm, "_wrap_env", "env verbose monitor_wrapper", BaseAlgorithm.set_env),
    Hook(BaseAlgorithm, "set_env", "env force_reset"),
    Hook(BaseAlgorithm, "_get_policy_from_name", "policy_name", BaseAlgorithm.__init__),
    Hook(BaseAlgorithm, "load", "cls path env device custom_objects print_system_info force_reset kwargs", None),
    Hook(BaseAlgorithm, "save", "path exclude include", CheckpointCallback._on_step),
    Hook(BaseAlgorithm, "_excluded_save_params", "", BaseAlgorithm.save),
    Hook(TD3, "_excluded_save_params", "", BaseAlgorithm.save),
    Hook(BaseAlgorithm, "_get_torch_save_params", "", BaseAlgorithm.save),
    Hook(TD3, "_get_torch_save_params", "", BaseAlgorithm.save),
    Hook(BaseAlgorithm, "get_parameters", "", BaseAlgorithm.save),
    Hook(BaseAlgorithm, "set_parameters", "load_path_or_dict exact_match device", BaseAlgorithm.load),
    Hook(OffPolicyAlgorithm, "save_replay_buffer", "path", CheckpointCallback._on_step),
    Hook(OffPolicyAlgorithm, "load_replay_buffer", "path truncate_last_traj"),
    # Training.
    Hook(OffPolicyAlgorithm, "learn", LEARN, DQN.learn),
    Hook(TD3, "learn", LEARN),
    Hook(PPO, "learn", LEARN),
    Hook(BaseAlgorithm, "_setup_learn", SETUP_LEARN, OnPolicyAlgorithm.learn),
    Hook(OffPolicyAlgorithm, "_setup_learn", SETUP_LEARN, OffPolicyAlgorithm.learn),
    Hook(BaseAlgorithm, "_init_callback", "callback progress_bar", BaseAlgorithm._setup_learn),
    Hook(
        OffPolicyAlgorithm,
        "collect_rollouts",
        "env callback train_freq replay_buffer action_noise learning_starts log_interval",
        OffPolicyAlgorithm.learn,
    ),
    Hook(OffPolicyAlgorithm, "_sample_action", "learning_starts action_noise n_envs", ROLLOUTS),
    Hook(OffPolicyAlgorithm, "_store_transition", "replay_buffer buffer_action new_obs reward dones infos", ROLLOUTS),
    Hook(OffPolicyAlgorithm, "_on_step", "", ROLLOUTS),
    Hook(BaseAlgorithm, "_update_current_progress_remaining", "num_timesteps total_timesteps", ROLLOUTS),
    Hook(OffPolicyAlgorithm, "dump_logs", "", ROLLOUTS),
    Hook(OffPolicyAlgorithm, "train", "gradient_steps batch_size", OffPolicyAlgorithm.learn),
    Hook(TD3, "train", "gradient_steps batch_size", OffPolicyAlgorithm.learn),
    Hook(PPO, "train", "", OnPolicyAlgorithm.learn),
    Hook(OnPolicyAlgorithm, "train", "", OnPolicyAlgorithm.learn),
    Hook(OnPolicyAlgorithm, "dump_logs", "iteration", OnPolicyAlgorithm.learn),
    Hook(
        OnPolicyAlgorithm,
        "collect_rollouts",
        "env callback rollout_buffer n_rollout_steps",
        OnPolicyAlgorithm.learn,
    ),
    Hook(OnPolicyAlgorithm, "learn", LEARN, PPO.learn),
    Hook(OnPolicyAlgorithm, "_setup_model", "", PPO._setup_model),
    Hook(OnPolicyAlgorithm, "_get_torch_save_params", "", BaseAlgorithm.save),
    Hook(BaseAlgorithm, "_update_learning_rate", "optimizers", TD3.train),
    Hook(BaseAlgorithm, "predict", PREDICT, evaluation.evaluate_policy),
    # Replay.
    Hook(RolloutBuffer, "reset", "", OnPolicyAlgorithm.collect_rollouts),
    Hook(RolloutBuffer, "compute_returns_and_advantage", "last_values dones", OnPolicyAlgorithm.collect_rollouts),
    Hook(ReplayBuffer, "add", "obs next_obs action reward done infos", OffPolicyAlgorithm._store_transition),
    Hook(ReplayBuffer, "sample", "batch_size env", DQN.train),
    Hook(ReplayBuffer, "_get_samples", "batch_inds env", BaseBuffer.sample),
    Hook(BaseBuffer, "reset"),
    Hook(BaseBuffer, "size"),
    Hook(BaseBuffer, "_normalize_obs", "obs env", ReplayBuffer._get_samples),
    Hook(BaseBuffer, "_normalize_reward", "reward env", ReplayBuffer._get_samples),
    # Policies.
    Hook(BasePolicy, "predict", PREDICT, BaseAlgorithm.predict),
    Hook(BasePolicy, "_predict", "observation deterministic", BasePolicy.predict),
    Hook(BasePolicy, "_dummy_schedule", "progress_remaining"),
    Hook(BaseModel, "_get_constructor_parameters", "", BaseModel.save),
    Hook(BaseModel, "obs_to_tensor", "observation", BasePolicy.predict),
    Hook(BaseModel, "_update_features_extractor", "net_kwargs features_extractor", TD3Policy.make_actor),
    Hook(BaseModel, "make_features_extractor", "", BaseModel._update_features_extractor),
    Hook(BaseModel, "set_training_mode", "mode", ROLLOUTS),
    Hook(TD3Policy, "make_actor", "features_extractor", TD3Policy._build),
    Hook(TD3Policy, "make_critic", "features_extractor", TD3Policy._build),
    Hook(Actor, "_predict", "observation deterministic"),
    Hook(ContinuousCritic, "forward", "obs actions"),
    Hook(ContinuousCritic, "q1_forward", "obs actions", TD3.train),
    Hook(FlattenExtractor, "forward", "observations"),
    # Callbacks, noise, environments.
    Hook(BaseCallback, "_init_callback", "", BaseCallback.init_callback),
    Hook(BaseCallback, "_on_training_start", "", BaseCallback.on_training_start),
    Hook(BaseCallback, "_on_rollout_start", "", BaseCallback.on_rollout_start),
    Hook(BaseCallback, "_on_rollout_end", "", BaseCallback.on_rollout_end),
    Hook(BaseCallback, "_on_step", "", BaseCallback.on_step),
    Hook(BaseCallback, "_on_training_end", "", BaseCallback.on_training_end),
    Hook(EvalCallback, "_on_step"),
    Hook(CheckpointCallback, "_on_step"),
    Hook(CheckpointCallback, "_checkpoint_path", "checkpoint_type extension", CheckpointCallback._on_step),
    Hook(ActionNoise, "__call__"),
    Hook(ActionNoise, "reset", "", ROLLOUTS),
    Hook(VecEnvWrapper, "reset"),
    Hook(VecEnvWrapper, "step_async", "actions", VecEnv.step),
    Hook(VecEnvWrapper, "step_wait", "", VecEnv.step),
    Hook(VecEnv, "seed", "seed", env_util.make_vec_env),
    Hook(SubprocVecEnv, "close"),
    # What actors are for SB3.
    Hook(VecEnv, "reset", "", BaseAlgorithm._setup_learn),
    Hook(VecEnv, "step_async", "actions", VecEnv.step),
    Hook(VecEnv, "step_wait", "", VecEnv.step),
    Hook(VecEnv, "close"),
    Hook(VecEnv, "get_attr", "attr_name indices", VecEnv.__init__),
    Hook(VecEnv, "set_attr", "attr_name value indices"),
    Hook(VecEnv, "env_method", "method_name method_args indices method_kwargs"),
    Hook(VecEnv, "env_is_wrapped", "wrapper_class indices"),
    Hook(VecEnv, "get_images", "", VecEnv.render),
    Hook(VecEnv, "set_options", "options"),
    Hook(VecEnv, "_get_indices", "indices", DummyVecEnv._get_target_envs),
    Hook(VecEnv, "_reset_seeds", "", DummyVecEnv.reset),
    Hook(VecEnv, "_reset_options", "", DummyVecEnv.reset),
    Hook(BaseAlgorithm, "_update_info_buffer", "infos dones", ROLLOUTS),
    Hook(VecNormalize, "set_venv", "venv", VecNormalize.load),
    Hook(VecNormalize, "normalize_obs", "obs", VecNormalize.step_wait),
    Hook(RunningMeanStd, "update_from_moments", "batch_mean batch_var batch_count", RunningMeanStd.update),
]
# Attributes that we read, and which function of SB3 sets them.
STATE: dict[str, Callable[..., Any]] = {
    "_last_obs": OffPolicyAlgorithm._store_transition,
    "_last_episode_starts": OnPolicyAlgorithm.collect_rollouts,
    "_last_lstm_states": RecurrentPPO.collect_rollouts,
    "_n_updates": DQN.train,
    "_episode_num": OffPolicyAlgorithm.collect_rollouts,
    "_seeds": VecEnv.seed,
    "old_obs": VecNormalize.step_wait,
    "_total_timesteps": BaseAlgorithm._setup_learn,
    "_current_progress_remaining": BaseAlgorithm._update_current_progress_remaining,
    "_vec_normalize_env": BaseAlgorithm.set_env,
    "_custom_logger": BaseAlgorithm.set_logger,
    "_stats_window_size": BaseAlgorithm.__init__,
    "best_mean_reward": EvalCallback.__init__,
    **dict.fromkeys(
        ("evaluations_timesteps", "evaluations_results", "evaluations_length", "evaluations_successes"),
        EvalCallback.__init__,
    ),
}
FUNCTIONS = [
    (evaluation, "evaluate_policy",
     "model env n_eval_episodes deterministic render callback reward_threshold return_episode_rewards warn"),
    (env_util, "make_vec_env",
     "env_id n_envs seed start_index monitor_dir wrapper_class env_kwargs vec_env_cls vec_env_kwargs monitor_kwargs "
     "wrapper_kwargs"),
    (monitor.ResultsWriter, "__init__", "filename header extra_keys override_existing"),
    (logger, "configure", "folder format_strings"),
    (preprocessing, "get_action_dim", "action_space"),
    (preprocessing, "is_image_space", "observation_space check_channels normalized_image"),
    (preprocessing, "is_image_space_channels_first", "observation_space"),
    (preprocessing, "preprocess_obs", "obs observation_space normalize_images"),
    (save_util, "load_from_pkl", "path verbose"),
    (save_util, "load_from_zip_file", "load_path load_data custom_objects device verbose print_system_info"),
    (torch_layers, "create_mlp",
     "input_dim output_dim net_arch activation_fn squash_output with_bias pre_linear_modules post_linear_modules"),
    (utils, "check_for_correct_spaces", "env observation_space action_space"),
    (utils, "obs_as_tensor", "obs device"),
    (utils, "polyak_update", "params target_params tau"),
    (utils, "set_random_seed", "seed using_cuda"),
    (utils, "update_learning_rate", "optimizer learning_rate"),
    (vec_env, "sync_envs_normalization", "env eval_env"),
    (vec_env, "unwrap_vec_normalize", "env"),
]  # fmt: skip
# Private names that are read of others than SB3.
ELSEWHERE = {
    "_asdict", "_fields", "_replace",  # of a NamedTuple
    "_exit",  # of os
    "_foreach_add_", "_foreach_mul_", "_to_copy",  # torch's operators
    "_eval_env_kwargs_args",  # rl-zoo3's, see its own contract
}  # fmt: skip


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: f"{hook.owner.__name__}.{hook.name}")
def test_a_hook_is_there_and_called(hook: Hook) -> None:
    assert parameters_of(hook.owner, hook.name) == hook.parameters.split()
    if hook.called_by is not None:
        assert hook.name in calls_in(hook.called_by)


@pytest.mark.parametrize("name", STATE)
def test_an_attribute_is_set_there(name: str) -> None:
    assert name in attributes_set_in(STATE[name])


@pytest.mark.parametrize(("module", "name", "parameters"), FUNCTIONS, ids=lambda x: x if isinstance(x, str) else "")
def test_a_function_takes_these(module: Any, name: str, parameters: str) -> None:
    assert parameters_of(module, name) == parameters.split()


def test_nothing_else_is_overridden() -> None:
    known = {(hook.owner, hook.name) for hook in HOOKS}
    found = overridden("stable_baselines3")
    assert len(found) > 40
    more = {f"{owner.__name__}.{name}": ours for (owner, name), ours in found.items() if (owner, name) not in known}
    assert not {key: ours for key, ours in more.items() if not key.endswith(".policy_aliases")}


def test_no_other_private_name_is_read() -> None:
    theirs = {name for name in attributes_set_in(BaseAlgorithm.__init__) if name.startswith("_")}
    read = private_names(theirs)
    assert {"_last_obs", "_n_updates", "_normalize_obs"} <= read.keys()
    assert not {name: read[name] for name in read.keys() - STATE.keys() - ELSEWHERE - {hook.name for hook in HOOKS}}


def test_one_environment_step_has_this_order() -> None:
    """Acting, the environment, callbacks, storing; then the clock, the learner's hook and the log."""
    order = [
        "_sample_action", "step", "on_step", "_update_info_buffer", "_store_transition",
        "_update_current_progress_remaining", "_on_step", "dump_logs",
    ]  # fmt: skip
    calls = calls_in(ROLLOUTS)
    assert [name for name in calls if name in order] == order
    learn = calls_in(OffPolicyAlgorithm.learn)
    assert learn.index("collect_rollouts") < learn.index("train")
    on_policy = calls_in(OnPolicyAlgorithm.learn)
    assert on_policy.index("collect_rollouts") < on_policy.index("train")
    setup = calls_in(PPO.train)
    assert setup[:2] == ["set_training_mode", "_update_learning_rate"]


def test_what_is_normalised_by_is_shown_in_this_order() -> None:
    """Observations after a step; then returns of all environments, of which those that ended begin anew."""
    calls = calls_in(VecNormalize.step_wait)
    order = ["step_wait", "update", "normalize_obs", "_update_reward", "normalize_reward"]
    assert [name for name in dict.fromkeys(calls) if name in order] == order
    assert calls_in(VecNormalize._update_reward) == ["update"]
    assert calls_in(RunningMeanStd.update) == ["mean", "var", "update_from_moments"]


def test_an_environment_is_counted_under_this_name() -> None:
    """By which it is found out which one raised."""
    for loop in (DummyVecEnv.step_wait, DummyVecEnv.reset):
        assert "env_idx" in loop.__code__.co_varnames


def test_a_transition_is_stored_with_its_true_final_observation() -> None:
    assert {"terminal_observation"} <= texts_in(OffPolicyAlgorithm._store_transition)
    assert {"TimeLimit.truncated"} <= texts_in(function_of(ReplayBuffer, "add"))


def test_a_zip_has_these_members() -> None:
    """Read without unpickling by `sb3_ext.exchange.sb3_zip`."""
    written = texts_in(save_util.save_to_zip_file)
    assert {"data", "pytorch_variables.pth", ".pth", "_stable_baselines3_version"} <= written
