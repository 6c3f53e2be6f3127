"""A process as a gymnasium environment. Its table is published as those of gymnasium's toy-text environments are."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_ext import nested
from sb3_ext.envs.tables import PomdpTables, TransitionTable
from sb3_ext.planning.mdp import TabularMDP
from sb3_ext.planning.pictures import state_as_picture, state_as_text
from sb3_ext.planning.pomdp import TabularPOMDP
from sb3_ext.planning.simulator import Horizon, Simulator, steps_of
from sb3_ext.planning.views import Drawn, Observe, Process, view_of


class TabularEnv(gym.Env[Any, Any]):
    """
    ``reset`` takes ``options={"state": s}`` to begin in state s.

    :param process: what is simulated
    :param horizon: steps after which an episode is truncated; "mdp" = the process's own, None = never
    :param observe: what is seen, from numbers of states [n] to observations [n, ...]; None = the number itself, or what
        a `TabularPOMDP` shows
    :param observation_space: of what is seen, as ``observe`` needs it; a ``Discrete(S, start=...)`` shifts the numbers
    :param render_mode: None, "ansi" (what can happen next, as a table) or "rgb_array" (a square per state)
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012 - gymnasium declares it so

    def __init__(
        self,
        process: Process,
        horizon: Horizon = "mdp",
        observe: Observe | None = None,
        observation_space: spaces.Space[Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "ansi", "rgb_array"):
            raise ValueError(f'render_mode {render_mode!r} must be None, "ansi" or "rgb_array"')
        self.process = process
        self.mdp: TabularMDP = process.mdp if isinstance(process, TabularPOMDP) else process
        self.horizon = steps_of(horizon, self.mdp)
        self.observe = observe
        self.simulator = Simulator(self.mdp)
        self.view = view_of(process, observe, observation_space)
        self.observation_space = self.view.space
        self.action_space = spaces.Discrete(self.mdp.n_actions)
        self.render_mode = render_mode
        self.state: int | None = None
        """None before the first `reset`"""
        self.elapsed_steps = 0
        if self.horizon is not None:
            self._max_episode_steps = self.horizon  # who asks for the limit asks for the one of gymnasium's TimeLimit

    @property
    def initial_state_distrib(self) -> np.ndarray:
        """:return: [S] probabilities of the first state"""
        return self.mdp.start

    @cached_property
    def P(self) -> TransitionTable:
        """:return: ``P[state][action]``: (probability, next state, reward, terminated) of each outcome"""
        n_actions = self.mdp.n_actions
        table: TransitionTable = {s: {a: [] for a in range(n_actions)} for s in range(self.mdp.n_states)}
        of = self.mdp.outcomes
        columns = (of.row, of.probability, of.next, of.reward, of.terminated)
        for row, *outcome in zip(*(column.tolist() for column in columns), strict=True):
            table[row // n_actions][row % n_actions].append(tuple(outcome))
        return table

    @property
    def pomdp(self) -> PomdpTables:
        """
        :return: the table, and what is seen of its states
        :raises AttributeError: where all of the state is seen, as of any environment that does not publish it
        """
        if not isinstance(self.process, TabularPOMDP):
            raise AttributeError("pomdp: the process is a TabularMDP")
        of = self.process
        assert isinstance(self.view, Drawn) and of.first_observation is not None
        return PomdpTables(
            self.P, self.mdp.start, of.observation, of.first_observation, self.view.shown, self.mdp.gamma, self.horizon
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """
        :param seed: of this episode and, where none is given, of those that follow
        :param options: ``{"state": s}``, or nothing
        """
        super().reset(seed=seed)
        state = self.simulator.state_of(options)
        states = self.simulator.start(1, self.np_random) if state is None else np.array([state])
        self.state, self.elapsed_steps = int(states[0]), 0
        return nested.take(self.view.first(states, self.np_random), 0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """
        :param action: in 0 to A - 1
        :raises gymnasium.error.ResetNeeded: before the first `reset`
        """
        if self.state is None:
            raise gym.error.ResetNeeded("reset() comes before step()")
        actions = self.simulator.check_actions(action, 1)
        moves = self.simulator.move(np.array([self.state]), actions, self.np_random)
        self.state, self.elapsed_steps = int(moves.state[0]), self.elapsed_steps + 1
        seen = nested.take(self.view.after(actions, moves.state, self.np_random), 0)
        truncated = self.horizon is not None and self.elapsed_steps >= self.horizon
        return seen, float(moves.reward[0]), bool(moves.terminated[0]), truncated, {}

    def render(self) -> str | np.ndarray | None:
        """
        :return: what can happen next; or a picture [pixels, pixels, 3] uint8; or None
        """
        if self.render_mode is None or self.state is None:
            return None
        draw = state_as_text if self.render_mode == "ansi" else state_as_picture
        return draw(self.mdp, self.state)
