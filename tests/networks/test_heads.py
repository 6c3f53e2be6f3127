"""Every head against loops and plain arithmetic, in every dueling mode, inside both Q-networks and inside R2D2."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scipy.special import log_softmax, softmax
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from support.q_models import make_model
from support.slow import bellemare_loop, random_returns, slow_quantile_huber
from torch import nn
from torch.nn import functional as F

from sb3_ext.networks import (
    C51Head,
    NoisyLinear,
    QHead,
    QNetwork,
    QuantileHead,
    RecurrentQNetwork,
    ScalarHead,
    clear_noise,
    sample_noise,
)
from sb3_ext.networks.heads import DuelingMode
from sb3_ext.ops.returns import NStepReturns
from sb3_ext.ops.value_rescaling import IDENTITY, ValueRescaling, ValueTransform
from sb3_ext.r2d2 import R2D2

N_ACTIONS, WIDTH = 3, 6
HEADS: list[tuple[type[QHead], dict[str, Any]]] = [
    (ScalarHead, {}),
    (ScalarHead, {"loss": "huber"}),
    (C51Head, {"n_atoms": 11, "v_min": -6.0, "v_max": 6.0}),
    (C51Head, {"n_atoms": 11, "v_min": -6.0, "v_max": 6.0, "priority": "td"}),
    (QuantileHead, {"n_quantiles": 7}),
    (QuantileHead, {"n_quantiles": 4, "kappa": 0.0, "priority": "td"}),
]
ONE_OF_EACH = [HEADS[0], HEADS[2], HEADS[4]]


def make_head(head_class: type[QHead], kwargs: dict[str, Any], net_arch: list[int] | None = None) -> QHead:
    return head_class(WIDTH, N_ACTIONS, [7] if net_arch is None else net_arch, **kwargs)


class LossInput:
    """Random arguments of `QHead.loss` with leading axes [B, M]."""

    def __init__(self, head: QHead, n_batch: int = 10, trained: int = 6) -> None:
        self.returns, _ = random_returns(n_batch, trained, 3)
        with th.no_grad():
            shape = head(th.zeros(n_batch, trained, WIDTH)).shape
        self.out = (3 * th.randn(shape)).requires_grad_()
        self.target_out = (3 * th.randn(shape)).requires_grad_()
        self.action, self.next_action = (th.randint(N_ACTIONS, (n_batch, trained, 1)) for _ in range(2))

    def loss_of(self, head: QHead, transform: ValueTransform) -> tuple[th.Tensor, th.Tensor]:
        return head.loss(self.out, self.action, self.returns, self.target_out, self.next_action, transform)


# ---------------------------------------------------------------------- streams


@pytest.mark.parametrize("mode", ["avg", "max", "naive"])
@pytest.mark.parametrize(("head_class", "kwargs"), ONE_OF_EACH)
def test_dueling_baselines(head_class: type[QHead], kwargs: dict[str, Any], mode: DuelingMode) -> None:
    """Output by output, in a loop."""
    th.manual_seed(0)
    head, features = make_head(head_class, {**kwargs, "dueling": mode}), th.randn(2, 4, WIDTH)
    assert head.value is not None
    out = head(features).reshape(2, 4, N_ACTIONS, -1)
    advantage, value = head.advantage(features).reshape(2, 4, N_ACTIONS, -1), head.value(features).reshape(2, 4, -1)
    assert out.shape == advantage.shape
    for b, t, i in itertools.product(range(2), range(4), range(out.shape[-1])):
        a = advantage[b, t, :, i].tolist()
        baseline = {"avg": sum(a) / N_ACTIONS, "max": max(a), "naive": 0.0}[mode]
        expected = [value[b, t, i].item() + each - baseline for each in a]
        np.testing.assert_allclose(out[b, t, :, i].tolist(), expected, atol=1e-6)


@pytest.mark.parametrize(("head_class", "kwargs"), ONE_OF_EACH)
def test_dueling_identities(head_class: type[QHead], kwargs: dict[str, Any]) -> None:
    """Output by output, avg: the mean over actions is V. max: the largest is V. naive without V: a single stream."""
    th.manual_seed(1)
    features, heads = th.randn(200, WIDTH), {}
    for mode in ("naive", "avg", "max"):
        heads[mode] = make_head(head_class, {**kwargs, "dueling": mode})
        heads[mode].load_state_dict(heads["naive"].state_dict())
    stream = heads["naive"].value
    assert stream is not None
    value = stream(features)
    out = {mode: head(features).reshape(200, N_ACTIONS, -1) for mode, head in heads.items()}
    th.testing.assert_close(out["avg"].mean(dim=1), value, rtol=0, atol=1e-5)
    th.testing.assert_close(out["max"].amax(dim=1), value, rtol=0, atol=1e-5)
    if head_class is not C51Head:  # all rank actions alike
        orders = [head.q_values(head(features)).argsort(dim=-1) for head in heads.values()]
        assert th.equal(orders[0], orders[1]) and th.equal(orders[0], orders[2])

    single = make_head(head_class, {**kwargs, "dueling": None})
    single.advantage.load_state_dict(heads["naive"].advantage.state_dict())
    assert single.value is None
    th.testing.assert_close(single(features).reshape(200, N_ACTIONS, -1) + value.unsqueeze(1), out["naive"])


def test_a_shift_common_to_all_atoms_is_invisible() -> None:
    """Why a baseline for logits must differ from atom to atom."""
    head = make_head(*HEADS[2])
    out = th.randn(20, N_ACTIONS, 11)
    th.testing.assert_close(head.q_values(out + th.randn(20, 1, 1)), head.q_values(out))


@pytest.mark.parametrize("net_arch", [[], [32], [32, 32]])
@pytest.mark.parametrize("noisy_std", [None, 0.5])
@pytest.mark.parametrize(("head_class", "kwargs"), ONE_OF_EACH)
def test_trap_05_both_streams_have_any_sign(
    head_class: type[QHead], kwargs: dict[str, Any], noisy_std: float | None, net_arch: list[int]
) -> None:
    th.manual_seed(2)
    head = make_head(head_class, {**kwargs, "noisy_std": noisy_std}, net_arch)
    shared = head.trunk(10 * th.randn(500, WIDTH))
    assert sum(isinstance(each, nn.Linear) for each in head.trunk.modules()) == len(net_arch[:-1])
    for stream in (head.advantage, head.value):
        assert stream is not None
        out = stream(shared)
        assert out.min() < 0 < out.max()
        layer = nn.Linear if noisy_std is None else NoisyLinear
        assert [type(each) for each in stream] == [layer, nn.ReLU] * len(net_arch[-1:]) + [layer]


def test_trap_05_a_negative_value_can_be_learned() -> None:
    th.manual_seed(3)
    head, features = ScalarHead(4, 2, [16]), th.randn(32, 4)
    optimizer = th.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(200):
        loss = (head(features) + 5.0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_expected_values() -> None:
    scalar, c51, quantile = (make_head(*each) for each in ONE_OF_EACH)
    out = th.randn(4, 5, N_ACTIONS)
    assert scalar.q_values(out) is out
    logits, support = th.randn(4, 5, N_ACTIONS, 11), np.linspace(-6, 6, 11)
    np.testing.assert_allclose(c51.q_values(logits), softmax(logits.numpy(), axis=-1) @ support, atol=1e-5)
    quantiles = th.randn(4, 5, N_ACTIONS, 7)
    np.testing.assert_allclose(quantile.q_values(quantiles), quantiles.numpy().mean(axis=-1), atol=1e-6)


@pytest.mark.parametrize(
    ("head_class", "kwargs", "message"),
    [
        (ScalarHead, {"dueling": "mean"}, "dueling 'mean' must be one of 'avg', 'max', 'naive', None"),
        (C51Head, {"dueling": "none"}, "dueling 'none' must be one of 'avg', 'max', 'naive', None"),
        (ScalarHead, {"loss": "l1"}, "loss 'l1' must be one of 'mse', 'huber'"),
        (ScalarHead, {"noisy_std": 0.0}, "noisy_std 0.0 must be > 0: None gives layers without noise"),
        (QuantileHead, {"noisy_std": -0.1}, "noisy_std -0.1 must be > 0"),
        (C51Head, {"n_atoms": 1}, "n_atoms 1 must be >= 2"),
        (C51Head, {"v_min": 15.0}, "v_min 15.0 must be less than v_max 15.0"),
        (C51Head, {"v_max": -20.0}, "v_min -15.0 must be less than v_max -20.0"),
        (C51Head, {"v_max": float("inf")}, "v_max inf, and both must be finite"),
        (C51Head, {"priority": "kl"}, "priority 'kl' must be one of 'loss', 'td'"),
        (QuantileHead, {"n_quantiles": 0}, "n_quantiles 0 must be >= 1"),
        (QuantileHead, {"kappa": -1.0}, "kappa -1.0 must be >= 0"),
        (QuantileHead, {"kappa": float("nan")}, "kappa nan must be >= 0"),
        (QuantileHead, {"priority": None}, "priority None must be one of 'loss', 'td'"),
    ],
)
def test_impossible_settings_are_refused(head_class: type[QHead], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_head(head_class, kwargs)


# ---------------------------------------------------------------------- losses


def target_values(x: LossInput, b: int, t: int, values: np.ndarray, transform: ValueTransform) -> np.ndarray:
    """``h(R + discount h^-1(values))`` in float64."""
    discounted = x.returns.discount[b, t].item() * transform.invert(values.astype(np.float64))
    return transform.apply(x.returns.reward_sum[b, t].item() + discounted)


def slow_loss(
    head: QHead, x: LossInput, b: int, t: int, transform: ValueTransform
) -> tuple[float, float, np.ndarray | None]:
    """:return: loss, magnitude for the priority and, where it is easy, the gradient to the outputs of the action"""
    own = x.out[b, t, int(x.action[b, t])].detach().double().numpy()
    following = x.target_out[b, t, int(x.next_action[b, t])].detach().double().numpy()
    if isinstance(head, ScalarHead):
        td = float(target_values(x, b, t, following, transform) - own)
        if head.loss_kind == "mse":
            return 0.5 * td * td, abs(td), np.array(-td)
        return (0.5 * td * td if abs(td) < 1 else abs(td) - 0.5), abs(td), np.array(-max(-1.0, min(1.0, td)))
    if isinstance(head, C51Head):
        support = head.support.double().numpy()
        atoms = target_values(x, b, t, support, transform)
        m, p = bellemare_loop(atoms, softmax(following), support), softmax(own)
        loss = -float(m @ log_softmax(own))
        kl = sum(mi * np.log(mi / pi) for mi, pi in zip(m, p, strict=True) if mi > 0)
        return loss, (kl if head.priority == "loss" else abs(float((m - p) @ support))), p - m
    assert isinstance(head, QuantileHead)
    targets = target_values(x, b, t, following, transform)
    loss = slow_quantile_huber(own.tolist(), targets.tolist(), head.taus.tolist(), head.kappa)
    return loss, (loss if head.priority == "loss" else abs(float(targets.mean() - own.mean()))), None


@pytest.mark.parametrize("transform", [IDENTITY, ValueRescaling()])
@pytest.mark.parametrize(("head_class", "kwargs"), HEADS)
def test_loss_equals_a_loop(head_class: type[QHead], kwargs: dict[str, Any], transform: ValueTransform) -> None:
    th.manual_seed(4)
    head = make_head(head_class, kwargs)
    x = LossInput(head)
    loss, magnitude = x.loss_of(head, transform)
    assert loss.shape == magnitude.shape == (10, 6)
    loss.sum().backward()
    assert x.out.grad is not None
    for b, t in itertools.product(range(10), range(6)):
        expected, expected_magnitude, gradient = slow_loss(head, x, b, t, transform)
        assert loss[b, t].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert magnitude[b, t].item() == pytest.approx(expected_magnitude, rel=1e-4, abs=1e-5)
        if gradient is not None:
            np.testing.assert_allclose(x.out.grad[b, t, int(x.action[b, t])], gradient, rtol=1e-4, atol=1e-4)
        x.out.grad[b, t, int(x.action[b, t])] = 0
    assert not x.out.grad.any()  # the other actions have none
    assert x.target_out.grad is None
    assert not magnitude.requires_grad
    assert (magnitude >= 0).all()


@pytest.mark.parametrize(("head_class", "kwargs"), HEADS)
def test_single_transitions_have_the_loss_that_they_have_in_sequences(
    head_class: type[QHead], kwargs: dict[str, Any]
) -> None:
    th.manual_seed(5)
    head = make_head(head_class, kwargs)
    x = LossInput(head)
    in_sequences = x.loss_of(head, ValueRescaling())
    flat = copy.copy(x)
    flat.out, flat.target_out = x.out.flatten(0, 1), x.target_out.flatten(0, 1)
    flat.action, flat.next_action = x.action.flatten(0, 1), x.next_action.flatten(0, 1)
    flat.returns = NStepReturns(*(part.flatten(0, 1) for part in x.returns))
    alone = flat.loss_of(head, ValueRescaling())
    for one, other in zip(in_sequences, alone, strict=True):
        assert other.shape == (60,)
        th.testing.assert_close(one.flatten(), other)


def test_huber_is_the_loss_of_sb3s_dqn() -> None:
    """What `DQN.train` computes in SB3 2.9: smooth_l1_loss(Q(s, a), rewards + (1 - dones) * gamma * max Q'(s'))."""
    th.manual_seed(6)
    head, gamma = ScalarHead(WIDTH, N_ACTIONS, [], dueling=None, loss="huber"), 0.99
    out, target_out, action = 2 * th.randn(32, 3), 2 * th.randn(32, 3), th.randint(3, (32, 1))
    rewards, dones = 2 * th.randn(32, 1), (th.rand(32, 1) < 0.3).float()
    target = rewards + (1 - dones) * gamma * target_out.max(dim=1).values.reshape(-1, 1)
    expected = F.smooth_l1_loss(out.gather(1, action), target)
    returns = NStepReturns(rewards[:, 0], gamma * (1 - dones[:, 0]), th.ones(32, dtype=th.int64))
    best = target_out.argmax(dim=1, keepdim=True)
    th.testing.assert_close(head.loss(out, action, returns, target_out, best, IDENTITY)[0].mean(), expected)


def test_the_divergence_of_a_perfect_prediction_is_zero() -> None:
    """The loss is the target's entropy then, so the loss itself would be no priority."""
    head = make_head(*HEADS[2])
    action = th.zeros(8, 1, dtype=th.int64)
    returns = NStepReturns(th.zeros(8), th.ones(8), th.ones(8, dtype=th.int64))
    out = th.randn(8, N_ACTIONS, 11)
    loss, magnitude = head.loss(out, action, returns, out, action, IDENTITY)
    assert (loss > 0.5).all()
    assert (magnitude >= 0).all() and (magnitude < 1e-5).all()


