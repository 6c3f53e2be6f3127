"""
What a yml, a preset and the command line set, as `sb3-ext train` reads it: our yml where no ``-conf`` is given, unknown
keywords are named before anything is created, the zoo's words for noise and demonstrations become objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import ALGOS, get_wrapper_class
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_ext.algorithms import ALGORITHMS, IMITATORS
from sb3_ext.demonstrations import Demonstrations
from sb3_ext.errors import UserError
from sb3_ext.exchange.keywords import check_keywords, keywords_of
from sb3_ext.fitting import Given, saying_what_fits
from sb3_ext.imitation.labels import Expert
from sb3_ext.td3.noise import Laddered, Scheduled
from sb3_ext.zoo.checked_settings import check_import, checked
from sb3_ext.zoo.configs import config_path, read_blocks, read_presets, stock_path
from sb3_ext.zoo.experts import default_path, expert_of, recorded
from sb3_ext.zoo.registry import KEYBOARD
from sb3_ext.zoo.studies import check_trial
from sb3_ext.zoo.vec_wrappers import normalized_last

# Keys of a yml that rl-zoo3 uses up itself; all others are keywords of the algorithm.
ZOO_KEYS = {
    "actors",
    "callback",
    "env_kwargs",
    "env_wrapper",
    "frame_stack",
    "monitor_kwargs",
    "n_envs",
    "n_timesteps",
    "noise_final",
    "noise_fraction",
    "noise_ladder",
    "noise_std",
    "noise_type",
    "normalize",
    "policy",
    "vec_env_wrapper",
}
NOISE_KEYS = ("noise_final", "noise_fraction", "noise_ladder")


class SettingsReader(ExperimentManager):
    """
    rl-zoo3's manager, but for how it reads settings.

    :param preset: settings under ``presets`` in the yml, laid over the block of the environment; None = none
    :param demonstrations: what an imitating algorithm learns from, in place of the yml's; None = the yml's, or
        demos/ENV.npz
    :param expert: whom an algorithm asks that can, in place of the yml's; None = the yml's
    """

    # Any: rl-zoo3's forty parameters pass through unread.
    def __init__(
        self,
        *args: Any,
        preset: str | None = None,
        demonstrations: str | None = None,
        expert: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.preset = preset
        self.demonstrations = demonstrations
        self.expert = expert
        self._fitted: Given | None = None
        """policy and environment of which a model is made, as soon as both are known"""
        self.asks = self.algo in ALGORITHMS and ALGORITHMS[self.algo].asks
        if expert is not None and not self.asks:
            raise UserError(f"--expert {expert}: {self.algo} asks nobody, dagger does")
        if demonstrations is not None and self.algo not in IMITATORS:
            raise UserError(f"--demonstrations {demonstrations}: {self.algo} imitates nobody; gail and dac do")
        if self.args.conf_file is None and self.algo in ALGORITHMS:
            self.config = str(config_path(self.algo))
        elif self.args.conf_file is None:
            self.config = str(stock_path(self.algo, self.env_name.gym_id, self.config) or self.config)

    def setup_experiment(self) -> tuple[BaseAlgorithm, dict[str, Any]] | None:
        """Adds: stock algorithms, too, say what would fit the environment."""
        with saying_what_fits(lambda: self._fitted):
            return super().setup_experiment()

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        Adds: the preset, that ``--trial-id 0`` means the first trial, which rl-zoo3 takes for none given, and that
        algorithms which keep raw observations are normalised last. What it is read from, and what is set, are checked.
        """
        if Path(self.config).suffix in (".yml", ".yaml"):
            read_blocks(self.config)
        elif Path(self.config).suffix != ".py":
            check_import("-conf", f"{self.config}.hyperparams")
        if self.trial_id is not None:
            check_trial(self.algo, self.storage, self.study_name, self.trial_id)
        if self.preset is not None:
            presets = read_presets(self.config)
            check_keywords([self.preset], set(presets), f"preset of {self.algo}")
            self.custom_hyperparams = {**presets[self.preset], **(self.custom_hyperparams or {})}
        if self.trial_id == 0 and self.storage and self.study_name:
            from_trial = self.load_trial(self.storage, self.study_name, 0)
            self.custom_hyperparams = {**from_trial, **(self.custom_hyperparams or {})}
        hyperparams, saved = (checked(given) for given in super().read_hyperparameters())
        keeps_raw = issubclass(ALGOS[self.algo], OffPolicyAlgorithm) or self.algo in IMITATORS
        if hyperparams.get("normalize") and keeps_raw:
            space = self._observation_space(hyperparams)
            hyperparams, saved = normalized_last(hyperparams, space), normalized_last(saved, space)
        return hyperparams, saved

    def _observation_space(self, hyperparams: dict[str, Any]) -> gym.Space[Any]:
        """:return: of one environment in the wrappers of the yml"""
        kwargs = {**(hyperparams.get("env_kwargs") or {}), **self.env_kwargs}
        env = gym.spec(self.env_name.gym_id).make(**kwargs)
        wrap = get_wrapper_class(hyperparams)
        wrapped = env if wrap is None else wrap(env)
        wrapped.close()
        return wrapped.observation_space

    def _preprocess_hyperparams(
        self, hyperparams: dict[str, Any]
    ) -> tuple[dict[str, Any], Callable[..., Any] | None, list[BaseCallback], Callable[..., Any] | None]:
        """
        Adds: missing and unknown keys are named, and `env_kwargs` hold for evaluation too. What `super` returns are the
        keywords of the algorithm.
        """
        for key in ("policy", "n_timesteps"):
            if key not in hyperparams:
                raise ValueError(f"the block for {self.env_name.gym_id} in {self.config} lacks {key!r}")
        policy = hyperparams["policy"]
        if "." not in policy:
            check_keywords([policy], set(ALGOS[self.algo].policy_aliases), f"policy of {self.algo}")
        processed = super()._preprocess_hyperparams(hyperparams)
        if self._eval_env_kwargs_args is None:  # rl-zoo3 evaluates on the default environment if they come from the yml
            self.eval_env_kwargs = self.env_kwargs
        given = processed[0].get("demonstrations")
        if self.algo in IMITATORS and not (self.asks and given is None and self.demonstrations is None):
            processed[0]["demonstrations"] = self._demonstrations(given)
        if self.asks:
            processed[0]["expert"] = self._expert(processed[0].get("expert"))
        algorithm = ALGOS[self.algo]
        check_keywords(processed[0], keywords_of(algorithm) | ZOO_KEYS, f"hyperparameter of {self.algo}")
        policy_class = algorithm.policy_aliases.get(policy) if isinstance(policy, str) else policy
        if policy_class is not None:
            known = keywords_of(policy_class)
            check_keywords(processed[0].get("policy_kwargs") or {}, known, f"key of policy_kwargs for {policy}")
        return processed

    @staticmethod
    def _preprocess_schedules(hyperparams: dict[str, Any]) -> dict[str, Any]:
        """Adds: the discriminator's rate, and how often an expert drives, may be ``lin_1e-3`` as the policy's rate."""
        for key in ("discriminator_learning_rate", "beta"):
            if isinstance(hyperparams.get(key), str):
                rate = ExperimentManager._preprocess_schedules({"learning_rate": hyperparams[key]})
                hyperparams[key] = rate["learning_rate"]
        return ExperimentManager._preprocess_schedules(hyperparams)

    def _preprocess_action_noise(
        self, hyperparams: dict[str, Any], saved_hyperparams: dict[str, Any], env: VecEnv
    ) -> dict[str, Any]:
        """
        Adds: ``noise_final`` and ``noise_fraction``, a schedule of the noise, and ``noise_ladder``, its factors in the
        first and the last environment.
        """
        self._fitted = Given.of(ALGOS[self.algo], hyperparams["policy"], env, hyperparams.get("policy_kwargs"))
        given = {key: hyperparams.pop(key) for key in NOISE_KEYS if key in hyperparams}
        processed = super()._preprocess_action_noise(hyperparams, saved_hyperparams, env)
        if given:
            processed["action_noise"] = scaled_noise(processed.get("action_noise"), **given)
        return processed

    def _expert(self, given: str | dict[str, Any] | None) -> Expert:
        """
        :param given: in the yml, see `expert_of`
        :return: of the command line, else of the yml; a person is shown pictures of the environment
        """
        given = self.expert if self.expert is not None else given
        if given is None:
            raise UserError(
                f"{self.algo} asks an expert: --expert planner, keyboard or the algorithm of a trained agent"
            )
        found = expert_of(self.env_name.gym_id, given, self.env_kwargs)
        if found == KEYBOARD:
            if self.n_envs > 1:
                raise UserError(
                    f"--expert {KEYBOARD}: a person labels one environment, there are {self.n_envs}: -params n_envs:1"
                )
            # A dictionary of its own: evaluations draw no pictures.
            self.env_kwargs = {**self.env_kwargs, "render_mode": "rgb_array"}
        return found

    def _demonstrations(self, given: str | dict[str, Any] | None) -> dict[str, Any] | Demonstrations:
        """
        :param given: in the yml: a path, ``source:`` and other keywords of `sb3_ext.demonstrations.load`, or ``model:``
            with the algorithm of a trained agent, or ``planner``, and how to record it
        :return: keywords of `load`, for a file or a folder that is there, or fresh recordings
        """
        env_id = self.env_name.gym_id
        if self.demonstrations is not None:
            given = self.demonstrations
        if isinstance(given, dict):
            if "source" in given:
                return {"env_id": env_id, **given}
            return recorded(env_id, given, self.env_kwargs)
        path = default_path(env_id) if given is None else Path(given)
        if not path.exists():
            raise UserError(
                f"{self.algo} learns from demonstrations, and there is no {path}. Record them from a trained agent: "
                f"`sb3-ext train --algo ppo --env {env_id}`, then `sb3-ext demos record --algo ppo --env {env_id} "
                f"-o {path}`; or play yourself: `sb3-ext demos play {env_id} -o {path}`"
            )
        return {"source": str(path), "env_id": env_id}


def scaled_noise(
    noise: ActionNoise | None,
    noise_final: float = 1.0,
    noise_fraction: float = 1.0,
    noise_ladder: Sequence[float] = (1.0, 1.0),
) -> ActionNoise:
    """
    :param noise: of ``noise_type`` and ``noise_std``, or None
    :param noise_final: see `Scheduled`
    :param noise_fraction: see `Scheduled`
    :param noise_ladder: the two of `Laddered`
    :return: the scaled noise
    :raises UserError: without a noise
    :raises ValueError: for values out of range
    """
    if noise is None:
        raise UserError(f"{', '.join(NOISE_KEYS)} scale the noise of noise_type and noise_std: give these too")
    if len(noise_ladder) != 2:
        raise UserError(f"noise_ladder {noise_ladder} must be two factors, of the first and the last environment")
    if noise_ladder[0] != 1.0 or noise_ladder[1] != 1.0:
        noise = Laddered(noise, *noise_ladder)
    return Scheduled(noise, noise_final, noise_fraction) if noise_final != 1.0 else noise
