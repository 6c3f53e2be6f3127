"""Every replay, ours and SB3's, answers what a learner asks of it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer

from sb3_ext.buffers import PrioritizedReplayBuffer, SequenceReplayBuffer, as_replay
from sb3_ext.buffers.device import DeviceReplayBuffer
from sb3_ext.buffers.replay import Handle, StockReplay, check_same_layout
from sb3_ext.buffers.samplers import GreedyPriority, Proportional, RankBased, Uniform

VECTOR = spaces.Box(-1, 1, (2,), np.float32)
N_ENVS, N_ADDS = 2, 12
WINDOWS = {"burn_in": 0, "sequence_length": 2, "n_steps": 1, "period": 2}
REPLAYS: list[tuple[type[ReplayBuffer], dict[str, Any]]] = [
    (PrioritizedReplayBuffer, {}),
    (PrioritizedReplayBuffer, {"sampler": "uniform"}),
    (SequenceReplayBuffer, WINDOWS),
    (DeviceReplayBuffer, {}),
    (ReplayBuffer, {}),
    (NStepReplayBuffer, {"n_steps": 3, "gamma": 0.9}),
    (DictReplayBuffer, {}),
]


def filled(cls: type[ReplayBuffer], keywords: dict[str, Any], n_adds: int = N_ADDS) -> ReplayBuffer:
    """Room for 20 steps of two environments; none of them ends."""
    is_dict = cls is DictReplayBuffer
    space = spaces.Dict({"x": VECTOR}) if is_dict else VECTOR
    buffer: Any = cls(40, space, spaces.Box(-1, 1, (1,)), "cpu", N_ENVS, **keywords)
    for t in range(n_adds):
        obs, after = (np.full((N_ENVS, 2), i, dtype=np.float32) for i in (t, t + 1))
        given: Any = ({"x": obs}, {"x": after}) if is_dict else (obs, after)
        buffer.add(*given, np.zeros((N_ENVS, 1)), np.ones(N_ENVS), np.zeros(N_ENVS, dtype=bool), [{}] * N_ENVS)
    assert isinstance(buffer, ReplayBuffer)
    return buffer


@pytest.mark.parametrize(("cls", "keywords"), REPLAYS)
def test_what_a_learner_asks(cls: type[ReplayBuffer], keywords: dict[str, Any]) -> None:
    buffer = filled(cls, keywords)
    replay = as_replay(buffer)
    assert isinstance(replay, StockReplay) == cls.__module__.startswith("stable_baselines3")
    # Windows of 2 trained steps and one to bootstrap begin at every second step.
    assert replay.n_drawable == N_ENVS * ((N_ADDS - 1) // 2 if cls is SequenceReplayBuffer else N_ADDS)
    assert replay.statistics().fill == pytest.approx(N_ADDS / 20, abs=0.06) and replay.statistics().spread == 1
    replay.check_size()
    replay.cut()
    reads = cls in (PrioritizedReplayBuffer, SequenceReplayBuffer) and keywords.get("sampler") != "uniform"
    assert replay.reads_priorities == reads
    sample: Any = buffer.sample(4)
    handle = getattr(sample, "handle", Handle(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)))
    replay.update_priorities(handle, np.arange(len(handle.leaves), dtype=np.float64))
    assert (replay.statistics().spread > 1) == reads
    empty = as_replay(filled(cls, keywords, 0))
    assert (empty.n_drawable, empty.statistics().fill) == (0, 0) and np.isnan(empty.statistics().age)


@pytest.mark.parametrize(("cls", "keywords"), REPLAYS)
def test_layouts_name_what_differs(cls: type[ReplayBuffer], keywords: dict[str, Any]) -> None:
    ours, same = (as_replay(filled(cls, keywords, n)).layout() for n in (0, N_ADDS))
    check_same_layout("a.pkl", same, ours)
    for name, value in (("n_envs", 3), ("action_space", spaces.Discrete(2)), ("n_steps", 9)):
        with pytest.raises(ValueError, match=re.escape(f"a.pkl has {name} {value}, the model")):
            check_same_layout("a.pkl", {**same, name: value}, ours)


@pytest.mark.parametrize("cls", [PrioritizedReplayBuffer, SequenceReplayBuffer])
def test_samplers_by_name(cls: type[PrioritizedReplayBuffer] | type[SequenceReplayBuffer]) -> None:
    given: list[tuple[Any, object]] = [
        ("uniform", Uniform()),
        ("greedy", GreedyPriority()),
        ({"rank": None}, RankBased()),
        ({"proportional": {"alpha": 0.3, "beta_final": 1.0}}, Proportional(alpha=0.3, beta_final=1.0)),
    ]
    for said, meant in given:
        assert cls(200, VECTOR, spaces.Discrete(2), "cpu", sampler=said).sampler == meant
    for said, told in (
        (None, "sampler None is none of 'uniform', 'proportional', 'rank', 'greedy'"),
        ({"rank": {"gamma": 1}}, "sampler 'rank' has no keyword 'gamma': alpha, beta, beta_final, backend, staleness"),
        ({"rank": {"alpha": "high"}}, r"alpha high must lie in \[0, 1\]"),
        (Proportional, r"sampler Proportional is a class: give an object, Proportional\(\.\.\.\)"),
    ):
        with pytest.raises(ValueError, match=told):
            cls(200, VECTOR, spaces.Discrete(2), "cpu", sampler=said)  # type: ignore[arg-type]
