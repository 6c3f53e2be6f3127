"""Demonstrations as steps of a table: whose they are, and that they can be."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from support.soft_experts import episode, of_table

from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.imitation.table_steps import StatesOfTable, times_shown
from sb3_ext.planning import TabularMDP


@pytest.fixture(scope="module")
def lake() -> TabularMDP:
    return TabularMDP.from_env("FrozenLake-v1", 0.9)


FINE = ([0, 4, 8], [1, 1])


@pytest.mark.parametrize(
    ("states", "actions", "terminated", "message"),
    [
        ([0, 4, 5], [1, 0], True, "episode 1, step 1: state 5 cannot follow state 4, action 0"),
        ([0, 15], [2], False, "episode 1, step 0: state 15 cannot follow state 0, action 2"),
        ([4, 5, 5], [1, 1], False, "episode 1, step 0: goes on, and in the table state 4, action 1 ends in state 5"),
        ([4, 5], [1], False, "episode 1, step 0: goes on, and in the table state 4, action 1 ends in state 5"),
        (
            [0, 4],
            [1],
            True,
            "episode 1, step 0: terminates, and in the table state 0, action 1 does not end in state 4",
        ),
    ],
)
def test_a_step_that_cannot_be_is_named(
    lake: TabularMDP, states: list[int], actions: list[int], terminated: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        times_shown(lake, of_table(lake, episode(*FINE), episode(states, actions, terminated)), None)


def test_what_nobody_knows_is_not_asked(lake: TabularMDP) -> None:
    """An end that is unknown may be either; a final observation that is unknown may be any."""
    demonstrations = of_table(
        lake,
        episode([4, 5], [1], terminated=None),
        episode([4, 8], [1], terminated=None),
        episode([4], [1], terminated=True),
        episode([4], [1], terminated=None),
    )
    n = times_shown(lake, demonstrations, None)
    assert n[4, 1] == 4 and n.sum() == 4
    with pytest.raises(ValueError, match="episode 0, step 0: state 15 cannot follow"):
        times_shown(lake, of_table(lake, episode([4, 15], [1], terminated=None)), None)


def test_numbers_and_actions_need_not_begin_at_0(lake: TabularMDP) -> None:
    shifted = Episode(np.array([5, 9, 13]), np.array([3, 3]), None, False, True)
    demonstrations = Demonstrations((shifted,), spaces.Discrete(16, start=5), spaces.Discrete(4, start=2))
    n = times_shown(lake, demonstrations, None)
    assert n[0, 1] == n[4, 1] == 1 and n.sum() == 2


def test_states_are_known_by_how_they_look(lake: TabularMDP) -> None:
    def observe(states: np.ndarray) -> np.ndarray:
        return np.stack([states // 4 - 0.0, -(states % 4) * 0.1], axis=1)

    space = spaces.Box(-1.0, 4.0, (2,), np.float32)
    seen = observe(np.array([0, 4, 8])).astype(np.float32)
    shown = Demonstrations((Episode(seen, np.array([1, 1]), None, False, True),), space, spaces.Discrete(4))
    np.testing.assert_array_equal(
        times_shown(lake, shown, observe), times_shown(lake, of_table(lake, episode(*FINE)), None)
    )
    seen[1] += 0.5
    wrong = Demonstrations((Episode(seen, np.array([1, 1]), None, False, True),), space, spaces.Discrete(4))
    with pytest.raises(ValueError, match="episode 0, step 1: observe gives what was seen for none of 16 states"):
        times_shown(lake, wrong, observe)
    with pytest.raises(ValueError, match=r"observations of Box.* are no numbers of states: give observe"):
        times_shown(lake, shown, None)
    with pytest.raises(ValueError, match="observe gives the same for states 0 and 1"):
        times_shown(lake, shown, lambda states: observe(states // 4 * 4))


def test_dictionaries_are_looked_at_whole() -> None:
    space = spaces.Dict({"row": spaces.Discrete(2), "column": spaces.Discrete(3)})
    states = StatesOfTable(space, 6, lambda states: {"row": states // 3, "column": states % 3})
    seen = {"row": np.array([1, 0, 1]), "column": np.array([2, 0, 0])}
    assert states.numbers(seen).tolist() == [5, 0, 3]


@pytest.mark.parametrize(
    ("n_states", "n_actions", "message"),
    [
        (64, 4, r"observations of Discrete\(64\), the table has 16 states: it is of another environment"),
        (16, 3, r"actions of Discrete\(3\), the table has 4: it is of another environment"),
    ],
)
def test_another_environment_is_refused(lake: TabularMDP, n_states: int, n_actions: int, message: str) -> None:
    demonstrations = Demonstrations((episode(*FINE),), spaces.Discrete(n_states), spaces.Discrete(n_actions))
    with pytest.raises(ValueError, match=message):
        times_shown(lake, demonstrations, None)
