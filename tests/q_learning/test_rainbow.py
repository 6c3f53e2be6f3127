"""Rainbow and RainbowR: what one update computes, and what samplers draw."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv
from support.checks import EverySampler
from support.q_models import BOTH, PLAIN, Make, buffer_of, make_env, make_rainbow
from torch import nn

from sb3_ext import Rainbow
from sb3_ext.buffers.prioritized import PrioritizedSamples
from sb3_ext.buffers.samplers import GreedyPriority, Proportional, RankBased, Uniform
from sb3_ext.buffers.sampling import Sampler
from sb3_ext.networks.heads import C51, Quantile, Scalar
from sb3_ext.networks.noisy import sample_noise
from sb3_ext.networks.streams import Streams
from sb3_ext.ops.value_rescaling import ValueRescaling

OBS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


# ---------------------------------------------------------------------- one update


def fill(env: VecEnv, buffers: list[Any], n_steps: int) -> None:
    """The same transitions to all buffers, in the way of SB3's `_store_transition`."""
    rng = np.random.default_rng(0)
    obs = env.reset()
    assert isinstance(obs, np.ndarray)
    for _ in range(n_steps):
        actions = rng.integers(3, size=env.num_envs)
        new_obs, rewards, dones, infos = env.step(actions)
        assert isinstance(new_obs, np.ndarray)
        next_obs = new_obs.copy()
        for i in np.flatnonzero(dones):
            next_obs[i] = infos[i]["terminal_observation"]
        for buffer in buffers:
            buffer.add(obs, next_obs, actions, rewards, dones, infos)
        obs = new_obs


@pytest.mark.parametrize("max_grad_norm", [0.1, 1e6])
def test_with_everything_off_it_is_sb3s_dqn(max_grad_norm: float) -> None:
    """Same weights, same transitions: same errors, loss and weights after updates."""
    common: dict[str, Any] = dict(
        learning_rate=1e-3, gamma=0.9, max_grad_norm=max_grad_norm, seed=0, device="cpu", buffer_size=500,
        policy_kwargs=dict(net_arch=[16, 16], optimizer_kwargs=dict(eps=1.5e-4)),
    )  # fmt: skip
    env = make_env(1, lengths=(3, 1, 4, 2))
    stock = DQN("MlpPolicy", env, **common)
    ours = Rainbow("MlpPolicy", env, **common, **{**PLAIN, "sampler": EverySampler()})
    assert stock.replay_buffer is not None
    with th.no_grad():
        for mine, theirs in ((ours.q_net, stock.q_net), (ours.q_net_target, stock.q_net_target)):
            for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
                q.add_(0.1 * th.randn_like(q))  # the two networks must differ, or using the wrong one would not show
                p.copy_(q)
    fill(env, [stock.replay_buffer, buffer_of(ours)], 60)
    everything = stock.replay_buffer._get_samples(np.arange(60))
    assert 0 < everything.dones.sum() < stock.replay_buffer.dones.sum(), "both terminations and timeouts are there"
    stock.replay_buffer.sample = lambda *_, **__: everything  # type: ignore[method-assign]

    with th.no_grad():
        best = stock.q_net_target(everything.next_observations).amax(dim=1, keepdim=True)
        target = everything.rewards + (1 - everything.dones) * 0.9 * best
        td = target - stock.q_net(everything.observations).gather(1, everything.actions)
    written: list[np.ndarray] = []
    buffer_of(ours).update_priorities = lambda handle, priorities: written.append(priorities)  # type: ignore[method-assign]
    for update in range(3):
        for model in (stock, ours):
            model.set_logger(configure(None, []))
            model.train(gradient_steps=1, batch_size=60)
        losses = [model.logger.name_to_value["train/loss"] for model in (stock, ours)]
        assert losses[0] > 0.0 and abs(losses[0] - losses[1]) < 1e-6 * max(losses[0], 1.0)
        if update == 0:
            np.testing.assert_allclose(written[0], td.abs().squeeze(1).numpy(), atol=1e-6, rtol=1e-6)
        for p, q in zip(ours.q_net.parameters(), stock.q_net.parameters(), strict=True):
            th.testing.assert_close(p, q, atol=1e-6, rtol=0)


def slow_projection(atoms: list[float], mass: list[float], support: list[float]) -> list[float]:
    """Algorithm 1 of the C51 paper, an atom at a time."""
    projected, width = [0.0] * len(support), support[1] - support[0]
    for atom, p in zip(atoms, mass, strict=True):
        atom = min(max(atom, support[0]), support[-1])
        for i, z in enumerate(support):
            projected[i] += p * max(0.0, 1.0 - abs(atom - z) / width)
    return projected


