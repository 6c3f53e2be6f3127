"""What one gradient step of R2D2 computes, against a slow second computation, step by step and window by window."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from support.q_models import make_image_model, make_model
from support.worlds import ConstantReward

from sb3_ext import nested
from sb3_ext.buffers import Proportional, SequenceSamples
from sb3_ext.networks import GRUCore, ImpalaResNet, LSTMCore, RecurrentCore, RecurrentQNetwork
from sb3_ext.networks.heads import Scalar
from sb3_ext.ops.value_rescaling import ValueRescaling
from sb3_ext.r2d2 import R2D2


def q_by_single_steps(net: RecurrentQNetwork, batch: SequenceSamples, i: int) -> list[th.Tensor]:
    """Q-values [A] at each real observation from t0 on, one cell call per step, burn-in without gradient."""
    assert isinstance(batch.burn_in_observations, th.Tensor) and isinstance(batch.observations, th.Tensor)
    state = net.initial_state(1) if batch.states is None else nested.take(batch.states, slice(i, i + 1))
    length = int(batch.burn_in_lengths[i])
    with th.no_grad():
        for t in range(batch.burn_in_observations.shape[1] - length, batch.burn_in_observations.shape[1]):
            _, state = net.step(batch.burn_in_observations[i : i + 1, t], state)
    values = []
    for t in range(int(batch.mask[i].sum()) + 1):
        q, state = net.step(batch.observations[i : i + 1, t], state)
        values.append(q[0])
    return values


def slow_loss(model: R2D2, batch: SequenceSamples) -> tuple[th.Tensor, list[float]]:
    """The paper's loss in plain loops. :return: loss and the priority of each window"""
    total, priorities = th.zeros(()), []
    for i in range(len(batch.weights)):
        online = q_by_single_steps(model.q_net, batch, i)
        with th.no_grad():
            target = q_by_single_steps(model.q_net_target, batch, i)
        n_real = int(batch.mask[i].sum())
        window, tds = th.zeros(()), []
        for t in range(min(n_real, model.sequence_length)):
            k = min(model.n_steps, n_real - t)
            value = sum(model.gamma**j * float(batch.rewards[i, t + j]) for j in range(k))
            if not bool(batch.terminated[i, t + k - 1]):
                chooser = online if model.double_q else target
                best = int(chooser[t + k].argmax())
                value += model.gamma**k * float(model.transform.invert(target[t + k][best]))
            y = float(model.transform.apply(th.tensor(value)))
            td = y - online[t][int(batch.actions[i, t])]
            window = window + 0.5 * td**2
            tds.append(abs(float(td.detach())))
        total = total + batch.weights[i] * window
        priorities.append(model.eta * max(tds) + (1 - model.eta) * sum(tds) / len(tds))
    return total / len(batch.weights), priorities


@pytest.mark.parametrize("core", [LSTMCore, GRUCore])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"state_init": "zero"},
        {"double_q": False, "value_rescaling": False},
        {"head": Scalar(dueling=None), "n_steps": 1, "burn_in": 0},
        {"n_steps": 7, "burn_in": 5, "sampler": "uniform"},
    ],
)
def test_one_update_equals_the_slow_computation(core: type[RecurrentCore[Any]], settings: dict[str, Any]) -> None:
    """Traps 2, 3, 4, 6, 7, 8, 10, 11, 12, 15 at once: weights after the update and priorities must agree."""
    model = make_model(
        n_envs=2,
        gradient_steps=0,
        # With a small eps the first step of Adam shows the signs of the gradients and little of their sizes.
        policy_kwargs=dict(lstm_hidden_size=8, core_class=core, optimizer_kwargs=dict(eps=1e-3)),
        gamma=0.9,
        eta=0.7,
        **settings,
    )
    model.learn(400)
    assert model.replay_buffer is not None
    with th.no_grad():  # the two networks must differ, or using the wrong one would not show
        for p in model.q_net_target.parameters():
            p.add_(0.05 * th.randn_like(p))
    model._update_learning_rate(model.policy.optimizer)  # what train() does first
    model._fit_return_scale()
    reference = copy.deepcopy(model.policy)

    np.random.seed(7)
    batch = model.replay_buffer.sample(16)
    fast = model.policy
    model.policy, model.q_net, model.q_net_target = reference, reference.q_net, reference.q_net_target
    loss, priorities = slow_loss(model, batch)
    reference.optimizer.zero_grad()
    loss.backward()
    th.nn.utils.clip_grad_norm_(reference.q_net.parameters(), model.max_grad_norm)
    reference.optimizer.step()
    model.policy, model.q_net, model.q_net_target = fast, fast.q_net, fast.q_net_target

    written: list[np.ndarray] = []
    model.replay_buffer.update_priorities = lambda handle, priorities: written.append(priorities)  # type: ignore[method-assign]
    np.random.seed(7)
    model.train(gradient_steps=1, batch_size=16)
    for ours, theirs in zip(model.q_net.parameters(), reference.q_net.parameters(), strict=True):
        th.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert len(written) == int(model.sampler.reads_priorities)  # uniform draws do not read them
    for each in written:
        np.testing.assert_allclose(each, priorities, rtol=1e-4, atol=1e-6)


