"""What Optuna may vary of tables: steps and exploration, as a table has no network. Names as in `hyperparams_opt`."""

from __future__ import annotations

from typing import Any

import optuna


def sample_tablealgorithm_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    :param trial: of the study
    :param n_actions: of a Box action space; unused, as actions are discrete
    :param n_envs: unused
    :param additional_args: of other algorithms; unused
    :return: keywords of `QLearning`, `ExpectedSARSA` and `DoubleQ`
    """
    return convert_tablealgorithm_params(_draw_table(trial))


def convert_tablealgorithm_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """
    :param sampled_params: what was drawn, by its names
    :return: keywords of any table
    """
    keywords = dict(sampled_params)
    keywords["gamma"] = 1 - keywords.pop("one_minus_gamma")
    falling = {"final": keywords.pop("epsilon_final"), "fraction": keywords.pop("epsilon_fraction")}
    keywords["exploration"] = {"epsilon_greedy": falling}
    return keywords


def sample_dynaq_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    Parameters as for `sample_tablealgorithm_params`.

    :return: keywords of `DynaQ`
    """
    return convert_tablealgorithm_params({**_draw_table(trial), **_draw_planning(trial)})


def sample_prioritizedsweeping_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    Parameters as for `sample_tablealgorithm_params`.

    :return: keywords of `PrioritizedSweeping`, which makes whole steps
    """
    threshold = trial.suggest_float("threshold", 1e-6, 1e-1, log=True)
    return convert_tablealgorithm_params({**_draw_exploring(trial), **_draw_planning(trial), "threshold": threshold})


def sample_sarsa_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    Parameters as for `sample_tablealgorithm_params`.

    :return: keywords of `SARSA`
    """
    drawn = {**_draw_table(trial), **_draw_rollout(trial), "lambda_": trial.suggest_float("lambda_", 0.0, 1.0)}
    return convert_sarsa_params(drawn)


def convert_sarsa_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """
    :param sampled_params: what was drawn, by its names
    :return: keywords of `SARSA` and `MonteCarlo`
    """
    keywords = convert_tablealgorithm_params(sampled_params)
    keywords["n_steps"] = 2 ** keywords.pop("n_steps_pow")
    return keywords


def sample_montecarlo_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """
    Parameters as for `sample_tablealgorithm_params`.

    :return: keywords of `MonteCarlo`
    """
    first_visit = trial.suggest_categorical("first_visit", [True, False])
    return convert_montecarlo_params({**_draw_table(trial), **_draw_rollout(trial), "first_visit": first_visit})


convert_dynaq_params = convert_prioritizedsweeping_params = convert_tablealgorithm_params
convert_montecarlo_params = convert_sarsa_params


def _draw_table(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.05, 1.0, log=True),
        "visit_power": trial.suggest_float("visit_power", 0.0, 1.0),
        **_draw_exploring(trial),
    }


def _draw_exploring(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "one_minus_gamma": trial.suggest_float("one_minus_gamma", 1e-3, 5e-2, log=True),
        "epsilon_final": trial.suggest_float("epsilon_final", 1e-3, 0.5, log=True),
        "epsilon_fraction": trial.suggest_float("epsilon_fraction", 0.1, 1.0),
    }


def _draw_planning(trial: optuna.Trial) -> dict[str, Any]:
    return {"planning_steps": trial.suggest_int("planning_steps", 1, 50, log=True)}


def _draw_rollout(trial: optuna.Trial) -> dict[str, Any]:
    return {"n_steps_pow": trial.suggest_int("n_steps_pow", 0, 6)}  # 1 to 64
