"""Imitation takes the steps of episodes whose end or final observation nobody knows, and makes nothing up."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th
from demo_worlds import random_demos, with_unknowns

from sb3_ext.demonstrations import Demonstrations
from sb3_ext.gail import RewardSettings
from sb3_ext.gail.reward import AdversarialReward, kept_transitions


def judged(demos: Demonstrations, inputs: str, absorbing: bool) -> AdversarialReward:
    settings = RewardSettings(inputs=inputs, absorbing=absorbing, held_out=0.0)
    adversary = AdversarialReward(
        demos.observation_space, demos.action_space, 0.9, th.device("cpu"), seed=0, settings=settings
    )
    adversary.set_demonstrations(demos)
    return adversary


@pytest.mark.parametrize("absorbing", [False, True])
@pytest.mark.parametrize("inputs", ["s", "sa", "ss", "sas"])
def test_a_step_is_judged_by_what_is_known_of_it(inputs: str, absorbing: bool) -> None:
    # Lengths 4, 1 and 6: the first terminates and lacks its final observation, the second lacks its end, the last both.
    demos = with_unknowns(random_demos("vector", "box"))
    expert = judged(demos, inputs, absorbing).expert
    assert expert is not None
    states = np.concatenate([np.asarray(e.observations)[: len(e)] for e in demos.episodes])
    lacking = [3, 10]  # the last steps of the first and the third
    # Where the next state counts, a step without one is no example; one that ends in the absorbing state has one.
    left_out = [] if inputs in ("s", "sa") else [10] if absorbing else lacking
    assert isinstance(expert.observations, th.Tensor)
    true = expert.absorbing.numpy() == 0
    np.testing.assert_array_equal(expert.observations.numpy()[true], np.delete(states, left_out, axis=0))
    assert expert.next_absorbing.numpy()[true].nonzero()[0].tolist() == ([3] if absorbing else [])
    assert int((~true).sum()) == int(absorbing)


def test_cloning_uses_every_step() -> None:
    demos = with_unknowns(random_demos("vector", "discrete"))
    steps = kept_transitions(demos, absorbing=False)
    np.testing.assert_array_equal(steps.actions, np.concatenate([e.actions for e in demos.episodes]))
