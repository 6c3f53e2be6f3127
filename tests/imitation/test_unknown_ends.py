"""Imitation takes the steps of episodes whose end or final observation nobody knows, and makes nothing up."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th
from support.demo_worlds import random_demos, with_unknowns

from sb3_ext.demonstrations import Demonstrations
from sb3_ext.imitation import RewardSettings
from sb3_ext.imitation.expert import kept_transitions
from sb3_ext.imitation.reward import AdversarialReward
from sb3_ext.imitation.steps import Steps


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
    # Where the next state counts, a step without one is no example; one that ends in the absorbing state has one.
    left_out = [] if inputs in ("s", "sa") else [4, 10] if absorbing else [3, 4, 10]
    assert isinstance(expert.observations, th.Tensor)
    true = expert.absorbing.numpy() == 0
    np.testing.assert_array_equal(expert.observations.numpy()[true], np.delete(states, left_out, axis=0))
    assert expert.next_absorbing.numpy()[true].nonzero()[0].tolist() == ([] if 3 in left_out else [3])
    assert int((~true).sum()) == int(absorbing)


@pytest.mark.parametrize("unknown", [False, True])
def test_the_absorbing_state_is_the_state_before_for_both_sides_where_final_ones_are_unknown(unknown: bool) -> None:
    demos = random_demos("vector", "box")
    demos = with_unknowns(demos) if unknown else demos
    adversary = judged(demos, "sas", absorbing=True)
    first = np.asarray(demos.episodes[0].observations)
    assert adversary.expert is not None and isinstance(adversary.expert.observations, th.Tensor)
    entered = adversary.expert.observations[adversary.expert.absorbing > 0][0]
    np.testing.assert_array_equal(entered, first[3 if unknown else 4])
    now, after = th.zeros(2, 3), th.ones(2, 3)
    ended = th.tensor([0.0, 1.0])
    policy = Steps(now, th.zeros(2, 3), after, th.zeros(2), ended, th.zeros(2))
    steps = adversary.absorbing_steps(policy)
    for x in (steps.observations, steps.next_observations):
        np.testing.assert_array_equal(x, now[:1] if unknown else after[:1])
    encoded, before = (adversary.discriminator.encode(p) for p in (policy, policy._replace(next_observations=now)))
    assert bool((encoded[1] == before[1]).all()) == unknown, "the end of a step"
    assert (encoded[0] != before[0]).any(), "other steps have their next observation"


def test_which_state_is_remembered_is_saved_with_the_weights() -> None:
    adversary = judged(with_unknowns(random_demos("vector", "box")), "sa", absorbing=True)
    other = judged(random_demos("vector", "box"), "sa", absorbing=True)
    assert other.discriminator.from_final == 1
    other.discriminator.load_state_dict(adversary.discriminator.state_dict())
    assert other.discriminator.from_final == 0


def test_cloning_uses_every_step() -> None:
    demos = with_unknowns(random_demos("vector", "discrete"))
    steps = kept_transitions(demos, absorbing=False)
    np.testing.assert_array_equal(steps.actions, np.concatenate([e.actions for e in demos.episodes]))
