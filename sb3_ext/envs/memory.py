"""Two environments that only a memory can solve. Best and chance returns are known exactly.

Both end by themselves (``terminated``), draw all their randomness at ``reset``, and show all zeros as the observation
after the last action. They render "rgb_array" because SB3's ``make_vec_env`` asks every environment for it.
"""

from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_ext.envs.memory_tables import N_SYMBOLS, memory_chain_tables, repeat_previous_tables
from sb3_ext.envs.rendering import check_render_mode
from sb3_ext.envs.tables import PomdpTables


def _bar(observation: np.ndarray, low: float) -> np.ndarray:
    """One 32 x 32 square per number, black for ``low`` and white for 1: [32, 32 n, 3] uint8 from [n]."""
    grey = np.rint((observation - low) / (1.0 - low) * 255.0).astype(np.uint8)
    return np.kron(grey, np.ones((32, 32), np.uint8))[:, :, None].repeat(3, axis=2)


class RepeatPreviousEnv(gym.Env[np.ndarray, np.int64]):
    """Say which of 4 symbols was shown k steps ago, at every step. Id ``sb3_ext/RepeatPrevious-v0``.

    After POPGym's RepeatPrevious (Morad et al. 2023, https://arxiv.org/abs/2303.01859), with two differences. Symbols
    are independent and uniform rather than dealt from a deck, so the chance return is exact. And k counts steps back
    from the present one; POPGym counts the present card as 1, so its ``k=5`` is our ``k=4``::

        k = 2       t =   0   1   2   3   4   5
        shown             2   0   3   3   1   0
        right answer      -   -   2   0   3   3        "-": reward 0 whatever the action

    Observation: ``(4,)`` float32, the present symbol one-hot. Action: ``Discrete(4)``, the answer.
    Reward: ``+1 / (length - k)`` if right, minus that if wrong, 0 in the first k steps.
    **Best return 1.0. Chance return -0.5** (1/4 right, 3/4 wrong), which is what every policy without memory gets
    on average; the worst is -1.0.

    :param k: How many steps back the asked symbol lies; ``k=0`` is the control without memory
    :param length: Steps in an episode, of which ``length - k`` are scored
    :param render_mode: None, "ansi" (one line of text), or "rgb_array" (the observation as a row of grey squares)
    :raises ValueError: if ``k`` is negative or ``length`` does not exceed it
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012 - gymnasium declares it so

    def __init__(self, k: int = 4, length: int = 52, render_mode: str | None = None) -> None:
        if k < 0:
            raise ValueError(f"k {k} must be 0 or more: it counts steps back")
        if length <= k:
            raise ValueError(f"length {length} must be greater than k {k}: otherwise no step is scored")
        check_render_mode(render_mode)
        self.k = k
        self.length = length
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0.0, 1.0, (N_SYMBOLS,), np.float32)
        self.action_space = spaces.Discrete(N_SYMBOLS)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """
        :param seed: Repeats the episode's symbols
        :param options: Not used
        :return: The first symbol and an empty info
        """
        super().reset(seed=seed)
        self._t = 0
        self._symbols = self.np_random.integers(N_SYMBOLS, size=self.length)
        return self._observation(), {}

    def step(self, action: int | np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """
        :param action: The answer, in ``0..3``
        :return: Next observation, reward, terminated, truncated (never), empty info
        """
        reward = 0.0
        if self._t >= self.k:
            right = int(action) == self._symbols[self._t - self.k]
            reward = (1.0 if right else -1.0) / (self.length - self.k)
        self._t += 1
        return self._observation(), reward, self._t >= self.length, False, {}

    def render(self) -> str | np.ndarray | None:
        """
        :return: The step, the symbol shown and the symbol asked for; or ``(32, 128, 3)`` uint8; or None
        """
        if self.render_mode is None:
            return None
        if self.render_mode == "rgb_array":
            return _bar(self._observation(), low=0.0)
        shown = self._symbols[self._t] if self._t < self.length else "-"
        asked = self._symbols[self._t - self.k] if self.k <= self._t < self.length else "-"
        return f"t={self._t}/{self.length} shown={shown} asked={asked}"

    @cached_property
    def pomdp(self) -> PomdpTables:
        """As tables, of 49 493 states by default. A ValueError if there are more than a million."""
        return repeat_previous_tables(self.k, self.length)

    def _observation(self) -> np.ndarray:
        one_hot = np.zeros(N_SYMBOLS, np.float32)
        if self._t < self.length:
            one_hot[self._symbols[self._t]] = 1.0
        return one_hot


class MemoryChainEnv(gym.Env[np.ndarray, np.int64]):
    """See one bit, wait, be asked for it: a T-maze without the walking. Id ``sb3_ext/MemoryChain-v0``.

    After bsuite's ``memory_len`` (Osband et al. 2020, https://arxiv.org/abs/1908.03568) and the T-maze of Bakker
    2001::

        length = 3      t =    0    1    2    3
        cue                   +1    0    0    0        -1 for bit 0, +1 for bit 1
        time                   0  1/3  2/3    1        t / length
        query                  0    0    0    1        the action taken here is the answer

    Observation: ``(3,)`` float32 ``[cue, time, query]``. Action: ``Discrete(2)``, counted at the query only.
    Reward: +1 for the right answer, -1 for the wrong one, 0 before. An episode takes ``length + 1`` actions.
    **Best return 1.0. Chance return 0.0**, which is what every policy without memory gets on average.

    Beware: with :class:`~sb3_ext.envs.PreviousActionReward` a policy without memory can hand the bit on from step to
    step as its own action.

    :param length: Steps from the cue to the query
    :param render_mode: None, "ansi" (one line of text), or "rgb_array" (the observation as a row of grey squares)
    :raises ValueError: if ``length`` is below 1
    """

    metadata = {  # noqa: RUF012 - gymnasium declares it so
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
        "observation_names": ["cue", "time", "query"],
        "action_names": ["bit 0", "bit 1"],
    }

    def __init__(self, length: int = 10, render_mode: str | None = None) -> None:
        if length < 1:
            raise ValueError(f"length {length} must be 1 or more: at 0 the cue and the query would coincide")
        check_render_mode(render_mode)
        self.length = length
        self.render_mode = render_mode
        self.observation_space = spaces.Box(
            np.array([-1.0, 0.0, 0.0], np.float32), np.array([1.0, 1.0, 1.0], np.float32), dtype=np.float32
        )
        self.action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """
        :param seed: Repeats the episode's bit
        :param options: Not used
        :return: The cue's observation and an empty info
        """
        super().reset(seed=seed)
        self._t = 0
        self._bit = int(self.np_random.integers(2))
        return self._observation(), {}

    def step(self, action: int | np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """
        :param action: The bit, 0 or 1
        :return: Next observation, reward, terminated, truncated (never), empty info
        """
        terminated = self._t >= self.length
        reward = 0.0
        if terminated:
            reward = 1.0 if int(action) == self._bit else -1.0
        self._t += 1
        return self._observation(), reward, terminated, False, {}

    def render(self) -> str | np.ndarray | None:
        """
        :return: The step, the bit to remember and whether it is asked for now; or ``(32, 96, 3)`` uint8; or None
        """
        if self.render_mode is None:
            return None
        if self.render_mode == "rgb_array":
            return _bar(self._observation(), low=-1.0)
        return f"t={self._t}/{self.length} bit={self._bit} query={int(self._t == self.length)}"

    @cached_property
    def pomdp(self) -> PomdpTables:
        """As tables, of ``2 * length + 3`` states. A ValueError if these are too many."""
        return memory_chain_tables(self.length)

    def _observation(self) -> np.ndarray:
        if self._t > self.length:
            return np.zeros(3, np.float32)
        cue = 2.0 * self._bit - 1.0 if self._t == 0 else 0.0
        return np.array([cue, self._t / self.length, self._t == self.length], np.float32)