def test_trap_04_the_weight_scales_the_loss_and_not_the_target() -> None:
    """The head never sees a weight; outside it, w loss has the gradient w td. Inside both sides it would be w^2 td."""
    th.manual_seed(5)
    returns, _ = random_returns(8, 4, 2)
    head, action = ScalarHead(6, N_ACTIONS, []), th.zeros(8, 4, 1, dtype=th.int64)
    out, target_out = th.randn(8, 4, N_ACTIONS, requires_grad=True), th.randn(8, 4, N_ACTIONS)
    weights = th.rand(8)
    loss, abs_td = head.loss(out, action, returns, target_out, action, IDENTITY)
    (weights[:, None] * loss).sum().backward()
    assert out.grad is not None
    th.testing.assert_close(out.grad[..., 0].abs(), weights[:, None] * abs_td)


@pytest.mark.parametrize("transform", [IDENTITY, ValueRescaling()])
@pytest.mark.parametrize(("head_class", "kwargs"), ONE_OF_EACH)
def test_backups_of_a_constant_reward_reach_its_value(
    head_class: type[QHead], kwargs: dict[str, Any], transform: ValueTransform
) -> None:
    """Reward 1 for ever and gamma 0.8: value 5, in rescaled units h(5)."""
    th.manual_seed(7)
    kwargs = {**kwargs, "n_atoms": 51} if head_class is C51Head else kwargs
    head, features = make_head(head_class, kwargs, []), th.ones(1, WIDTH)
    target = copy.deepcopy(head)
    optimizer = th.optim.Adam(head.parameters(), lr=0.02)
    returns = NStepReturns(th.ones(1), th.full((1,), 0.8), th.ones(1, dtype=th.int64))
    for step in range(1000):
        if step % 10 == 0:
            target.load_state_dict(head.state_dict())
        with th.no_grad():
            target_out = target(features)
            best = head.q_values(head(features)).argmax(dim=-1, keepdim=True)
        action = th.tensor([[step % N_ACTIONS]])
        loss, _ = head.loss(head(features), action, returns, target_out, best, transform)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    q = head.q_values(head(features)).detach()
    np.testing.assert_allclose(transform.invert(q).numpy(), 5.0, rtol=0.06)


