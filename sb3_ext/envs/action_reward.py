"""Previous action and previous reward as part of the observation.

R2D2's LSTM is fed with both (Kapturowski et al. 2019, https://openreview.net/forum?id=r1lyTjAqYX). As they travel
inside the observation, replay, Monitor, VecEnvs, ``evaluate_policy`` and rl-zoo3's ``env_wrapper`` need
to know nothing of it.
"""

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

OBSERVATION_KEY = "observation"
ACTION_KEY = "previous_action"
REWARD_KEY = "previous_reward"


class PreviousActionReward(gym.Wrapper[dict[str, Any], Any, Any, Any], RecordConstructorArgs):
    """Make the observation a Dict that also holds the action and the reward that led to it.

    ====================  ==========================  ===========================================================
    key                   space                       content
    ====================  ==========================  ===========================================================
    ``observation``       the original one            the original one; a Dict keeps its own keys in place of this
    ``previous_action``   Box(0, 1, (A,), float32)    one-hot of the action just taken, zeros after ``reset``
    ``previous_reward``   Box(-inf, inf, (1,), ...)   the reward just received, float32, 0 after ``reset``
    ====================  ==========================  ===========================================================

    The last observation of an episode holds the last action and the last reward. The reward is the one the wrapped
    environment returns: apply wrappers that change the reward before this one, those that hide observations too.

    :param env: Environment with a Discrete action space
    :raises ValueError: if the actions are not Discrete, or if a Dict observation already has one of the two keys
    """

    def __init__(self, env: gym.Env) -> None:
        action_space, space = env.action_space, env.observation_space
        if not isinstance(action_space, spaces.Discrete):
            raise ValueError(f"PreviousActionReward needs a Discrete action space, got {action_space}")
        keys = dict(space.spaces) if isinstance(space, spaces.Dict) else {OBSERVATION_KEY: space}
        clash = sorted({ACTION_KEY, REWARD_KEY} & keys.keys())
        if clash:
            raise ValueError(
                f"the observation already has the keys {clash}: rename them, or apply PreviousActionReward only once"
            )
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self._is_dict = isinstance(space, spaces.Dict)
        self._n_actions = int(action_space.n)
        self._first_action = int(action_space.start)
        self.observation_space = spaces.Dict(
            {
                **keys,
                ACTION_KEY: spaces.Box(0.0, 1.0, (self._n_actions,), np.float32),
                REWARD_KEY: spaces.Box(-np.inf, np.inf, (1,), np.float32),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        :param seed: Passed on
        :param options: Passed on
        :return: Observation with no previous action and reward 0, and the info
        """
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with_previous(observation, action=None, reward=0.0), info

    def step(self, action: Any) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        """
        :param action: Passed on
        :return: As the wrapped environment's, the observation with this action and its reward added
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._with_previous(observation, int(action), float(reward)), reward, terminated, truncated, info

    def _with_previous(self, observation: Any, action: int | None, reward: float) -> dict[str, Any]:
        one_hot = np.zeros(self._n_actions, np.float32)
        if action is not None:
            one_hot[action - self._first_action] = 1.0
        keys = observation if self._is_dict else {OBSERVATION_KEY: observation}
        return {**keys, ACTION_KEY: one_hot, REWARD_KEY: np.array([reward], np.float32)}