def slow_loss(model: Rainbow, online: Any, target: Any, batch: PrioritizedSamples) -> tuple[th.Tensor, list[float]]:
    """
    Loss and priorities of transitions of `TaggedEnv`, one at a time. Returns are not the buffer's: an observation tells
    the episode and the step, and so which rewards and which end are ahead.
    """
    lengths, h = (7, 1, 23, 12), model.transform
    total, priorities = th.zeros(()), []
    for i, obs in enumerate(batch.observations):
        number, episode, t = (round(16 * x) for x in obs.tolist())
        length = lengths[episode % 4]
        k = min(model.n_steps, length - t)
        reward = sum(model.gamma**j * (t + j + 1) for j in range(k))
        next_obs = th.tensor([[number, episode, t + k]], dtype=th.float32) / 16
        bootstraps = t + k < length or episode % 2 == 1
        discount = model.gamma**k if bootstraps else 0.0
        with th.no_grad():
            chooser = online(next_obs) if model.double_q else target(next_obs)
            best = int(chooser[0].argmax())
            theirs = target.outputs(next_obs)[0, best]
        ours = online.outputs(obs.unsqueeze(0))[0, int(batch.actions[i])]
        if isinstance(model.head, C51):
            support = model.head.support(ours).tolist()
            atoms = [float(h.apply(reward + discount * h.invert(th.tensor(z, dtype=th.float64)))) for z in support]
            mass = slow_projection(atoms, theirs.softmax(0).tolist(), support)
            loss = -sum(m * log_p for m, log_p in zip(mass, ours.log_softmax(0), strict=True))
            assert isinstance(loss, th.Tensor)
            priority = float(loss.detach()) + sum(m * float(np.log(m)) for m in mass if m > 0)
        else:
            y = float(h.apply(th.tensor(reward + discount * float(h.invert(theirs)))))
            loss = 0.5 * (y - ours) ** 2
            priority = abs(y - float(ours.detach()))
        total = total + batch.weights[i] * loss
        priorities.append(priority)
    return total / len(batch.weights), priorities


@pytest.mark.parametrize("head", [C51(noise=0.5), Scalar(noise=0.5)], ids=repr)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"double_q": False, "value_rescaling": False},
        {"n_steps": 1, "noise": None, "dueling": "max"},
        {"n_steps": 5, "dueling": None, "value_rescaling": ValueRescaling(eps=1e-2)},
    ],
)
def test_one_update_equals_the_slow_computation(head: C51 | Scalar, settings: dict[str, Any]) -> None:
    """Traps 2, 3, 4, 16: targets, weights of the loss, priorities and weights of the network after the update."""
    of_head = {name: value for name, value in settings.items() if name in ("noise", "dueling")}
    others = {name: value for name, value in settings.items() if name not in of_head}
    model = make_rainbow(gradient_steps=0, gamma=0.9, head=replace(head, **of_head), **others)
    model.learn(200)
    buffer = buffer_of(model)
    with th.no_grad():  # the two networks must differ, or using the wrong one would not show
        for p in model.q_net_target.parameters():
            p.add_(0.3 * th.randn_like(p))
    everything = buffer._active_leaves()
    handle = buffer._get_samples(everything).handle
    buffer.update_priorities(handle, np.random.exponential(size=len(everything)))
    model._update_learning_rate(model.policy.optimizer)  # what train() does first
    model._fit_return_scale()
    reference = copy.deepcopy(model.policy)

    np.random.seed(7)
    batch = buffer.sample(64, progress_remaining=model._current_progress_remaining)
    assert batch.weights.min() < 0.5 and batch.dones.sum() > 0
    th.manual_seed(7)
    sample_noise(reference.q_net)
    sample_noise(reference.q_net_target)
    loss, priorities = slow_loss(model, reference.q_net, reference.q_net_target, batch)
    reference.optimizer.zero_grad()
    loss.backward()
    th.nn.utils.clip_grad_norm_(reference.q_net.parameters(), model.max_grad_norm)
    reference.optimizer.step()

    written: list[np.ndarray] = []
    buffer.update_priorities = lambda handle, priorities: written.append(priorities)  # type: ignore[method-assign]
    np.random.seed(7)
    th.manual_seed(7)
    model.train(gradient_steps=1, batch_size=64)
    np.testing.assert_allclose(model.logger.name_to_value["train/loss"], loss.item(), rtol=1e-5)
    np.testing.assert_allclose(written[0], priorities, rtol=1e-3, atol=1e-5)
    for ours, theirs in zip(model.q_net.parameters(), reference.q_net.parameters(), strict=True):
        th.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_double_q_takes_the_online_networks_action_and_the_targets_value() -> None:
    """Networks that disagree by construction: the target must not be the maximum of either."""
    model = make_rainbow(gradient_steps=0, **{**PLAIN, "double_q": True, "head": Scalar(dueling=None)}, gamma=1.0)
    model.learn(40)
    with th.no_grad():
        for net, values in ((model.q_net, [3.0, 1.0, 2.0]), (model.q_net_target, [10.0, 30.0, 20.0])):
            assert isinstance(net.head_net, Streams)
            last = net.head_net.advantage[-1]
            assert isinstance(last, nn.Linear)
            last.weight.zero_()
            last.bias.copy_(th.tensor(values))
    batch = buffer_of(model).sample(32)
    actions = batch.actions.squeeze(1)
    expected = batch.rewards.squeeze(1) + (1 - batch.dones.squeeze(1)) * 10.0 - th.tensor([3.0, 1.0, 2.0])[actions]
    th.testing.assert_close(model.learner.update(batch, False).priorities, expected.abs())