# ---------------------------------------------------------------------- in both networks

VECTOR = spaces.Box(-np.inf, np.inf, (4,), np.float32)
IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
DICT = spaces.Dict({"image": IMAGE, "vector": spaces.Box(-1, 1, (3,), np.float32)})


def make_network(network: type, head_class: type[QHead], head_kwargs: dict[str, Any]) -> Any:
    th.manual_seed(0)
    extractor = FlattenExtractor(VECTOR)
    return network(
        VECTOR, spaces.Discrete(N_ACTIONS), extractor, extractor.features_dim, head_class=head_class,
        head_kwargs=head_kwargs, net_arch=[8],
    )  # fmt: skip


@pytest.mark.parametrize("noisy_std", [None, 0.5])
@pytest.mark.parametrize(("head_class", "kwargs"), ONE_OF_EACH)
def test_every_head_works_in_both_networks(
    head_class: type[QHead], kwargs: dict[str, Any], noisy_std: float | None
) -> None:
    head_kwargs = {**kwargs, "noisy_std": noisy_std}
    flat, recurrent = (make_network(each, head_class, head_kwargs) for each in (QNetwork, RecurrentQNetwork))
    obs = th.randn(5, 4)
    for net in (flat, recurrent):
        assert net(obs).shape == (5, N_ACTIONS)
        assert th.equal(net._predict(obs), net(obs).argmax(dim=1))
        actions, state = net.predict(obs.numpy())
        assert state is None and np.array_equal(actions, net(obs).argmax(dim=1))
        sample_noise(net, (5,))
        noisy = net(obs)
        clear_noise(net)
        assert th.equal(noisy, net(obs)) == (noisy_std is None)
    assert th.equal(flat(obs), flat.head.q_values(flat.outputs(obs)))
    assert flat.outputs(obs).shape[:2] == (5, N_ACTIONS)
    out, _ = recurrent.unroll(th.randn(5, 9, 4), recurrent.initial_state(5))
    assert recurrent.head.q_values(out).shape == (5, 9, N_ACTIONS)


