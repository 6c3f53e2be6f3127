"""A person who labels, under SDL's dummy driver: posted keys are the answers, somebody else drives."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from support.player import ARROWS, Counter, keys

from sb3_ext import DAgger
from sb3_ext.demonstrations.person import Person

pygame = pytest.importorskip("pygame")
# pygame-ce's font module reads its own data by a deprecated call.
pytestmark = [pytest.mark.filterwarnings("ignore:.*pkg_resources.*"), pytest.mark.usefixtures("dummy_driver")]
NOTHING = np.zeros((1, 2), np.float32)


class Ints(gym.ActionWrapper[Any, Any, Any]):
    """SB3 steps with NumPy's numbers, of which `Counter` wants none."""

    def action(self, action: Any) -> int:
        return int(action)


def test_keys_that_are_held_are_the_answer_and_no_key_is_one_too() -> None:
    env = Counter(keys("", "", "+left", "+up", "-left", "-up", ""))
    env.reset()
    person = Person(env, ARROWS, fps=0)
    answers = [int(person(NOTHING)[0]) for _ in range(5)]
    # Nothing is asked before the first key; a key that goes up counts once more.
    assert answers == [1, 3, 3, 0, 0] and person.n_answers == 5
    person.close()


def test_turn_by_turn_each_state_waits_for_a_key_and_a_pause_takes_none() -> None:
    env = Counter(keys("left", "", "d", "p", "left", "p", "left"))
    env.reset()
    person = Person(env, {"left": 1, "d": 2}, fps=0, turn_based=True)
    assert [int(person(NOTHING)[0]) for _ in range(3)] == [1, 2, 1]
    person.close()


@pytest.mark.parametrize("how", [keys("left", "", "escape"), keys("left", "")], ids=["escape", "closed"])
def test_who_leaves_ends_training_and_the_labels_stay(how: list[object]) -> None:
    env = Counter(how, length=9)  # type: ignore[arg-type]  # a script that is over closes the window
    person = Person(env, {"left": 1, "noop": 0}, fps=0)
    model = DAgger("MlpPolicy", Ints(env), expert=person, n_steps=20, seed=0, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        model.learn(20)
    assert not pygame.display.get_init()
    labels = model.demonstrations
    assert labels is not None and labels.episodes[0].actions.tolist() == [1, 0]


def test_a_person_labels_what_the_learner_drives() -> None:
    """The first round is the person's; from then on the learner's action is executed, which is the reward here."""
    script = keys(*["+left", "", "", "-left", "+d", *[""] * 20])
    env = Counter(script, length=4)
    model = DAgger(
        "MlpPolicy", Ints(env), expert=Person(env, ARROWS, fps=0), n_steps=4, n_epochs=1, seed=0, device="cpu"
    )
    model.learn(12)
    labels = model.demonstrations
    assert labels is not None
    first, second, third = labels.episodes
    assert first.actions.tolist() == [1, 1, 1, 1] and first.followed.all()
    assert second.actions.tolist() == third.actions.tolist() == [2, 2, 2, 2]
    for episode in (second, third):
        assert episode.rewards is not None and episode.executed is not None
        assert episode.rewards.tolist() == episode.executed.tolist()
    assert not (second.followed.all() and third.followed.all())