@pytest.mark.parametrize("head", [C51(noise=0.5), Quantile(noise=0.5), Scalar(noise=0.5)], ids=repr)
@BOTH
def test_trap_04_importance_weights_scale_the_gradient_and_nothing_else(make: Make, head: Any) -> None:
    sgd = dict(net_arch=[8], optimizer_class=th.optim.SGD)
    model = make(
        gradient_steps=0, head=head, policy_kwargs=sgd, max_grad_norm=float("inf"),
        learning_rate=1.0,
    )  # fmt: skip
    model.learn(80)
    assert model.replay_buffer is not None
    batch = model.replay_buffer.sample(16)
    before = [p.detach().clone() for p in model.q_net.parameters()]
    steps, priorities, losses = [], [], []
    for weight in (1.0, 0.25):
        with th.no_grad():
            for p, old in zip(model.q_net.parameters(), before, strict=True):
                p.copy_(old)
        th.manual_seed(3)
        update = model.learner.update(batch._replace(weights=th.full((16,), weight)), False)
        steps.append([p.detach() - old for p, old in zip(model.q_net.parameters(), before, strict=True)])
        priorities.append(update.priorities)
        losses.append(update.log[0])
    assert th.equal(*priorities)
    th.testing.assert_close(losses[1], 0.25 * losses[0])
    assert max(float(step.abs().max()) for step in steps[0]) > 1e-3
    for full, quarter in zip(*steps, strict=True):
        th.testing.assert_close(quarter, 0.25 * full, atol=1e-6, rtol=1e-3)


def test_priorities_are_written_to_the_transitions_that_were_drawn() -> None:
    model = make_rainbow(gradient_steps=0, head="c51", sampler=Proportional(1.0), value_rescaling=False)
    model.learn(60)
    buffer = buffer_of(model)
    model.policy.optimizer.param_groups[0]["lr"] = 0.0
    batch = buffer.sample(16)
    update = model.learner.update(batch, False)
    buffer.update_priorities(batch.handle, update.priorities.numpy())
    for leaf in batch.handle.leaves:  # again, each alone
        alone = model.learner.update(buffer._get_samples(np.array([leaf])), False)
        mass = buffer.sampler.masses(np.array([leaf]))
        np.testing.assert_allclose(mass, alone.priorities.numpy(), rtol=1e-3, atol=1e-6)


def test_target_copies_count_updates_and_warm_up_counts_steps() -> None:
    model = make_rainbow(n_envs=2, learning_starts=40, train_freq=3, gradient_steps=2, target_update_interval=5)
    copies: list[int] = []
    original = model.learner.update_target

    def watch() -> None:
        copies.append(model._n_updates)
        original()
        assert all(map(th.equal, model.q_net.parameters(), model.q_net_target.parameters()))

    model.learner.update_target = watch  # type: ignore[method-assign]
    model.learn(120)  # 20 rounds of 3 steps of 2 envs
    assert model._n_updates == 2 * sum(6 * r > 40 for r in range(1, 21))
    assert copies == list(range(5, model._n_updates + 1, 5))


# ---------------------------------------------------------------------- samplers


@pytest.mark.parametrize(
    "sampler", [RankBased(alpha=0.6, beta=0.3, beta_final=0.9, staleness=0.0), GreedyPriority(), Uniform()]
)
@BOTH
def test_any_sampler_by_object(make: Make, sampler: Sampler, tmp_path: Path) -> None:
    model = make(sampler=sampler)
    model.learn(100)
    assert model._n_updates > 0 and model.replay_buffer is not None
    used = model.replay_buffer.sampler
    assert repr(used) == repr(sampler) and type(used) is type(sampler)
    assert used.n_active > 0 and sampler.n_active == 0, "the object that was given is a pattern"
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "replay.pkl")
    loaded = type(model).load(tmp_path / "model.zip", env=make_env(2), device="cpu")
    loaded.load_replay_buffer(tmp_path / "replay.pkl")
    assert loaded.replay_buffer is not None and loaded.replay_buffer.sampler.n_active == used.n_active
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded._n_updates > model._n_updates


def test_greedy_draws_have_the_highest_priorities() -> None:
    model = make_rainbow(sampler=GreedyPriority(), gradient_steps=0)
    model.learn(100)
    buffer = buffer_of(model)
    leaves = buffer._active_leaves()
    errors = np.random.default_rng(0).permutation(len(leaves)).astype(np.float32)
    buffer.update_priorities(buffer._get_samples(leaves).handle, errors)
    assert set(buffer.sample(8).handle.leaves) == set(leaves[np.argsort(errors)[-8:]])


@BOTH
def test_the_sampler_is_what_draws(make: Make) -> None:
    for said, meant in (
        (Proportional(0.3, 0.2, 0.7), Proportional(0.3, 0.2, 0.7)),
        ({"proportional": {"alpha": 0.3}}, Proportional(0.3)),
        ("uniform", Uniform()),
    ):
        model = make(sampler=said)
        assert model.replay_buffer is not None
        assert model.sampler == model.replay_buffer.sampler == meant
        assert model.sampler is not model.replay_buffer.sampler