@pytest.mark.parametrize(
    ("space", "torso", "kwargs"),
    [(IMAGE, NatureCNN, {"features_dim": 12}), (DICT, CombinedExtractor, {"cnn_output_dim": 12})],
)
def test_q_network_takes_images_and_dicts(space: spaces.Space, torso: type[BaseFeaturesExtractor], kwargs: Any) -> None:
    extractor = torso(space, **kwargs)
    net = QNetwork(space, spaces.Discrete(N_ACTIONS), extractor, extractor.features_dim)
    sample = space.sample()
    obs, _ = net.obs_to_tensor(sample)
    image = (obs["image"] if isinstance(obs, dict) else obs).float() / 255  # once, and by the network
    features = extractor({**obs, "image": image} if isinstance(obs, dict) else image)
    th.testing.assert_close(net(obs), net.head(features))
    assert net.predict(sample)[0] == net(obs).argmax()


@pytest.mark.parametrize(("head_class", "kwargs"), ONE_OF_EACH)
def test_noise_of_the_head_does_not_change_the_recurrent_state(head_class: type[QHead], kwargs: dict[str, Any]) -> None:
    net = make_network(RecurrentQNetwork, head_class, {**kwargs, "noisy_std": 0.5})
    obs, state = th.randn(5, 9, 4), net.initial_state(5)
    runs = []
    for noisy in (False, True):
        clear_noise(net)
        if noisy:
            sample_noise(net, (5,))
        q, stepped = net.step(obs[:, 0], state)
        if noisy:
            sample_noise(net, (5, 1))
        out, unrolled = net.unroll(obs, state)
        runs.append([*stepped, *unrolled, *net.burn_in(obs, state, th.full((5,), 9), (0, 9)), q, out])
    *states, q, out = zip(*runs, strict=True)
    assert all(th.equal(a, b) for a, b in states)
    assert not th.equal(*q) and not th.equal(*out)


