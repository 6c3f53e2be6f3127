"""What the discriminator sees, and what it must not see."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn

from sb3_ext import nested
from sb3_ext.imitation.discriminator import (
    FLAG,
    Discriminator,
    ShapedDiscriminator,
    encode_action,
    encoded_action_dim,
)
from sb3_ext.imitation.steps import Steps
from sb3_ext.networks.normalizer import RunningNormalizer

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
DICT = spaces.Dict({"picture": IMAGE, "speed": VECTOR, "gear": spaces.Discrete(4)})
B = 6


def tensors(space: spaces.Space[Any], seed: int = 0) -> Any:  # Any: a tensor or a dictionary of them
    space.seed(seed)
    samples = [space.sample() for _ in range(B)]
    if isinstance(space, spaces.Dict):
        return {key: th.as_tensor(np.array([s[key] for s in samples])) for key in space}
    return th.as_tensor(np.array(samples))


def steps(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any], seed: int = 0, absorbing: float = 0.0
) -> Steps:
    return Steps(
        tensors(observation_space, seed),
        tensors(action_space, seed + 1),
        tensors(observation_space, seed + 2),
        th.full((B,), absorbing),
        th.full((B,), absorbing),
        log_prob=th.zeros(B),
    )


@pytest.mark.parametrize("observation_space", [VECTOR, IMAGE, DICT, spaces.Discrete(5)], ids=str)
@pytest.mark.parametrize("inputs", ["sa", "s", "ss", "sas"])
def test_every_input_works_on_every_space(observation_space: spaces.Space[Any], inputs: str) -> None:
    action_space = spaces.MultiDiscrete([2, 3])
    discriminator = Discriminator(observation_space, action_space, inputs).eval()
    batch = steps(observation_space, action_space)
    logits = discriminator(batch)
    assert logits.shape == (B,) and discriminator.encode(batch).shape == (B, discriminator.n_inputs)
    other = steps(observation_space, action_space, seed=10)
    for field, seen in [("actions", "a" in inputs), ("next_observations", inputs in ("ss", "sas"))]:
        changed = discriminator(batch._replace(**{field: getattr(other, field)}))
        assert bool((changed != logits).any()) == seen, field


@pytest.mark.parametrize("inputs", ["sa", "s", "ss", "sas"])
def test_the_absorbing_state_is_its_final_observation_and_a_flag_apart(inputs: str) -> None:
    action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)
    discriminator = Discriminator(VECTOR, action_space, inputs).eval()
    absorbed = steps(VECTOR, action_space, absorbing=1.0)
    logits = discriminator(absorbed)
    other_action = absorbed._replace(actions=absorbed.actions + 1)
    th.testing.assert_close(discriminator(other_action), logits, rtol=0, atol=0)
    other_end = steps(VECTOR, action_space, seed=5, absorbing=1.0)
    assert (discriminator(other_end) != logits).all(), "one end is not another"
    alive = absorbed._replace(actions=th.zeros(B, 1), absorbing=th.zeros(B), next_absorbing=th.zeros(B))
    apart = (discriminator.encode(absorbed) - discriminator.encode(alive)).norm(dim=1)
    th.testing.assert_close(apart, th.full((B,), FLAG * inputs.count("s") ** 0.5))


@pytest.mark.parametrize("inputs", ["sa", "s", "ss", "sas"])
def test_without_absorbing_states_an_end_is_not_shown(inputs: str) -> None:
    batch = steps(VECTOR, spaces.Discrete(2))
    ended = batch._replace(next_absorbing=th.ones(B))
    for absorbing in (True, False):
        discriminator = Discriminator(VECTOR, spaces.Discrete(2), inputs, absorbing=absorbing).eval()
        seen = bool((discriminator(ended) != discriminator(batch)).any())
        assert seen == (absorbing and inputs in ("ss", "sas"))


@pytest.mark.parametrize("observation_space", [VECTOR, spaces.Dict({"speed": VECTOR})], ids=str)
def test_a_final_observation_that_is_not_finite_stays_out(observation_space: spaces.Space[Any]) -> None:
    """MuJoCo's tasks terminate where the simulation diverged."""
    discriminator = Discriminator(observation_space, spaces.Discrete(2), "sas")
    batch = steps(observation_space, spaces.Discrete(2))._replace(next_absorbing=th.ones(B))
    diverged = nested.map(lambda x: th.full_like(x, th.nan), batch.next_observations)
    nowhere = nested.map(th.zeros_like, batch.next_observations)
    logits = discriminator(batch._replace(next_observations=diverged))
    th.testing.assert_close(logits, discriminator(batch._replace(next_observations=nowhere)))
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in discriminator.parameters())


