"""
Every learner's updates, captured: what a graph does between its beginning and its end, on a CPU with a recorder in
place of CUDA's graphs, and on a GPU with the real ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from support.control import Reach, arch, noise
from support.cuda_stand_in import StandIn, install
from support.q_models import make_env

from sb3_ext import DAC, DDPG, R2D2, TD3, Rainbow, RainbowR, nested
from sb3_ext.buffers import Proportional
from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.learners.captured import WARM_UP, set_learning_rate
from sb3_ext.learners.td3 import Batch
from sb3_ext.networks.cores import GRUCore
from sb3_ext.networks.heads import C51, Quantile

Kinds: TypeAlias = list[tuple[bool, ...]]
# Nothing is trained while the replay fills.
SMALL: dict[str, Any] = {"learning_starts": 10_000, "batch_size": 16, "buffer_size": 400, "seed": 1}


def td3(cls: type[TD3] = TD3, policy: str = "MlpPolicy", **keywords: Any) -> Any:
    return cls(policy, Reach(), **{"action_noise": noise(), **SMALL, **arch(8), **keywords})


def dac(**keywords: Any) -> Any:
    env = Reach()
    env.action_space.seed(0)
    actions = np.stack([env.action_space.sample() for _ in range(12)])
    observations = np.random.default_rng(0).normal(size=(13, 3))
    shown = Episode(observations, actions, np.zeros(12), terminated=False, truncated=True)
    demos = Demonstrations((shown, shown), env.observation_space, env.action_space)
    return DAC("MlpPolicy", env, demos, **{**SMALL, **arch(8), **keywords})


def drawn_by(model: Any, n: int) -> list[Any]:
    """:return: batches as the model's learner is given them"""
    batches = []
    for _ in range(n):
        drawn = model.replay_buffer.sample(16)
        is_td3 = isinstance(model, TD3)
        batches.append(Batch(*(getattr(drawn, name) for name in Batch._fields)) if is_td3 else drawn)
    return batches


def recurrent(cls: type[R2D2] = R2D2, **keywords: Any) -> Any:
    given: dict[str, Any] = {"burn_in": 4, "sequence_length": 6, "period": 3}
    given |= {"buffer_size": 4000, "learning_starts": 10_000}
    given["policy_kwargs"] = {"lstm_hidden_size": 8, "net_arch": [8], **keywords.pop("policy_kwargs", {})}
    return cls("MlpLstmPolicy", make_env(2), **{**given, "seed": 1, **keywords})


def rainbow(**keywords: Any) -> Any:
    return Rainbow("MlpPolicy", make_env(2), **{**SMALL, **arch(8), "n_steps": 3, **keywords})


BOTH: Kinds = [(True, True), (False, False)]
ALL: Kinds = [(True, True)]
TARGET: Kinds = [(False,), (True,)]
MODELS: dict[str, tuple[Callable[..., Any], Kinds]] = {
    # how one is made, and the kinds of its updates
    "TD3": (td3, BOTH),
    "TD3, prioritized n-step": (lambda **given: td3(sampler=Proportional(0.4), n_steps=3, **given), BOTH),
    "TD3, SimBa": (lambda **given: td3(policy="SimbaPolicy", **given), BOTH),
    "DDPG": (lambda **given: td3(DDPG, **given), ALL),
    "DAC": (dac, BOTH),
    "R2D2": (recurrent, TARGET),
    "R2D2, two layers of GRU, soft target": (
        lambda **given: recurrent(tau=0.1, policy_kwargs={"core_class": GRUCore, "n_lstm_layers": 2}, **given),
        TARGET,
    ),
    "R2D2, states zero": (lambda **given: recurrent(state_init="zero", normalize_reward=False, **given), TARGET),
    "RainbowR": (lambda **given: recurrent(RainbowR, **given), TARGET),
    "Rainbow": (rainbow, TARGET),
    "Rainbow, IQN": (lambda **given: rainbow(**{"head": "iqn", **given}), TARGET),
    "Rainbow, quantiles": (lambda **given: rainbow(**{"head": Quantile(5), **given}), TARGET),
}
each_model = pytest.mark.parametrize(("make", "kinds"), MODELS.values(), ids=MODELS.keys())


def ready(make: Callable[..., Any], compile: str, device: str = "cpu", **keywords: Any) -> Any:
    """:return: a model with some steps in its replay, whose optimizers can be captured, captured or not"""
    model = make(compile=compile, device=device, **keywords).learn(60)
    model.learner.set_training_mode(True)
    for optimizer in model.learner.optimizers:
        set_learning_rate(optimizer, 1e-3, model.device)
        optimizer._warned_capturable_if_run_uncaptured = True
    return model


def trained(model: Any, batches: list[Any], kinds: Kinds) -> list[Any]:
    """:return: what the updates told"""
    update, told = model._begin_updates(), []
    for i, batch in enumerate(batches):
        th.manual_seed(i)
        told.append(nested.map(th.clone, update(batch, *kinds[i % len(kinds)])))
    return told