@pytest.mark.parametrize(("head_class", "kwargs"), ONE_OF_EACH)
def test_trap_21_noise_per_sequence_is_that_of_acting_with_one_draw(
    head_class: type[QHead], kwargs: dict[str, Any]
) -> None:
    """Unrolled with one draw per sequence = stepped with the same draw all the time."""
    net = make_network(RecurrentQNetwork, head_class, {**kwargs, "noisy_std": 0.5})
    obs, state = th.randn(5, 9, 4), net.initial_state(5)
    sample_noise(net, (5, 1))
    unrolled = net.head.q_values(net.unroll(obs, state)[0])
    for layer in net.modules():
        if isinstance(layer, NoisyLinear):
            assert layer.noise is not None
            layer.noise = layer.noise[0][:, 0], layer.noise[1][:, 0]
    for t in range(9):
        q, state = net.step(obs[:, t], state)
        th.testing.assert_close(q, unrolled[:, t], rtol=0, atol=1e-5)


# ---------------------------------------------------------------------- in R2D2

IN_R2D2: list[tuple[type[QHead], dict[str, Any]]] = [
    (ScalarHead, {"noisy_std": 0.5, "loss": "huber"}),
    (C51Head, {"noisy_std": 0.5, "n_atoms": 11, "v_min": -6.0, "v_max": 6.0}),
    (QuantileHead, {"noisy_std": 0.5, "n_quantiles": 5, "dueling": None}),
]


