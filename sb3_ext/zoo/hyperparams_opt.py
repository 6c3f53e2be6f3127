"""
What Optuna may vary of our algorithms; of tables, see `table_searches`.

A converter gets exactly what a sampler drew, from the trial or from a stored study (``--trial-id``), so both give the
same keywords. They replace the yml's, ``policy_kwargs`` as a whole: a network size that is not drawn is the default.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import optuna

from sb3_ext.zoo import table_searches


class Sampler(Protocol):
    """rl-zoo3's."""

    def __call__(
        self, trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
    ) -> dict[str, Any]: ...


class Converter(Protocol):
    """rl-zoo3's."""

    def __call__(self, sampled_params: dict[str, Any]) -> dict[str, Any]: ...


def sample_r2d2_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    :param trial: of the study
    :param n_actions: of a Box action space; unused, as actions are discrete
    :param n_envs: a single environment explores by a schedule, several by a ladder
    :param additional_args: of other algorithms; unused
    :return: keywords of `R2D2`
    """
    drawn = _draw_windows(trial)
    if n_envs == 1:
        drawn["epsilon_fraction"] = trial.suggest_float("epsilon_fraction", 0.05, 0.5)
        drawn["epsilon_final"] = trial.suggest_float("epsilon_final", 0.005, 0.1, log=True)
    else:
        drawn["ladder_base"] = trial.suggest_float("ladder_base", 0.1, 0.6)
        drawn["ladder_alpha"] = trial.suggest_float("ladder_alpha", 1.0, 9.0)
    return convert_r2d2_params(drawn)


def _draw_windows(trial: optuna.Trial) -> dict[str, Any]:
    return {
        **_draw_q_learning(trial),
        # Geometry in units of the period, so that it always divides the sequence length.
        "period": trial.suggest_categorical("period", [5, 10, 20, 40]),
        "sequence_periods": trial.suggest_int("sequence_periods", 1, 3),
        "burn_in_periods": trial.suggest_int("burn_in_periods", 0, 2),
        "lstm_hidden_size": trial.suggest_categorical("lstm_hidden_size", [32, 64, 128]),
    }


def _draw_q_learning(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 3e-3, log=True),
        "one_minus_gamma": trial.suggest_float("one_minus_gamma", 1e-3, 5e-2, log=True),
        "batch_size_pow": trial.suggest_int("batch_size_pow", 4, 7),  # 16 to 128
        "n_steps": trial.suggest_int("n_steps", 1, 5),
        "gradient_steps": trial.suggest_int("gradient_steps", 1, 8),
        "target_update_interval": trial.suggest_int("target_update_interval", 5, 500, log=True),
        "priority_alpha": trial.suggest_float("priority_alpha", 0.0, 0.9),
        "priority_beta": trial.suggest_float("priority_beta", 0.0, 1.0),
        "net_arch": trial.suggest_categorical("net_arch", ["tiny", "small", "medium"]),
    }


def convert_r2d2_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """
    :param sampled_params: what `sample_r2d2_params` drew, by its names
    :return: keywords of `R2D2`
    """
    keywords = _convert_q_learning(sampled_params)
    period = keywords["period"]
    keywords["sequence_length"] = period * keywords.pop("sequence_periods")
    keywords["burn_in"] = period * keywords.pop("burn_in_periods")
    keywords["policy_kwargs"]["lstm_hidden_size"] = keywords.pop("lstm_hidden_size")
    return keywords


def _convert_q_learning(sampled_params: dict[str, Any]) -> dict[str, Any]:
    keywords = dict(sampled_params)
    keywords["gamma"] = 1 - keywords.pop("one_minus_gamma")
    keywords["batch_size"] = 2 ** keywords.pop("batch_size_pow")
    widths = {"tiny": [32], "small": [64], "medium": [128]}
    keywords["policy_kwargs"] = {"net_arch": widths[keywords.pop("net_arch")]}
    proportional = {"alpha": keywords.pop("priority_alpha"), "beta": keywords.pop("priority_beta")}
    if "head" in keywords:  # Rainbow's and RainbowR's
        keywords["head"] = {keywords["head"]: {"noise": keywords.pop("noise")}}
        keywords["exploration"] = "greedy"  # noise explores, and not a block's epsilon as well
        proportional["beta_final"] = 1.0
    keywords["sampler"] = {"proportional": proportional}
    if "ladder_base" in keywords:
        ladder = {"base": keywords.pop("ladder_base"), "alpha": keywords.pop("ladder_alpha")}
        keywords["exploration"] = {"epsilon_ladder": ladder}
    elif "epsilon_final" in keywords:
        falling = {"final": keywords.pop("epsilon_final"), "fraction": keywords.pop("epsilon_fraction")}
        keywords["exploration"] = {"epsilon_greedy": falling}
    return keywords


def sample_rainbow_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    Parameters as for `sample_r2d2_params`.

    :return: keywords of `Rainbow`
    """
    drawn = {**_draw_q_learning(trial), **_draw_rainbow(trial)}
    drawn["train_freq"] = trial.suggest_categorical("train_freq", [1, 4, 16])
    return convert_rainbow_params(drawn)