def assert_equal_learners(one: Any, other: Any, rtol: float = 0.0) -> None:
    """:param rtol: and absolute"""
    ours, theirs = one.learner.state_dict(), other.learner.state_dict()
    assert ours.keys() == theirs.keys()
    for name, state in ours.items():
        if name.endswith("optimizer"):
            continue
        for key, x in state.items():
            th.testing.assert_close(x, theirs[name][key], rtol=rtol, atol=rtol, msg=f"{name}.{key}")


# ---------------------------------------------------------------------- on a CPU


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return install(monkeypatch)


@each_model
def test_a_captured_update_gives_what_an_eager_one_gives(cuda: StandIn, make: Callable[..., Any], kinds: Kinds) -> None:
    captured, eager = ready(make, "on"), ready(make, "off")
    batches = drawn_by(eager, len(kinds) * (WARM_UP + 4))
    told = [trained(model, batches, kinds) for model in (captured, eager)]
    assert_equal_learners(captured, eager)
    for ours, theirs in zip(*told, strict=True):
        nested.map(th.testing.assert_close, ours, theirs)
    assert len(captured._captured.graphs) == len(kinds)
    assert sum(graph.n_replayed for graph in cuda.graphs) >= 4 * len(kinds)


@each_model
def test_a_graph_knows_only_tensors_that_stay_where_they_are(
    cuda: StandIn, make: Callable[..., Any], kinds: Kinds
) -> None:
    """It makes all others itself, asks for no values and takes no numbers from the host: the recorder would raise."""
    model = ready(make, "on")
    n_before = len(cuda.graphs)
    trained(model, drawn_by(model, len(kinds) * (WARM_UP + 1)), kinds)
    state = model.learner.state_dict()
    rates = [group["lr"] for optimizer in model.learner.optimizers for group in optimizer.param_groups]
    moments = [x for optimizer in model.learner.optimizers for x in optimizer.state.values()]
    networks = [state[name] for name in model.learner.networks]
    stay = {
        x.untyped_storage().data_ptr()
        for x in nested.leaves([networks, state.get("sums"), rates, moments])
        if isinstance(x, th.Tensor)
    }
    assert len(cuda.graphs) == n_before + len(kinds)
    for graph, (known, static, _) in zip(cuda.graphs[n_before:], model._captured.graphs.values(), strict=True):
        assert graph is known
        here = stay | {x.untyped_storage().data_ptr() for x in static}
        strangers = [x for x in graph.reads.values() if x.untyped_storage().data_ptr() not in here]
        assert not strangers, [tuple(x.shape) for x in strangers]
        assert len(graph.operations) > 20, "or nothing was shown"


@pytest.mark.parametrize("name", ["gamma", "tau", "max_grad_norm", "return_scale"])
def test_a_setting_that_changes_reaches_the_graphs(cuda: StandIn, name: str) -> None:
    models = [ready(recurrent, compile, tau=0.9) for compile in ("on", "off")]
    batches = drawn_by(models[1], 2 * (WARM_UP + 2))
    for value in (getattr(models[0], name), 0.5):
        for model in models:
            setattr(model, name, value)
            model.learner.settings = model._learner_settings
            trained(model, batches, TARGET)
        assert_equal_learners(*models)
    n_replayed = [graph.n_replayed for graph in cuda.graphs]
    assert len(models[0]._captured.graphs) == 2 and n_replayed[-2:] == [2, 2], "captured again"


class Strange(FlattenExtractor):
    """Reads a tensor that is nobody's, or makes one of numbers of the host."""

    factor = th.ones(1)

    def __init__(self, space: spaces.Box, from_host: bool) -> None:
        super().__init__(space)
        self.from_host = from_host

    def forward(self, observations: th.Tensor) -> th.Tensor:
        factor = th.tensor([2.0]) if self.from_host else self.factor
        return super().forward(observations) * factor


def test_the_recorder_sees_what_would_go_wrong_on_a_gpu(cuda: StandIn) -> None:
    policy_kwargs: dict[str, Any] = {"net_arch": [8], "features_extractor_class": Strange}
    policy_kwargs["features_extractor_kwargs"] = {"from_host": True}
    with pytest.raises(ValueError, match="a tensor is made of numbers of the host"):
        td3(compile="on", device="cpu", policy_kwargs=policy_kwargs)
    policy_kwargs["features_extractor_kwargs"] = {"from_host": False}
    with pytest.raises(AssertionError, match=r"\[\(1,\)"):
        test_a_graph_knows_only_tensors_that_stay_where_they_are(
            cuda, lambda **given: td3(**given, policy_kwargs=policy_kwargs), BOTH
        )


# ---------------------------------------------------------------------- on a GPU


@pytest.mark.gpu
@each_model
def test_a_captured_update_equals_an_eager_one_on_cuda(make: Callable[..., Any], kinds: Kinds) -> None:
    """Without random numbers: graphs draw them from where they were captured."""
    quiet: dict[str, Any] = {"head": C51(noise=None)} if kinds is TARGET else {"target_policy_noise": 0.0}
    captured, eager = (ready(make, compile, "cuda", **quiet) for compile in ("on", "off"))
    captured.policy.load_state_dict(eager.policy.state_dict())
    batches = drawn_by(eager, len(kinds) * (WARM_UP + 10))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        for model in (captured, eager):
            trained(model, batches, kinds)
    assert_equal_learners(captured, eager, rtol=1e-5)
    assert len(captured._captured.graphs) == len(kinds)