@pytest.mark.parametrize("value_rescaling", [True, False])
@pytest.mark.parametrize(("head_class", "head_kwargs"), IN_R2D2)
def test_r2d2_trains_saves_and_loads_with_every_head(
    head_class: type[QHead], head_kwargs: dict[str, Any], value_rescaling: bool, tmp_path: Path
) -> None:
    policy_kwargs = dict(lstm_hidden_size=8, head_class=head_class, head_kwargs=head_kwargs)
    model = make_model(policy_kwargs=policy_kwargs, value_rescaling=value_rescaling)
    before = [p.clone() for p in model.q_net.head.parameters()]
    model.learn(100)
    assert model._n_updates > 10
    assert isinstance(model.q_net.head, head_class)
    assert (model.q_net.head.value is None) == (head_class is QuantileHead)  # head_kwargs win over `dueling`
    assert not all(th.equal(a, b) for a, b in zip(before, model.q_net.head.parameters(), strict=True))
    assert all(bool(th.isfinite(p).all()) for p in model.q_net.parameters())
    obs = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    model.save(tmp_path / "model.zip")
    loaded = R2D2.load(tmp_path / "model.zip", device="cpu")
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    assert loaded.policy.head_class is head_class
    assert loaded.policy.head_kwargs == {"dueling": "avg", "noisy_std": None, **head_kwargs}


@pytest.mark.parametrize(("head_class", "head_kwargs"), IN_R2D2)
def test_one_update_of_r2d2_under_noise_trains_its_scale(head_class: type[QHead], head_kwargs: dict[str, Any]) -> None:
    """Each network draws for itself, once per sequence."""
    model = make_model(
        gradient_steps=0, policy_kwargs=dict(lstm_hidden_size=8, head_class=head_class, head_kwargs=head_kwargs)
    )
    model.learn(200)
    assert model.replay_buffer is not None
    batch = model.replay_buffer.sample(8)
    before = {name: p.clone() for name, p in model.q_net.named_parameters()}
    update = model._gradient_step(batch)
    assert update.priorities.shape == (8,) and (update.priorities >= 0).all()
    assert not any(th.equal(before[name], p) for name, p in model.q_net.named_parameters())


def test_a_wrong_setting_of_the_head_is_named_by_r2d2() -> None:
    with pytest.raises(ValueError, match="n_atoms 1 must be >= 2"):
        make_model(policy_kwargs=dict(head_class=C51Head, head_kwargs=dict(n_atoms=1)))
    with pytest.raises(ValueError, match=r"head_kwargs 'n_quantiles' is no keyword of C51Head: .*n_atoms"):
        make_model(distributional="c51", head_kwargs=dict(n_quantiles=8))
