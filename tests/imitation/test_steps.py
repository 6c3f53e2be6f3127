"""The operations of steps, one row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_ext.imitation.steps import Steps

B = 7


def steps(keys: tuple[str, ...] = ()) -> Steps:
    """Row i: observation i, action i + 1/4, next observation i + 1/2; rows 1 and 4 end, row 5 starts in such an end."""
    rows = np.arange(B, dtype=np.float32)[:, None]
    now, after = (dict.fromkeys(keys, rows + x) if keys else rows + x for x in (0, 0.5))
    ends, starts = np.isin(np.arange(B), (1, 4, 5)), np.arange(B) == 5
    made = Steps.of(now, rows + np.float32(0.25), after, starts, ends, th.device("cpu"))
    return made._replace(log_prob=-th.arange(B) - 1.0)


def numbers(observations: Any) -> list[list[float]]:  # Any: a tensor or a dictionary of them
    parts = list(observations.values()) if isinstance(observations, dict) else [observations]
    return [part.flatten().tolist() for part in parts]


def test_chunks_are_all_of_them_in_order() -> None:
    whole = steps(("a", "b"))
    parts = list(whole.chunks(3))
    assert [part.n_steps for part in parts] == [3, 3, 1]
    again = parts[0].join(parts[1]).join(parts[2])
    assert numbers(again.observations) == numbers(whole.observations)
    assert all(a.equal(b) for a, b in zip(again[3:], whole[3:], strict=True))


def test_rows_are_taken_of_every_field() -> None:
    two = steps().take(th.tensor([4, 2]))
    assert numbers(two.observations) == [[4, 2]] and numbers(two.next_observations) == [[4.5, 2.5]]
    assert two.actions.flatten().tolist() == [4.25, 2.25] and two.log_prob.tolist() == [-5, -3]
    assert two.next_absorbing.tolist() == [1, 0]
    assert steps().entered().tolist() == [i in (1, 4) for i in range(B)], "5 was there before"


@pytest.mark.parametrize("keys", [(), ("a", "b")])
@pytest.mark.parametrize("from_final", [1, 0])
def test_the_absorbing_state_is_the_final_observation_or_the_one_before(keys: tuple[str, ...], from_final: int) -> None:
    known = th.tensor(from_final)
    wanted = [i if i in (1, 4, 5) and not from_final else i + 0.5 for i in range(B)]
    assert numbers(steps(keys).behind(known)) == [wanted] * max(len(keys), 1)
    ended = steps(keys).take(th.tensor([1, 4])).for_ever(known, spaces.Box(-9, 9, (1,)))
    for observations in (ended.observations, ended.next_observations):
        assert numbers(observations) == [[wanted[1], wanted[4]]] * max(len(keys), 1)
    assert ended.absorbing.tolist() == ended.next_absorbing.tolist() == [1, 1]
    assert not ended.actions.any() and not ended.log_prob.any()


def test_the_action_of_the_absorbing_state_is_one_of_the_space() -> None:
    few = steps()._replace(actions=th.full((B,), 6))
    assert few.for_ever(th.tensor(1), spaces.Discrete(3, start=5)).actions.tolist() == [5] * B
