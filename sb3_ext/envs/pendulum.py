"""Pendulum-v1 with discrete torques, and as single pictures in which the velocity cannot be seen.

Dynamics and reward are always gymnasium's: nothing here knows an equation of motion.
"""

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.utils import RecordConstructorArgs

# The picture, in pixels. The rod is longer than in gymnasium's rendering (19 at this size), so that it turns visibly.
SIZE = 84  # the frame size of DQN (Mnih et al. 2015)
ROD_LENGTH = 30.0
ROD_HALF_WIDTH = 3.0
BOB_RADIUS = 7.0

# Pixel centres relative to the picture's centre, x to the right and y down.
_PIXEL = (np.arange(SIZE) - (SIZE - 1) / 2).astype(np.float32)  # [SIZE]
_RADIUS_SQUARED = _PIXEL[:, None] ** 2 + _PIXEL[None, :] ** 2  # [SIZE, SIZE]
# A pixel's coverage is 1/2 + its depth below the edge, cut to [0, 1]. For a disc the depth R - d is taken as
# (R^2 - d^2) / (2 R): equal to first order at the edge and free of a square root. With the bob's centre at distance
# L along the rod d^2 = r^2 - 2 L along + L^2, of which all but the middle term is constant.
_HUB = 0.5 + (ROD_HALF_WIDTH**2 - _RADIUS_SQUARED) / (2 * ROD_HALF_WIDTH)
_BOB_CONSTANT = 0.5 + (BOB_RADIUS**2 - _RADIUS_SQUARED - ROD_LENGTH**2) / (2 * BOB_RADIUS)
_BOB_SLOPE = ROD_LENGTH / BOB_RADIUS


def draw_pendulum(theta: float) -> np.ndarray:
    """
    Picture of a pendulum: white, anti-aliased, a rod from the centre with a round bob at its end, on black.

    :param theta: Angle in radians as in Pendulum-v1: 0 is upright, positive is counter-clockwise
    :return: ``(84, 84)`` uint8, row 0 on top
    """
    sin, cos = math.sin(theta), math.cos(theta)  # the rod points to (x, y) = (-sin, -cos)
    along = (-cos * _PIXEL)[:, None] + (-sin * _PIXEL)[None, :]
    across = (-sin * _PIXEL)[:, None] + (cos * _PIXEL)[None, :]
    rod = np.minimum((ROD_HALF_WIDTH + 0.5) - np.abs(across), (ROD_LENGTH + 1) / 2 - np.abs(along - ROD_LENGTH / 2))
    bob = _BOB_CONSTANT + _BOB_SLOPE * along
    coverage = np.maximum(np.maximum(rod, bob), _HUB)
    # Half a grey level is added because the conversion cuts; 255.5 still becomes 255.
    grey: np.ndarray = (np.minimum(np.maximum(coverage, 0.0), 1.0) * 255.0 + 0.5).astype(np.uint8)
    return grey


class DiscreteTorque(gym.ActionWrapper[np.ndarray, np.int64, np.ndarray], RecordConstructorArgs):
    """Choose among evenly spaced torques, both ends included: -2, -1, 0, 1, 2 for Pendulum-v1 and ``n_torques=5``.

    Not gymnasium's ``DiscretizeAction``: that takes bin centres (-1.6 .. 1.6 here), so the full torque is out of
    reach, and it is missing from gymnasium 1.0 and 1.1.

    :param env: Environment with a bounded Box action of shape ``(1,)``
    :param n_torques: Number of torques, 2 or more; an odd number includes the middle, here no torque
    :raises ValueError: if the action space is another one or ``n_torques`` is below 2
    """

    def __init__(self, env: gym.Env, n_torques: int = 5) -> None:
        space = env.action_space
        if not isinstance(space, spaces.Box) or space.shape != (1,) or not space.is_bounded():
            raise ValueError(f"DiscreteTorque needs a bounded Box action space of shape (1,), got {space}")
        if n_torques < 2:
            raise ValueError(f"n_torques {n_torques} must be 2 or more: both ends of the range are included")
        RecordConstructorArgs.__init__(self, n_torques=n_torques)
        gym.ActionWrapper.__init__(self, env)
        self.torques = np.linspace(space.low[0], space.high[0], n_torques, dtype=space.dtype)  # [n_torques]
        self.action_space = spaces.Discrete(n_torques)

    def action(self, action: int | np.int64) -> np.ndarray:
        """
        :param action: In ``0..n_torques-1``, from the lowest torque to the highest
        :return: The torque, ``(1,)``
        """
        return self.torques[[int(action)]]

    def get_action_meanings(self) -> list[str]:
        """:return: The torques, as Atari's environments name their actions"""
        return [f"torque {torque:g}" for torque in self.torques]


class PendulumPixelsEnv(gym.Env[np.ndarray, Any]):
    """Pendulum-v1 seen as one 84 x 84 picture per step: the velocity is hidden. Id ``sb3_ext/PendulumPixels-v0``.

    Observation: ``(84, 84, 1)`` uint8 from :func:`draw_pendulum`. Reward, start and dynamics are Pendulum-v1's, and
    so is the course of an episode for a given seed and actions; the registered id truncates at 200 steps as well.

    :param n_torques: The action is ``Discrete(n_torques)``, mapped by :class:`DiscreteTorque`;
        None keeps Pendulum-v1's Box of shape ``(1,)``
    :param render_mode: None or "rgb_array", the observation as ``(84, 84, 3)`` uint8
    :raises ValueError: if ``n_torques`` is below 2 or the render mode is another one
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - gymnasium declares it so

    def __init__(self, n_torques: int | None = 5, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f'render_mode {render_mode!r} must be None or "rgb_array"')
        self.render_mode = render_mode
        self.pendulum = PendulumEnv()
        self._driven: gym.Env = self.pendulum if n_torques is None else DiscreteTorque(self.pendulum, n_torques)
        self.action_space = self._driven.action_space
        self.observation_space = spaces.Box(0, 255, (SIZE, SIZE, 1), np.uint8)

    def get_action_meanings(self) -> list[str]:
        """:return: The torques that can be chosen, none where they are a Box"""
        return self._driven.get_action_meanings() if isinstance(self._driven, DiscreteTorque) else []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """
        :param seed: Repeats the start of Pendulum-v1 with the same seed
        :param options: Pendulum-v1's ``x_init`` and ``y_init``
        :return: The first picture and an empty info
        """
        super().reset(seed=seed)
        self.pendulum.np_random = self.np_random  # one generator for both, so that its draws follow each other
        self.pendulum.reset(options=options)
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """
        :param action: A torque's index, or the torque ``(1,)`` in N m with ``n_torques=None``
        :return: Next picture, reward, terminated (never), truncated (never), empty info
        """
        _, reward, terminated, truncated, info = self._driven.step(action)
        return self._observation(), float(reward), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """
        :return: ``(84, 84, 3)`` uint8, or None without a render mode
        """
        if self.render_mode is None:
            return None
        return np.repeat(self._observation(), 3, axis=2)

    def _observation(self) -> np.ndarray:
        return draw_pendulum(float(self.pendulum.state[0]))[:, :, None]