def test_trap_04_importance_weights_scale_the_loss_not_the_error() -> None:
    """Halving all weights halves the loss; if they entered the target or the error it would change otherwise."""
    model = make_model(gradient_steps=0)
    model.learn(200)
    assert model.replay_buffer is not None
    batch = model.replay_buffer.sample(8)
    full, priorities = slow_loss(model, batch._replace(weights=th.ones(8)))
    half, same = slow_loss(model, batch._replace(weights=th.full((8,), 0.5)))
    th.testing.assert_close(half, full / 2)
    assert priorities == same


def test_trap_08_both_networks_burn_in_with_their_own_weights() -> None:
    model = make_model(gradient_steps=0)
    model.learn(300)
    assert model.replay_buffer is not None
    batch = model.replay_buffer.sample(16)
    with th.no_grad():
        for p in model.q_net_target.parameters():
            p.mul_(3.0)
        online = model.learner.unroll(model.q_net, batch)
        target = model.learner.unroll(model.q_net_target, batch)
        for net, out in ((model.q_net, online), (model.q_net_target, target)):
            for i in range(16):
                slow = th.stack(q_by_single_steps(net, batch, i))
                th.testing.assert_close(out[i, : len(slow)], slow, atol=1e-5, rtol=1e-5)


def test_trap_12_no_gradient_reaches_the_burn_in() -> None:
    model = make_model(gradient_steps=0)
    model.learn(300)
    assert model.replay_buffer is not None
    batch = model.replay_buffer.sample(16)
    assert isinstance(batch.burn_in_observations, th.Tensor) and isinstance(batch.observations, th.Tensor)
    burn_in = batch.burn_in_observations.clone().requires_grad_()
    trained = batch.observations.clone().requires_grad_()
    states = nested.map(lambda s: s.clone().requires_grad_(), batch.states)
    stored = batch._replace(burn_in_observations=burn_in, observations=trained, states=states)
    out = model.learner.unroll(model.q_net, stored)
    out.sum().backward()
    assert burn_in.grad is None
    assert all(s.grad is None for s in nested.leaves(states))
    assert (
        trained.grad is not None and (trained.grad[:, 0].abs().sum(-1) > 0).all()
    )  # backpropagation reaches the first trained step


def test_trap_20_a_batch_larger_than_the_replay_repeats_windows_harmlessly() -> None:
    model = make_model(n_envs=1, learning_starts=0, batch_size=64, gradient_steps=0)
    model.learn(12)
    assert model.replay_buffer is not None and 0 < model.replay_buffer.n_drawable < 64
    model.train(gradient_steps=3, batch_size=64)
    total = model.replay_buffer.sampler._tree.total  # type: ignore[attr-defined]
    leaves = np.flatnonzero(model.replay_buffer._active)
    np.testing.assert_allclose(total, model.replay_buffer.sampler.masses(leaves).sum())


def test_trap_21_nothing_is_drawn_inside_an_unroll() -> None:
    """The network is a fixed function of a window, so that a stored state means the same when it is replayed."""
    model = make_model(gradient_steps=0)
    model.learn(200)
    assert model.replay_buffer is not None
    model.policy.set_training_mode(True)
    batch = model.replay_buffer.sample(8)
    before = th.random.get_rng_state()
    first, second = model.learner.unroll(model.q_net, batch), model.learner.unroll(model.q_net, batch)
    assert th.equal(first, second)
    assert th.equal(before, th.random.get_rng_state())


def test_trap_23_units_warm_up_counts_env_steps_and_target_copies_count_updates() -> None:
    model = make_model(n_envs=2, learning_starts=100, train_freq=3, gradient_steps=2, target_update_interval=5)
    copies: list[int] = []
    original = model.learner.update_target

    def watch() -> None:
        copies.append(model._n_updates)
        original()

    model.learner.update_target = watch  # type: ignore[method-assign]
    model.learn(240)  # 40 rounds of 3 steps of 2 envs
    rounds_after_warm_up = sum(6 * r > 100 for r in range(1, 41))
    assert model._n_updates == 2 * rounds_after_warm_up
    assert copies == list(range(5, model._n_updates + 1, 5))


def test_target_network_is_a_copy_after_its_interval_and_frozen_between() -> None:
    model = make_model(target_update_interval=4, gradient_steps=0)
    model.learn(200)
    start = [p.clone() for p in model.q_net_target.parameters()]
    model.train(gradient_steps=3, batch_size=8)
    assert all(th.equal(a, b) for a, b in zip(start, model.q_net_target.parameters(), strict=True))
    assert not all(th.equal(a, b) for a, b in zip(start, model.q_net.parameters(), strict=True))
    model.train(gradient_steps=1, batch_size=8)
    assert all(th.equal(a, b) for a, b in zip(model.q_net.parameters(), model.q_net_target.parameters(), strict=True))


