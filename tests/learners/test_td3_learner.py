"""TD3's learner alone: modules, optimizers and numbers, without an algorithm of SB3's."""

from __future__ import annotations

import copy

import pytest
import torch as th
from torch import nn

from sb3_ext.learners.td3 import Batch, Settings, TD3Learner


class Critics(nn.Module):
    """Two of them, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nn.Linear(5, 1) for _ in range(2))

    def forward(self, obs: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        return tuple(net(th.cat((obs, actions), dim=1)) for net in self.nets)

    def q1(self, obs: th.Tensor, actions: th.Tensor) -> th.Tensor:
        q: th.Tensor = self.nets[0](th.cat((obs, actions), dim=1))
        return q


def learner(seed: int = 0, **settings: float) -> TD3Learner:
    th.manual_seed(seed)
    actor, critic = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Tanh()), Critics()
    given = {"gamma": 0.9, "tau": 0.25, "target_policy_noise": 0.2, "target_noise_clip": 0.5, "is_prioritized": False}
    return TD3Learner(
        actor,
        copy.deepcopy(actor),
        critic,
        copy.deepcopy(critic),
        critic.q1,
        th.optim.Adam(actor.parameters(), lr=1e-2),
        th.optim.Adam(critic.parameters(), lr=1e-2),
        Settings(**{**given, **settings}),  # type: ignore[arg-type]
    )


def batch(seed: int = 0, n: int = 8) -> Batch:
    draws = th.Generator().manual_seed(seed)
    obs, after = th.randn(2, n, 3, generator=draws)
    actions = th.rand(n, 2, generator=draws) * 2 - 1
    return Batch(obs, actions, after, th.zeros(n, 1), th.randn(n, 1, generator=draws), None)


def test_a_learner_goes_on_from_its_state() -> None:
    one, other = learner(0), learner(1)
    for i in range(4):
        one.update(batch(i), i % 2 == 0, i % 2 == 0)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for each in (one, other):
        th.manual_seed(7)
        each.update(batch(9), True, True)
    for name, network in one.networks.items():
        for key, x in network.state_dict().items():
            assert th.equal(x, other.networks[name].state_dict()[key]), (name, key)
    assert one.sums.means() == other.sums.means() and float(one.sums.n_critic) == 5
    one.sums.reset()
    assert one.sums.means() == {} and float(other.sums.n_critic) == 5


def test_target_networks_take_over_their_share_and_statistics_as_they_are() -> None:
    one = learner(tau=0.25)
    for _ in range(2):
        one.update(batch(), True, False)
    before = copy.deepcopy(one.actor_target.state_dict())
    one.update_targets()
    now, source = one.actor_target.state_dict(), one.actor.state_dict()
    th.testing.assert_close(now["0.weight"], 0.75 * before["0.weight"] + 0.25 * source["0.weight"])
    assert th.equal(now["1.running_mean"], source["1.running_mean"])
    assert not th.equal(before["1.running_mean"], source["1.running_mean"])


@pytest.mark.parametrize("discounts", [None, 0.5])
def test_a_batch_may_have_discounts_of_its_own(discounts: float | None) -> None:
    one, given = learner(target_policy_noise=0.0), batch()
    one.actor_target.eval()
    if discounts is not None:
        given = given._replace(discounts=th.full((8, 1), discounts))
    q = th.cat(one.critic_target(given.next_observations, one.actor_target(given.next_observations)), dim=1)
    expected = given.rewards + (0.9 if discounts is None else discounts) * q.min(dim=1, keepdim=True).values
    th.testing.assert_close(one.targets(given), expected.detach())


def test_priorities_are_told_where_they_are_asked_for_alone() -> None:
    assert learner().update(batch(), False, False).priorities is None
    one, given = learner(is_prioritized=True), batch()
    th.manual_seed(0)
    td = th.cat(one.critic(given.observations, given.actions), dim=1) - one.targets(given)
    th.manual_seed(0)
    told = one.update(given, False, False).priorities
    assert told is not None
    th.testing.assert_close(told, td.detach().abs().max(dim=1).values.clamp(min=1.0))
