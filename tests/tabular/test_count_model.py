"""What was seen, against dictionaries of lists."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch as th

from sb3_ext.planning import TransitionCounts
from sb3_ext.tabular.count_model import NONE, CountModel

S, A = 7, 3
Step = tuple[int, int, float, int, bool]


def random_steps(n: int, seed: int = 0) -> list[Step]:
    """:return: of few pairs with many outcomes, some of which differ in their end alone"""
    rng = np.random.default_rng(seed)
    return [
        (
            int(rng.integers(S)),
            int(rng.integers(A)),
            float(rng.integers(-3, 4)),
            int(rng.integers(S)),
            rng.random() < 0.3,
        )
        for _ in range(n)
    ]


def counted(steps: list[Step], lanes: int) -> CountModel:
    model = CountModel(S, A)
    for i in range(0, len(steps), lanes):
        columns = [np.array(column) for column in zip(*steps[i : i + lanes], strict=True)]
        pairs = model.add(*columns)
        assert np.array_equal(np.stack(model.pair(pairs)), columns[:2])
    return model


@pytest.mark.parametrize("lanes", [1, 4, 50])
def test_outcomes_are_those_that_were_seen(lanes: int) -> None:
    steps = random_steps(400)
    model = counted(steps, lanes)
    rewards: dict[tuple[int, int], dict[tuple[int, bool], list[float]]] = defaultdict(lambda: defaultdict(list))
    for state, action, reward, following, ends in steps:
        rewards[state, action][following, ends].append(reward)
    assert model.n_pairs == len(rewards)
    for pair in range(model.n_pairs):
        (state,), (action,) = model.pair(np.array([pair]))
        told = model.outcomes(np.array([pair]))
        expected = rewards[state, action]
        n = sum(map(len, expected.values()))
        found = {
            (following, ends): (probability * n, reward)
            for probability, reward, following, ends in zip(*(column[0].tolist() for column in told), strict=True)
            if probability > 0.0
        }
        assert found == {key: (pytest.approx(len(x)), pytest.approx(np.mean(x))) for key, x in expected.items()}


def test_it_counts_what_the_planner_counts() -> None:
    steps = random_steps(300)
    model, counts = counted(steps, 8), TransitionCounts(S, A)
    counts.add(*(np.array(column) for column in zip(*steps, strict=True)))
    seen, state = counts.seen(), {name: x.numpy() for name, x in model.state_dict().items()}
    pair, cell = np.nonzero(state["next"] != NONE)
    ours = np.stack((state["row"][pair], *(state[name][pair, cell] for name in ("next", "terminated", "times"))))
    order = np.lexsort(ours[2::-1])
    assert np.array_equal(ours[:, order], np.stack(seen[:4]))
    assert np.allclose(state["reward_sum"][pair, cell][order], seen.reward_sum)


def test_a_drawn_outcome_comes_as_often_as_it_was_seen_with_its_own_reward_and_end() -> None:
    model = CountModel(S, A)
    one = np.zeros(1, np.int64)
    for reward, following, ends, times in ((0.0, 1, False, 6), (5.0, 2, True, 3), (-1.0, 1, True, 1)):
        for _ in range(times):
            model.add(one, one, np.array([reward]), one + following, np.array([ends]))
    model.add(one + 3, one + 1, np.array([2.0]), one, np.array([False]))
    n = 20_000
    drawn = model.draw(n, np.random.default_rng(0))
    known = {(0.0, 1, False): 0.6, (5.0, 2, True): 0.3, (-1.0, 1, True): 0.1}
    first = drawn.state == 0
    assert abs(first.sum() - n / 2) < 5 * np.sqrt(n / 4)  # each pair is as likely, however often it was seen
    assert set(zip(drawn.state.tolist(), drawn.action.tolist(), strict=True)) == {(0, 0), (3, 1)}
    outcomes = list(zip(drawn.reward[first], drawn.next_state[first], drawn.terminated[first], strict=True))
    for outcome, probability in known.items():
        times, m = outcomes.count(outcome), len(outcomes)
        assert abs(times - m * probability) < 5 * np.sqrt(m * probability * (1 - probability))
    assert set(outcomes) == known.keys()  # T2: no end is paid that is not drawn, and none drawn that was not seen


def test_pairs_lead_to_a_state_where_they_did_not_end() -> None:
    steps = random_steps(60)
    model = counted(steps, 4)
    for wanted in ([0], [1, 3], [], list(range(S))):
        found = set(zip(*(x.tolist() for x in model.pair(model.leading_to(np.array(wanted, int)))), strict=True))
        assert found == {
            (state, action) for state, action, _, following, ends in steps if following in wanted and not ends
        }


@pytest.mark.parametrize("lanes", [1, 16])
def test_a_copy_goes_on_as_the_original(lanes: int) -> None:
    steps = random_steps(120)
    model, copy = counted(steps[:60], lanes), CountModel(S, A)
    copy.load_state_dict(model.state_dict())
    for step in steps[60:]:
        columns = [np.array([x]) for x in step]
        assert np.array_equal(model.add(*columns), copy.add(*columns))
    for mine, theirs in zip(
        model.draw(50, np.random.default_rng(1)), copy.draw(50, np.random.default_rng(1)), strict=True
    ):
        assert np.array_equal(mine, theirs)
    for state in range(S):
        assert np.array_equal(model.leading_to(np.array([state])), copy.leading_to(np.array([state])))


def test_a_copy_of_nothing_is_nothing() -> None:
    model = counted(random_steps(20), 1)
    model.load_state_dict(CountModel(S, A).state_dict())
    assert model.n_pairs == 0 and len(model.leading_to(np.arange(S))) == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("row", th.tensor([0, 0]), "pairs must differ"),
        ("row", th.tensor([0, S * A]), "pairs must differ and lie in 7 states x 3 actions"),
        ("row", th.tensor([0.0, 1.0]), "row must be 1-dimensional and of torch.int64"),
        ("next", th.tensor([[S], [1]]), r"lie in \[0, 7\)"),
        ("next", th.tensor([[-2], [1]]), r"lie in \[0, 7\)"),
        ("times", th.tensor([[0], [1]]), "must have been seen"),
        ("times", th.tensor([[1], [-1]]), "must have been seen"),
        ("times", th.tensor([[1, 1], [1, 1]]), "has shapes"),
        ("reward_sum", th.tensor([[0.0], [float("nan")]], dtype=th.float64), "finite"),
        ("beyond", th.tensor([1]), "and not .*beyond"),
    ],
)
def test_what_cannot_have_been_seen_is_refused_and_changes_nothing(name: str, value: th.Tensor, said: str) -> None:
    model = counted([(0, 0, 1.0, 1, False), (1, 2, 0.0, 1, True)], 1)
    before = model.state_dict()
    with pytest.raises(ValueError, match=said):
        model.load_state_dict({**before, name: value})
    after = model.state_dict()
    assert all(th.equal(before[key], after[key]) for key in before)