def test_training_before_the_first_window_is_complete_does_nothing() -> None:
    model = make_model(n_envs=1, learning_starts=0)
    model.learn(1)
    assert model._n_updates == 0


def test_a_seed_repeats_a_run_to_the_last_bit() -> None:
    runs = []
    for _ in range(2):
        model = make_model(seed=3)
        model.learn(300)
        runs.append(model.get_parameters()["policy"])
    assert all(th.equal(runs[0][key], runs[1][key]) for key in runs[0])


@pytest.mark.parametrize(
    "settings",
    [
        {"head": Scalar(dueling="max")},
        {"head": Scalar(dueling="naive")},
        {"tau": 0.1, "target_update_interval": 1},
        {"sampler": Proportional(0.9, 0.4, 1.0)},
        {"value_rescaling": ValueRescaling(eps=1e-2)},
        {"state_init": "zero", "burn_in": 0},  # DRQN, random updates
        {"state_init": "zero", "burn_in": 0, "sequence_length": 24, "period": 24},  # DRQN, sequential updates
        {"policy_kwargs": {"lstm_hidden_size": 8, "core_class": GRUCore, "n_lstm_layers": 2, "net_arch": [8, 8]}},
        {"train_freq": (1, "episode"), "gradient_steps": -1},
    ],
)
def test_every_switch_trains(settings: dict[str, Any]) -> None:
    model = make_model(n_envs=1, **settings)
    before = [p.clone() for p in model.q_net.parameters()]
    model.learn(120)
    assert model._n_updates > 0
    assert not all(th.equal(a, b) for a, b in zip(before, model.q_net.parameters(), strict=True))
    assert all(bool(th.isfinite(p).all()) for p in model.q_net.parameters())


def test_sequential_updates_see_whole_episodes() -> None:
    """
    DRQN's sequential mode: with windows as long as the longest episode there is one window per episode, from its start.
    """
    model = make_model(n_envs=1, state_init="zero", burn_in=0, sequence_length=24, period=24, gradient_steps=0)
    model.learn(43 * 3)  # three rounds of episodes of 7, 1, 23 and 12 steps
    assert model.replay_buffer is not None
    batch = model.replay_buffer._get_samples(np.flatnonzero(model.replay_buffer._active))
    assert isinstance(batch.observations, th.Tensor)
    assert sorted(batch.mask.sum(1).int().tolist()) == sorted([7, 1, 23, 12] * 3)
    assert float(batch.observations[:, 0, 2].abs().max()) == 0.0


def test_the_impala_torso_trains() -> None:
    model = make_image_model(policy_kwargs=dict(lstm_hidden_size=8, features_extractor_class=ImpalaResNet))
    model.learn(40)
    assert model._n_updates > 0


def learned_value(env: ConstantReward, gamma: float, updates: int, **kwargs: Any) -> R2D2:
    model = R2D2(
        "MlpLstmPolicy", DummyVecEnv([lambda: Monitor(env)]), gamma=gamma, burn_in=2, sequence_length=8, period=4,
        n_steps=5, batch_size=16, learning_rate=3e-3, target_update_interval=5, gradient_steps=0, learning_starts=0,
        seed=0, policy_kwargs=dict(lstm_hidden_size=8), device="cpu", **kwargs,
    )  # fmt: skip
    model.learn(200)
    model.train(gradient_steps=updates, batch_size=16)
    return model


@pytest.mark.parametrize("value_rescaling", [True, False])
def test_trap_01_a_constant_reward_converges_to_its_fixed_point(value_rescaling: bool) -> None:
    """gamma 0.997 and reward 1 for ever: value 333. Without eps in the inverse of h this diverges."""
    gamma = 0.997 if value_rescaling else 0.9  # unscaled targets of 333 would only be slower, not different
    model = learned_value(ConstantReward(), gamma, 1500, value_rescaling=value_rescaling)
    q, state = th.zeros(1), model.q_net.initial_state(1)
    with th.no_grad():
        for _ in range(20):
            q, state = model.q_net.step(th.ones(1, 1), state)
    value = float(model.transform.invert(q.max()))
    assert abs(value - 1 / (1 - gamma)) < 0.05 / (1 - gamma)


@pytest.mark.parametrize("truncates", [False, True])
def test_trap_03_and_16_terminations_end_the_return_and_truncations_do_not(truncates: bool) -> None:
    """
    Reward 1 for 6 steps: worth sum_k gamma^k when the episode terminates, 1 / (1 - gamma) when it is only cut off.
    """
    gamma = 0.9
    model = learned_value(ConstantReward(length=6, truncates=truncates), gamma, 1000)
    first = float(model.transform.invert(model.q_net(th.ones(1, 1)).max().detach()))
    expected = 1 / (1 - gamma) if truncates else (1 - gamma**6) / (1 - gamma)
    assert abs(first - expected) < 0.08 * expected
