"""Every head inside both Q-networks and inside R2D2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from support.heads import ONE
from support.q_models import make_model

from sb3_ext.networks import (
    C51,
    Head,
    NoisyLinear,
    QNetwork,
    Quantile,
    RecurrentQNetwork,
    Scalar,
    clear_noise,
    sample_noise,
)
from sb3_ext.networks.heads import StreamsHead
from sb3_ext.r2d2 import R2D2

N_ACTIONS = 3
VECTOR = spaces.Box(-np.inf, np.inf, (4,), np.float32)


IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)


DICT = spaces.Dict({"image": IMAGE, "vector": spaces.Box(-1, 1, (3,), np.float32)})


def make_network(network: type, head: Head) -> Any:
    th.manual_seed(0)
    extractor = FlattenExtractor(VECTOR)
    return network(
        VECTOR, spaces.Discrete(N_ACTIONS), extractor, extractor.features_dim, head=head, net_arch=[8]
    )  # fmt: skip


@pytest.mark.parametrize("noise", [None, 0.5])
@ONE
def test_every_head_works_in_both_networks(head: StreamsHead, noise: float | None) -> None:
    head = replace(head, noise=noise)
    flat, recurrent = (make_network(each, head) for each in (QNetwork, RecurrentQNetwork))
    obs = th.randn(5, 4)
    for net in (flat, recurrent):
        assert net(obs).shape == (5, N_ACTIONS)
        assert th.equal(net._predict(obs), net(obs).argmax(dim=1))
        actions, state = net.predict(obs.numpy())
        assert state is None and np.array_equal(actions, net(obs).argmax(dim=1))
        sample_noise(net, (5,))
        noisy = net(obs)
        clear_noise(net)
        assert th.equal(noisy, net(obs)) == (noise is None)
    assert th.equal(flat(obs), flat.head.q_values(flat.outputs(obs)))
    assert flat.outputs(obs).shape[:2] == (5, N_ACTIONS)
    out, _ = recurrent.unroll(th.randn(5, 9, 4), recurrent.initial_state(5))
    assert recurrent.head.q_values(out).shape == (5, 9, N_ACTIONS)


@pytest.mark.parametrize(
    ("space", "torso", "kwargs"),
    [(IMAGE, NatureCNN, {"features_dim": 12}), (DICT, CombinedExtractor, {"cnn_output_dim": 12})],
)
def test_q_network_takes_images_and_dicts(
    space: spaces.Space[Any], torso: type[BaseFeaturesExtractor], kwargs: Any
) -> None:
    extractor = torso(space, **kwargs)
    net = QNetwork(space, spaces.Discrete(N_ACTIONS), extractor, extractor.features_dim)
    sample = space.sample()
    obs, _ = net.obs_to_tensor(sample)
    image = (obs["image"] if isinstance(obs, dict) else obs).float() / 255  # once, and by the network
    features = extractor({**obs, "image": image} if isinstance(obs, dict) else image)
    th.testing.assert_close(net(obs), net.head_net(features))
    assert net.predict(sample)[0] == net(obs).argmax()


@ONE
def test_noise_of_the_head_does_not_change_the_recurrent_state(head: StreamsHead) -> None:
    net = make_network(RecurrentQNetwork, replace(head, noise=0.5))
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


@ONE
def test_trap_21_noise_per_sequence_is_that_of_acting_with_one_draw(head: StreamsHead) -> None:
    """Unrolled with one draw per sequence = stepped with the same draw all the time."""
    net = make_network(RecurrentQNetwork, replace(head, noise=0.5))
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


IN_R2D2: list[StreamsHead] = [
    Scalar(noise=0.5, td_loss="huber"),
    C51(noise=0.5, n_atoms=11, v_min=-6.0, v_max=6.0),
    Quantile(noise=0.5, n_quantiles=5, dueling=None),
]


INSIDE = pytest.mark.parametrize("head", IN_R2D2, ids=repr)


@pytest.mark.parametrize("value_rescaling", [True, False])
@INSIDE
def test_r2d2_trains_saves_and_loads_with_every_head(head: Head, value_rescaling: bool, tmp_path: Path) -> None:
    model = make_model(head=head, policy_kwargs=dict(lstm_hidden_size=8), value_rescaling=value_rescaling)
    before = [p.clone() for p in model.q_net.head_net.parameters()]
    model.learn(100)
    assert model._n_updates > 10
    assert model.head is model.q_net.head is head
    assert not all(th.equal(a, b) for a, b in zip(before, model.q_net.head_net.parameters(), strict=True))
    assert all(bool(th.isfinite(p).all()) for p in model.q_net.parameters())
    obs = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    model.save(tmp_path / "model.zip")
    loaded = R2D2.load(tmp_path / "model.zip", device="cpu")
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    assert loaded.head == loaded.policy.head == head


@INSIDE
def test_one_update_of_r2d2_under_noise_trains_its_scale(head: Head) -> None:
    """Each network draws for itself, once per sequence."""
    model = make_model(gradient_steps=0, head=head, policy_kwargs=dict(lstm_hidden_size=8))
    model.learn(200)
    assert model.replay_buffer is not None
    batch = model.replay_buffer.sample(8)
    before = {name: p.clone() for name, p in model.q_net.named_parameters()}
    update = model.learner.update(batch, False)
    assert update.priorities.shape == (8,) and (update.priorities >= 0).all()
    assert not any(th.equal(before[name], p) for name, p in model.q_net.named_parameters())