@pytest.mark.parametrize(
    ("space", "action", "wanted"),
    [
        (spaces.Discrete(3), [2], [0, 0, 1]),
        (spaces.Discrete(3, start=-1), [-1], [1, 0, 0]),
        (spaces.MultiDiscrete([2, 3]), [[1, 0]], [0, 1, 1, 0, 0]),
        (spaces.MultiDiscrete([2, 3], start=[5, 7]), [[6, 7]], [0, 1, 1, 0, 0]),
        (spaces.MultiBinary(3), [[1, 0, 1]], [1, 0, 1]),
        (spaces.Box(np.array([0, -4], dtype=np.float32), np.array([1, 4], dtype=np.float32)), [[0.25, 4]], [-0.5, 1]),
        (spaces.Box(-np.inf, np.inf, (2,)), [[3.0, -5.0]], [3, -5]),
    ],
    ids=str,
)
def test_actions_are_encoded_by_their_space(space: Any, action: list[Any], wanted: list[float]) -> None:
    encoded = encode_action(th.as_tensor(action), space)
    np.testing.assert_allclose(encoded[0], wanted, atol=1e-6)
    assert encoded.shape[1] == encoded_action_dim(space)


def test_running_statistics_are_those_of_all_batches() -> None:
    rng = np.random.default_rng(0)
    normalizer = RunningNormalizer((3,))
    batches = [rng.normal(5, 3, (n, 3)) for n in (1, 50, 7, 200)]
    for batch in batches:
        normalizer.update(th.as_tensor(batch))
    everything = np.concatenate(batches)
    np.testing.assert_allclose(normalizer.mean, everything.mean(axis=0))
    np.testing.assert_allclose(normalizer.variance, everything.var(axis=0))
    normalizer.update(th.zeros(0, 3))
    assert normalizer.count == len(everything)
    standardised = normalizer(th.as_tensor(everything))
    np.testing.assert_allclose(standardised.std(dim=0, unbiased=False), 1, rtol=1e-4)


@pytest.mark.parametrize("unit", [1e-2, 1e4])
def test_units_of_observations_and_of_bounded_actions_do_not_matter(unit: float) -> None:
    encoded = []
    for scale in (1.0, unit):
        space = spaces.Box(-scale, scale, (2,), np.float32)
        batch = steps(VECTOR, spaces.Box(-1.0, 1.0, (2,), np.float32))._replace(absorbing=(th.arange(B) >= 3).float())
        assert isinstance(batch.observations, th.Tensor) and isinstance(batch.next_observations, th.Tensor)
        observations, after = scale * batch.observations, scale * batch.next_observations
        batch = batch._replace(observations=observations, next_observations=after, actions=scale * batch.actions)
        discriminator = Discriminator(VECTOR, space, "sas")
        discriminator.update_normalizers(batch)
        encoded.append(discriminator.encode(batch))
    th.testing.assert_close(*encoded, rtol=1e-3, atol=1e-3)


def test_states_and_ends_have_statistics_of_their_own() -> None:
    discriminator = Discriminator(VECTOR, spaces.Discrete(2))
    alive, absorbed = steps(VECTOR, spaces.Discrete(2)), steps(VECTOR, spaces.Discrete(2), seed=5, absorbing=1.0)
    diverged = absorbed._replace(observations=th.full((B, 3), th.inf), absorbing=th.ones(B))
    both: Any = [th.cat([a, b]) for a, b in zip(alive, absorbed, strict=True)]  # type: ignore[list-item]  # of a Box
    discriminator.update_normalizers(Steps(*both))
    for normalizers, batch in ((discriminator.normalizers, alive), (discriminator.final_normalizers, absorbed)):
        (normalizer,) = normalizers.values()
        assert isinstance(normalizer, RunningNormalizer) and normalizer.count == B
        assert isinstance(batch.observations, th.Tensor)
        np.testing.assert_allclose(normalizer.mean, batch.observations.double().mean(dim=0))
        states = discriminator.encode(batch)[:, :3]
        np.testing.assert_allclose(states, normalizer(batch.observations), rtol=1e-6)
    discriminator.update_normalizers(diverged)
    assert all(x.isfinite().all() for x in discriminator.state_dict().values())


