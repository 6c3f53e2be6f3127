"""TD3's updates: targets, critics, actor and target networks, priorities, and how many there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv
from support.control import SMALL, Reach, arch, batch_of, noise, trained

from sb3_ext import TD3
from sb3_ext.buffers import PrioritizedReplayBuffer, Proportional
from sb3_ext.learners.td3 import Update


def test_targets_by_a_second_formula_with_terminations_and_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(TD3, target_policy_noise=3.0, target_noise_clip=0.4)
    batch = batch_of(model.replay_buffer)
    seen: list[th.Tensor] = []
    critic = model.critic_target.forward

    def spied(obs: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        seen.append(actions)
        values: tuple[th.Tensor, ...] = critic(obs, actions)
        return values

    monkeypatch.setattr(model.critic_target, "forward", spied)
    with th.no_grad():
        targets, mu = model.learner.targets(batch), model.actor_target(batch.next_observations)
    (actions,) = seen
    off = actions - mu
    assert (actions.abs() <= 1).all() and (actions.abs() == 1).any(), "clipped to the bounds"
    assert (off.abs() <= 0.4 + 1e-6).all() and (off.abs() > 0.39).any(), "and the noise before"
    steps = range(40)
    ends = [i for i in steps if i % 7 == 6]
    for i in steps:
        x = th.cat([batch.next_observations[i], actions[i]])
        q = [net(x).item() for net in model.critic_target.q_networks]
        terminated = i in ends and (i // 7) % 2 == 0
        expected = float(batch.rewards[i]) + (0.0 if terminated else model.gamma * min(q))
        assert float(targets[i]) == pytest.approx(expected, rel=1e-5)
    assert float(batch.dones.sum()) == len([i for i in ends if (i // 7) % 2 == 0]) > 0


def test_the_actor_climbs_the_first_critic_and_waits_for_its_turn() -> None:
    model = trained(TD3, policy_delay=3)
    batch = batch_of(model.replay_buffer)
    before = [p.clone() for p in model.actor.parameters()]
    targets = [p.clone() for p in model.critic_target.parameters()]
    model.learner.update(batch, False, False)
    assert all(th.equal(a, b) for a, b in zip(before, model.actor.parameters(), strict=True))
    assert all(th.equal(a, b) for a, b in zip(targets, model.critic_target.parameters(), strict=True))
    model.actor.optimizer.zero_grad()
    q1 = model.critic.q_networks[0](th.cat([batch.observations, model.actor(batch.observations)], dim=1))
    expected = th.autograd.grad(-q1.mean(), list(model.actor.parameters()))
    # The critic's step comes first, so it must not move here.
    for group in model.critic.optimizer.param_groups:
        group["lr"] = 0.0
    model.learner.update(batch, True, False)
    for gradient, parameter in zip(expected, model.actor.parameters(), strict=True):
        assert parameter.grad is not None
        th.testing.assert_close(parameter.grad, gradient)
    assert all(th.equal(a, b) for a, b in zip(targets, model.critic_target.parameters(), strict=True))


def test_targets_move_with_the_actor_or_at_their_own_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    for keywords, expected in (
        ({"policy_delay": 3}, [3, 6, 9, 12]),
        ({"policy_delay": 1, "target_update_interval": 5, "tau": 1.0}, [5, 10]),
    ):
        model = trained(TD3, total=31, **keywords)
        model._n_updates, moved = 0, []
        update = model.learner.update_targets

        def spied() -> None:
            moved.append(model._n_updates)  # noqa: B023
            update()  # noqa: B023

        monkeypatch.setattr(model.learner, "update_targets", spied)
        model.train(12, 16)
        assert moved == expected
    model.learner.update_targets()
    assert all(th.equal(a, b) for a, b in zip(model.critic.parameters(), model.critic_target.parameters(), strict=True))


def test_prioritized_replay_is_the_papers_loss_adjusted_one() -> None:
    model = trained(TD3, sampler="proportional", n_steps=3, gamma=0.9)
    replay = model.replay_buffer
    assert isinstance(replay, PrioritizedReplayBuffer) and (replay.n_steps, replay.gamma) == (3, 0.9)
    th.manual_seed(0)
    batch = replay.sample(16)
    assert (batch.weights == 1).all(), "no importance weights"
    th.manual_seed(1)
    targets = model.learner.targets(batch)
    q_values = model.critic(batch.observations, batch.actions)
    td = (th.cat(q_values, dim=1) - targets).detach()
    huber = sum(float(th.where(x.abs() <= 1, x**2 / 2, x.abs() - 0.5).mean()) for x in td.T)
    model.learner.sums.reset()
    th.manual_seed(1)
    priorities = model.learner.update(batch, False, False).priorities
    assert float(model.learner.sums.critic_loss) == pytest.approx(huber, rel=1e-5)
    th.testing.assert_close(priorities, td.abs().amax(dim=1).clamp(min=1.0))
    assert isinstance(replay.sampler, Proportional)
    leaves = batch.handle.leaves
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "sample", lambda *_, **__: batch)
        patch.setattr(model.learner, "update", lambda *_: Update(th.linspace(1.0, 7.0, 16)))
        model.train(1, 16)
    expected = np.linspace(1.0, 7.0, 16) ** 0.4
    last = {leaf: i for i, leaf in enumerate(leaves.tolist())}  # a leaf may be drawn twice
    np.testing.assert_allclose(replay.sampler.masses(np.array(list(last))), expected[list(last.values())], rtol=1e-6)
    steep = trained(TD3, sampler=Proportional(alpha=1.0)).replay_buffer
    assert isinstance(steep, PrioritizedReplayBuffer) and isinstance(steep.sampler, Proportional)
    assert steep.sampler.alpha == 1.0


def test_the_share_of_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    for n_envs, ratio in ((1, 0.25), (1, 3.0), (4, 0.5)):
        env = DummyVecEnv([Reach] * n_envs)
        model = trained(TD3, env, update_ratio=ratio, learning_starts=40, total=200)
        # SB3 begins to train after the step that passes learning_starts.
        assert model._n_updates == pytest.approx((200 - 40) * ratio, abs=n_envs * ratio + 1)


def test_losses_are_means_since_the_last_log() -> None:
    class Kept(Logger):
        def dump(self, step: int = 0) -> None:
            dumped.append(dict(self.name_to_value))
            super().dump(step)

    dumped: list[dict[str, Any]] = []
    model = TD3("MlpPolicy", Reach(), action_noise=noise(), **SMALL, **arch())
    model.set_logger(Kept(None, []))
    model.learn(70, log_interval=2)  # episodes of 7 steps
    losses = [logs["train/critic_loss"] for logs in dumped if "train/critic_loss" in logs]
    assert len(losses) >= 2 and len(set(losses)) == len(losses)
    assert {"train/actor_loss", "train/n_updates", "train/learning_rate", "rollout/noise_scale"} <= set(dumped[-1])
    assert 0 < float(model.learner.sums.n_critic) < 14