def convert_rainbow_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """
    :param sampled_params: what `sample_rainbow_params` drew, by its names
    :return: keywords of `Rainbow`
    """
    keywords = _convert_q_learning(sampled_params)
    (width,) = keywords["policy_kwargs"]["net_arch"]
    keywords["policy_kwargs"]["net_arch"] = [2 * width, 2 * width]  # nothing stands below the head of an MlpPolicy
    return keywords


def sample_rainbowr_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    Parameters as for `sample_r2d2_params`.

    :return: keywords of `RainbowR`
    """
    return convert_r2d2_params({**_draw_windows(trial), **_draw_rainbow(trial)})


def _draw_rainbow(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "head": trial.suggest_categorical("head", ["c51", "quantile"]),
        "noise": trial.suggest_float("noise", 0.05, 1.0, log=True),
    }


def sample_gail_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    Parameters as for `sample_r2d2_params`.

    :return: keywords of `GAIL`
    """
    return convert_gail_params(
        {
            **_draw_discriminator(trial),
            "n_steps_pow": trial.suggest_int("n_steps_pow", 5, 10),  # 32 to 1024
            "n_epochs": trial.suggest_int("n_epochs", 1, 20),
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 3e-3, log=True),
            "one_minus_gamma": trial.suggest_float("one_minus_gamma", 1e-3, 5e-2, log=True),
            "gae_lambda": trial.suggest_float("gae_lambda", 0.8, 1.0),
            "ent_coef": trial.suggest_float("ent_coef", 1e-5, 1e-1, log=True),
            "bc_epochs": trial.suggest_int("bc_epochs", 0, 20),
        }
    )


def convert_gail_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """
    :param sampled_params: what `sample_gail_params` drew, by its names
    :return: keywords of `GAIL`
    """
    keywords = _convert_discriminator(sampled_params)
    keywords["n_steps"] = 2 ** keywords.pop("n_steps_pow")
    return keywords


def sample_dagger_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    Parameters as for `sample_r2d2_params`.

    :return: keywords of `DAgger`
    """
    return convert_dagger_params(
        {
            "n_steps_pow": trial.suggest_int("n_steps_pow", 3, 8),  # 8 to 256
            "n_epochs": trial.suggest_int("n_epochs", 2, 40, log=True),
            "batch_size_pow": trial.suggest_int("batch_size_pow", 4, 8),  # 16 to 256
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
            "ent_coef": trial.suggest_float("ent_coef", 1e-5, 1e-1, log=True),
            "beta": trial.suggest_float("beta", 0.0, 0.9),
        }
    )


def convert_dagger_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """
    :param sampled_params: what `sample_dagger_params` drew, by its names
    :return: keywords of `DAgger`
    """
    keywords = dict(sampled_params)
    for name in ("n_steps", "batch_size"):
        keywords[name] = 2 ** keywords.pop(f"{name}_pow")
    return keywords


def sample_offpolicyimitation_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    Parameters as for `sample_r2d2_params`.

    :return: keywords of `DAC` and `DACSAC`
    """
    return _convert_discriminator(
        {
            **_draw_discriminator(trial),
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 3e-3, log=True),
            "one_minus_gamma": trial.suggest_float("one_minus_gamma", 1e-3, 5e-2, log=True),
            "tau": trial.suggest_float("tau", 1e-3, 5e-2, log=True),
        }
    )


def _draw_discriminator(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "reward": trial.suggest_categorical("reward", ["gail", "logd", "airl"]),
        "discriminator_learning_rate": trial.suggest_float("discriminator_learning_rate", 1e-4, 3e-3, log=True),
        "gradient_penalty": trial.suggest_float("gradient_penalty", 0.1, 10.0, log=True),
        "discriminator_entropy_coef": trial.suggest_float("discriminator_entropy_coef", 1e-4, 1e-1, log=True),
        "discriminator_width": trial.suggest_categorical("discriminator_width", [32, 64, 128]),
    }


def convert_offpolicyimitation_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """
    :param sampled_params: what `sample_offpolicyimitation_params` drew, by its names
    :return: keywords of `DAC` and `DACSAC`
    """
    return _convert_discriminator(sampled_params)


def _convert_discriminator(sampled_params: dict[str, Any]) -> dict[str, Any]:
    keywords = dict(sampled_params)
    keywords["gamma"] = 1 - keywords.pop("one_minus_gamma")
    width = keywords.pop("discriminator_width")
    keywords["discriminator_kwargs"] = {"net_arch": [width, width]}
    return keywords


def search_of(algorithm: type) -> tuple[Sampler, Converter] | None:
    """
    :param algorithm: class
    :return: ``sample_NAME_params`` and ``convert_NAME_params`` of this module or that of tables, as rl-zoo3 calls its
        own, by the name of the class or of the nearest base that has one; None where none has
    """
    names = [cls.__name__.lower() for cls in algorithm.__mro__]
    sampler, converter = (_first(f"{verb}_{name}_params" for name in names) for verb in ("sample", "convert"))
    return None if sampler is None or converter is None else (sampler, converter)


def _first(names: Iterator[str]) -> Any:  # Any: a sampler or a converter
    known = {**vars(table_searches), **globals()}
    return next((known[name] for name in names if name in known), None)