def test_statistics_are_saved_and_images_have_none() -> None:
    discriminator = Discriminator(DICT, spaces.Discrete(2))
    assert set(discriminator.normalizers) == {"speed"}
    discriminator.update_normalizers(steps(DICT, spaces.Discrete(2)))
    discriminator.update_normalizers(steps(DICT, spaces.Discrete(2), absorbing=1.0))
    other = Discriminator(DICT, spaces.Discrete(2))
    other.load_state_dict(discriminator.state_dict())
    batch = steps(DICT, spaces.Discrete(2))
    th.testing.assert_close(other.eval()(batch), discriminator.eval()(batch))
    assert not Discriminator(VECTOR, spaces.Discrete(2), normalize_observations=False).normalizers


def test_spectral_norm_bounds_the_slope() -> None:
    th.manual_seed(0)
    action_space = spaces.Discrete(2)
    bounded = Discriminator(VECTOR, action_space, "s", activation_fn=nn.ReLU, spectral_norm=True)
    for _ in range(100):
        bounded(steps(VECTOR, action_space))  # each pass in training improves the estimate of the singular values
    bounded.eval()
    x = 10 * th.randn(500, 2, bounded.n_inputs)
    rise = (bounded.head(x[:, 0]) - bounded.head(x[:, 1])).abs().flatten() / (x[:, 0] - x[:, 1]).norm(dim=1)
    assert rise.max() < 1.01


def test_dropout_acts_in_training_only() -> None:
    discriminator = Discriminator(VECTOR, spaces.Discrete(2), dropout=0.5)
    batch = steps(VECTOR, spaces.Discrete(2))
    assert (discriminator.train()(batch) != discriminator(batch)).any()
    th.testing.assert_close(discriminator.eval()(batch), discriminator(batch))


def test_shaped_logits_are_reward_shaping_and_log_probability() -> None:
    action_space = spaces.Discrete(2)
    shaped = ShapedDiscriminator(VECTOR, action_space, gamma=0.9, net_arch=(8,)).eval()
    batch = steps(VECTOR, action_space)._replace(log_prob=th.linspace(-2, 0, B))
    assert isinstance(batch.observations, th.Tensor) and isinstance(batch.next_observations, th.Tensor)
    state = th.cat([batch.observations, th.zeros(B, 1)], dim=1)
    next_state = th.cat([batch.next_observations, th.zeros(B, 1)], dim=1)
    g, h, h_next = shaped.head(state), shaped.shaping(state), shaped.shaping(next_state)
    wanted = (g + 0.9 * h_next - h).squeeze(-1) - batch.log_prob
    th.testing.assert_close(shaped(batch), wanted)
    th.testing.assert_close(shaped.state_reward(batch), g.squeeze(-1))


@pytest.mark.parametrize("absorbing", [False, True])
@pytest.mark.parametrize("n_steps", [1, 3, 8])
def test_shaping_telescopes_whatever_the_path(absorbing: bool, n_steps: int) -> None:
    """Summed step by step over an episode that terminates, the absorbing state after it as long as gamma^k counts."""
    gamma = 0.5
    shaped = ShapedDiscriminator(VECTOR, spaces.Discrete(2), gamma=gamma, absorbing=absorbing).eval()
    rng = np.random.default_rng(n_steps)
    path = th.as_tensor(rng.normal(size=(n_steps + 1, 3)), dtype=th.float32)
    path[0] = 1.0
    n = 60 if absorbing else n_steps
    here, there = (th.stack([path[min(t + k, n_steps)] for t in range(n)]) for k in (0, 1))
    started, ended = (th.tensor([float(t + k >= n_steps) for t in range(n)]) for k in (0, 1))
    batch = Steps(here, th.zeros(n, dtype=th.long), there, started, ended, log_prob=th.zeros(n))
    discount = gamma ** th.arange(n)
    total = (discount * (shaped(batch) - shaped.state_reward(batch))).sum()
    h_0 = shaped.shaping(th.cat([path[0], th.zeros(1)]))
    th.testing.assert_close(total, -h_0[0], rtol=1e-4, atol=1e-5)


def test_shaping_keeps_the_final_observation_of_a_timeout() -> None:
    shaped = ShapedDiscriminator(VECTOR, spaces.Discrete(2), gamma=0.9, absorbing=False).eval()
    batch = steps(VECTOR, spaces.Discrete(2))
    assert isinstance(batch.next_observations, th.Tensor)
    h_final = shaped.shaping(th.cat([batch.next_observations, th.zeros(B, 1)], dim=1)).squeeze(-1)
    terminated = batch._replace(next_absorbing=th.ones(B))
    th.testing.assert_close(shaped(batch) - shaped(terminated), 0.9 * h_final, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [({"inputs": "as"}, "inputs 'as' must be one of sa, s, ss, sas"), ({"dropout": 1.0}, "dropout 1.0")],
)
def test_impossible_networks_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Discriminator(VECTOR, spaces.Discrete(2), **keywords)
