"""Captured updates: the same weights as without, whatever is changed on the way, and a way back where capture fails."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch as th
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.torch_layers import FlattenExtractor
from support.checks import assert_same_weights
from support.control import SMALL, Reach, arch, noise, trained
from support.cuda_stand_in import StandIn, install
from torch import nn

from sb3_ext import DDPG, TD3
from sb3_ext.buffers.device import DeviceReplayBuffer
from sb3_ext.learners.captured import LEAST_RATE, Compile, set_learning_rate
from sb3_ext.learners.trial import HostReads


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return install(monkeypatch)


def make(cls: type[TD3], compile: Compile, **keywords: Any) -> Any:
    given = {"action_noise": None if "env" in keywords else noise(), **SMALL, **copy.deepcopy({**arch(), **keywords})}
    env = given.pop("env", Reach)()
    return cls(given.pop("policy", "MlpPolicy"), env, compile=compile, **given)


def pair(cls: type[TD3] = TD3, **keywords: Any) -> tuple[Any, Any]:
    """:return: a model whose updates are captured, and one without, whose optimizers are as those of the other"""
    captured, eager = make(cls, "on", **keywords), make(cls, "off", **keywords)

    def update_learning_rate(optimizers: list[th.optim.Optimizer]) -> None:
        for optimizer in optimizers:
            set_learning_rate(optimizer, eager.lr_schedule(eager._current_progress_remaining), eager.device)
            optimizer._warned_capturable_if_run_uncaptured = True

    eager._update_learning_rate = update_learning_rate
    for model in (captured, eager):
        model.set_random_seed(1)
        model.learn(60)
    assert_same_weights(captured, eager)
    return captured, eager


def train_both(models: tuple[Any, Any], **keywords: Any) -> None:
    for model in models:
        model.set_random_seed(3)
        model.train(**{"gradient_steps": 20, "batch_size": 16, **keywords})


# ---------------------------------------------------------------------- the same weights


@pytest.mark.parametrize(
    "case",
    [
        {"cls": DDPG, "learning_rate": lambda left: 1e-2 * left},
        {"env": lambda: BitFlippingEnv(n_bits=4, continuous=True), "policy": "MultiInputPolicy"},
        {"replay_buffer_class": DeviceReplayBuffer, "replay_buffer_kwargs": {"n_steps": 3, "gamma": 0.9}},
        {"policy_kwargs": {"net_arch": [8], "optimizer_kwargs": {"foreach": True}}},
        {
            "policy": "LayerNormPolicy",
            "policy_kwargs": {
                "net_arch": [8],
                "optimizer_class": th.optim.AdamW,
                "optimizer_kwargs": {"amsgrad": True},
            },
        },
    ],
    ids=["DDPG with a schedule", "dictionaries", "device replay", "foreach", "AdamW"],
)
def test_replayed_updates_are_the_eager_ones_to_the_last_bit(cuda: StandIn, case: dict[str, Any]) -> None:
    models = pair(**case)
    train_both(models)
    assert_same_weights(*models)
    assert models[0].learner.sums == models[1].learner.sums
    n_kinds = 1 if case.get("cls") is DDPG else 2
    assert len(models[0]._captured.graphs) == n_kinds
    replayed = [graph.n_replayed for graph in cuda.graphs[-n_kinds:]]
    assert sum(replayed) > 20, "or nothing was shown"


def freeze(model: Any) -> None:
    for x in model.actor.mu[0].parameters():
        x.requires_grad_(False)


def move(model: Any) -> None:
    for x in model.critic.parameters():
        x.data = x.data.clone()


def set_group(**settings: Any) -> Callable[[Any], None]:
    return lambda model: model.critic.optimizer.param_groups[0].update(settings)


def rate_as_number(model: Any) -> None:
    model.critic.optimizer.param_groups[0]["lr"], model.lr_schedule = 0.5, lambda left: 1e-2


def load_state(model: Any) -> None:
    state = copy.deepcopy(model.critic.optimizer.state_dict())
    for moments in state["state"].values():
        moments["exp_avg"] *= -1
    model.critic.optimizer.load_state_dict(state)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "gamma": lambda m: setattr(m, "gamma", 0.5),
    "tau": lambda m: setattr(m, "tau", 0.5),
    "target_policy_noise": lambda m: setattr(m, "target_policy_noise", 2.0),
    "target_noise_clip": lambda m: setattr(m, "target_noise_clip", 0.01),
    "policy_delay": lambda m: setattr(m, "policy_delay", 3),
    "target_update_interval": lambda m: setattr(m, "target_update_interval", 3),
    "lr_schedule": lambda m: setattr(m, "lr_schedule", lambda left: 1e-2),
    "betas": set_group(betas=(0.5, 0.9)),
    "eps": set_group(eps=1e-2),
    "weight_decay": set_group(weight_decay=1e-2),
    "a rate that is a number again": rate_as_number,
    "frozen parameters": freeze,
    "another optimizer's state": load_state,
    "an optimizer that begins anew": lambda m: m.critic.optimizer.state.clear(),
    "parameters that were saved": lambda m: m.set_parameters(copy.deepcopy(m.get_parameters())),
    "weights": lambda m: m.policy.load_state_dict({k: x * 0.9 for k, x in m.policy.state_dict().items()}),
    "weights that lie elsewhere": move,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_changed_later_reaches_captured_updates(cuda: StandIn, change: Callable[[Any], Any]) -> None:
    models = pair()
    for model in models:
        change(model)
    train_both(models)
    assert_same_weights(*models)
    n_replayed = sum(graph.n_replayed for graph in cuda.graphs)
    train_both(models)
    assert_same_weights(*models)
    assert sum(graph.n_replayed for graph in cuda.graphs) > n_replayed, "captured again, not given up"
    assert len(models[0]._captured.graphs) <= 4, "and what is no longer true is not kept"


def test_compile_can_be_changed_between_two_calls_of_learn(cuda: StandIn) -> None:
    model = make(TD3, "off").learn(60)
    model.compile = "on"
    model.learn(60)
    assert model._captured.graphs
    model.compile = "off"
    model.learn(60)
    assert model._captured is None
    model.compile = "fast"
    with pytest.raises(ValueError, match="compile 'fast' must be"):
        model.learn(60)


def test_each_size_of_batch_has_its_graph(cuda: StandIn) -> None:
    models = pair()
    for size in (16, 8, 16, 8):
        train_both(models, batch_size=size)
        assert_same_weights(*models)
    assert len(models[0]._captured.graphs) == 4


def test_a_batch_stays_the_caller_s(cuda: StandIn) -> None:
    model, _ = pair()
    first, second = model.replay_buffer.sample(12), model.replay_buffer.sample(12)
    rewards = first.rewards.clone()
    assert not th.equal(rewards, second.rewards)
    for batch in [first] * 5 + [second]:
        model._captured.update(batch, False, False)
    assert th.equal(first.rewards, rewards)


# ---------------------------------------------------------------------- the learning rate


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("end", [0.0, -1e-3])
def test_weights_stay_where_they_are_at_a_rate_of_zero(cuda: StandIn, foreach: bool, end: float) -> None:
    kwargs = {"net_arch": [16], "optimizer_kwargs": {"foreach": foreach}}
    model = make(TD3, "on", policy_kwargs=kwargs, learning_rate=lambda left: end + 1e-3 * (left > 0.3))
    for net in (model.actor.mu, *model.critic.q_networks):
        net[0].bias.data[0] = -1e6  # a unit that never fires has no gradient: 0 / 0 in PyTorch's Adam
    model.learn(60)
    before = copy.deepcopy(model.actor.state_dict())
    assert any(x.abs().sum() > 0 for x in before.values())
    model._current_progress_remaining = 0.0
    model.train(10, 16)
    for name, x in model.actor.state_dict().items():
        assert th.equal(x, before[name]) and th.isfinite(x).all(), name
    assert all(th.isfinite(x).all() for x in model.policy.parameters())


def test_the_rate_and_the_steps_lie_where_the_graph_reads_them() -> None:
    weight = nn.Parameter(th.ones(2))
    optimizer = th.optim.Adam([weight], lr=0.5)
    weight.sum().backward()
    optimizer.step()
    assert optimizer.state[weight]["step"].device.type == "cpu"
    set_learning_rate(optimizer, 0.25, th.device("meta"))
    (group,) = optimizer.param_groups
    assert group["lr"].device.type == "meta" and group["capturable"]
    assert optimizer.state[weight]["step"].device.type == "meta"
    set_learning_rate(other := th.optim.Adam([weight]), 0.25, th.device("cpu"))
    rate = other.param_groups[0]["lr"]
    for given, expected in ((0.5, 0.5), (0.0, LEAST_RATE), (-1.0, LEAST_RATE)):
        set_learning_rate(other, given, th.device("cpu"))
        assert other.param_groups[0]["lr"] is rate and float(rate) == pytest.approx(expected)


# ---------------------------------------------------------------------- where capture fails


class Reads(FlattenExtractor):
    """Asks the device for a number in every forward pass."""

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return super().forward(observations) / max(float(observations.abs().max()), 1.0)


class Branches(FlattenExtractor):
    """Breaks off in a capture, without a read that can be seen before."""

    def forward(self, observations: th.Tensor) -> th.Tensor:
        if th.accelerator.current_stream().is_capturing():
            raise RuntimeError("operation not permitted when stream is capturing\nand more lines")
        return super().forward(observations)


FAULTS = {
    "RMSprop without foreach": (
        {"optimizer_class": th.optim.RMSprop, "optimizer_kwargs": {"foreach": False}},
        "the host reads values of the device",
    ),
    "an extractor that reads": ({"features_extractor_class": Reads}, "the host reads values of the device"),
    "an extractor that breaks off": ({"features_extractor_class": Branches}, "not permitted when stream is capturing"),
}


@pytest.mark.parametrize(("kwargs", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_updates_that_cannot_be_captured_run_as_they_are(cuda: StandIn, kwargs: dict[str, Any], words: str) -> None:
    policy_kwargs = {"net_arch": [8], **kwargs}
    with pytest.raises(ValueError, match=f'compile="on": updates cannot be captured, .*{words}.*: use "auto"$'):
        make(TD3, "on", policy_kwargs=policy_kwargs)
    eager, model = make(TD3, "off", policy_kwargs=policy_kwargs), make(TD3, "auto", policy_kwargs=policy_kwargs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.set_random_seed(1)
        model.learn(60)
        model.learn(60, reset_num_timesteps=False)
    said = [str(warning.message) for warning in caught]
    assert len(said) == 1 and words in said[0] and "run as they are" in said[0]
    eager.set_random_seed(1)
    eager.learn(60)
    eager.learn(60, reset_num_timesteps=False)
    assert_same_weights(eager, model)
    assert model._captured is None


def test_a_model_is_as_it_was_after_the_trial(cuda: StandIn) -> None:
    class Batches(FlattenExtractor):
        def __init__(self, space: Any) -> None:
            super().__init__(space)
            self.norm = nn.BatchNorm1d(3)

        def forward(self, observations: th.Tensor) -> th.Tensor:
            features: th.Tensor = self.norm(super().forward(observations))
            return features

    kwargs = {"policy_kwargs": {"net_arch": [8], "features_extractor_class": Batches}}
    eager = make(TD3, "off", **kwargs)
    coins = th.rand(3).tolist(), np.random.rand(3).tolist()
    tried = make(TD3, "on", **kwargs)
    assert len(cuda.graphs) == 1 and cuda.graphs[0].n_replayed == 1, "the trial"
    assert coins == (th.rand(3).tolist(), np.random.rand(3).tolist())
    assert_same_weights(eager, tried)
    for name in ("actor", "critic"):
        ours, theirs = getattr(tried, name).optimizer, getattr(eager, name).optimizer
        assert ours.state_dict() == theirs.state_dict() and not ours.state
        assert all(x.grad is None for x in getattr(tried, name).parameters())
    assert not any(tried.learner.sums)
    assert [x.training for x in tried.policy.modules()] == [x.training for x in eager.policy.modules()]


def test_compile_on_is_an_error_where_nothing_can_be_captured(cuda: StandIn) -> None:
    plain = {"net_arch": [8], "optimizer_class": th.optim.SGD}
    with pytest.raises(ValueError, match='compile="on": SGD cannot be captured'):
        make(TD3, "on", policy_kwargs=plain)
    assert make(TD3, "auto", policy_kwargs=plain).learn(40)._captured is None


@pytest.mark.parametrize(
    ("operation", "reads"),
    [
        (lambda x: x.max().item(), True),
        (lambda x: x[x > 0], True),
        (lambda x: x.nonzero(), True),
        (lambda x: bool((x > 0).any()), True),
        (lambda x: th.equal(x, x), True),
        (lambda x: x.to("meta"), True),
        (lambda x: th.empty(3, device="meta").copy_(x), True),
        (lambda x: (x * 2).sum().backward(), False),
        (lambda x: x[th.tensor([0, 2])], False),
        (lambda x: x.to(th.float64).clone(), False),
        (lambda x: th.where(x > 0, x, 0.0).clamp(min=0.1), False),
    ],
)
def test_what_the_host_reads_is_noticed(operation: Callable[[th.Tensor], Any], reads: bool) -> None:
    x = th.tensor([1.0, -1.0, 2.0], requires_grad=True)
    with HostReads() as mode:
        operation(x)
    assert (mode.found is not None) == reads


# ---------------------------------------------------------------------- files


def test_a_model_of_captured_updates_loads_as_one_without(cuda: StandIn, tmp_path: Path) -> None:
    make(TD3, "on").learn(60).save(tmp_path / "model")
    ours = TD3.load(tmp_path / "model", env=Reach(), device="cpu", compile="off")
    for loaded in (ours, sb3.TD3.load(tmp_path / "model", env=Reach(), device="cpu")):
        (group,) = loaded.actor.optimizer.param_groups
        assert isinstance(group["lr"], float) and not group["capturable"]
        loaded.learn(60, reset_num_timesteps=False)
    goes_on = TD3.load(tmp_path / "model", env=Reach(), device="cpu")
    assert goes_on.compile == "auto"
    goes_on.learn(60, reset_num_timesteps=False)
    assert goes_on._captured is not None and len(goes_on._captured.graphs) == 2


# ---------------------------------------------------------------------- on CUDA


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer_kwargs", [{"foreach": True}, {"foreach": False}, {"fused": True}], ids=str)
def test_captured_updates_equal_eager_ones_of_the_same_optimizer(optimizer_kwargs: dict[str, Any]) -> None:
    """Another form of Adam rounds otherwise: 1e-5 of a weight after 40 updates would be its own, not the graph's."""
    kwargs = {"net_arch": [16, 16], "optimizer_kwargs": optimizer_kwargs}
    models = [
        make(TD3, compile, device="cuda", target_policy_noise=0.0, policy_kwargs=kwargs) for compile in ("off", "on")
    ]
    rng = np.random.default_rng(0)
    replay = models[0].replay_buffer
    for _ in range(200):
        x, y = rng.normal(size=(2, 1, 3)).astype(np.float32)
        replay.add(x, y, rng.uniform(-1, 1, (1, 2)), rng.normal(size=1), np.zeros(1, bool), [{}])
    batches = [replay._get_samples(rng.integers(200, size=16)) for _ in range(40)]
    for model in models:
        for i, batch in enumerate(batches, 1):
            for optimizer in (model.actor.optimizer, model.critic.optimizer):
                set_learning_rate(optimizer, 1e-3 * (1 - i / 40), model.device)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
                (model._captured or model.learner).update(batch, i % 2 == 0, i % 2 == 0)
    for ours, theirs in zip(models[0].policy.parameters(), models[1].policy.parameters(), strict=True):
        th.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert len(models[1]._captured.graphs) == 2


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["gamma", "tau", "target_policy_noise"])
def test_settings_changed_later_reach_graphs_on_cuda(name: str) -> None:
    model = trained(TD3, device="cuda", compile="on")
    graphs = dict(model._captured.graphs)
    setattr(model, name, 0.5)
    model.train(20, 16)
    assert model._captured.graphs and not any(graph in graphs.values() for graph in model._captured.graphs.values())


@pytest.mark.gpu
@pytest.mark.parametrize(("kwargs", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_there_is_a_way_back_on_cuda(kwargs: dict[str, Any], words: str) -> None:
    policy_kwargs = {"net_arch": [8], **kwargs}
    with pytest.raises(ValueError, match="cannot be captured"):
        make(TD3, "on", device="cuda", policy_kwargs=policy_kwargs)
    with pytest.warns(UserWarning, match="run as they are"):
        model = make(TD3, "auto", device="cuda", policy_kwargs=policy_kwargs).learn(60)
    assert all(th.isfinite(x).all() for x in model.policy.parameters())


@pytest.mark.gpu
def test_a_model_of_captured_updates_loads_on_a_cpu(tmp_path: Path) -> None:
    model = trained(TD3, device="cuda", compile="on")
    model.save(tmp_path / "model")
    for cls in (TD3, sb3.TD3):
        cls.load(tmp_path / "model", env=Reach(), device="cpu").learn(60, reset_num_timesteps=False)
