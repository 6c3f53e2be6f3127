"""Where items begin with the priorities that their actor knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.vec_env import VecNormalize
from support.actors import inline
from support.q_models import make_env, make_rainbow, make_rainbowr

from sb3_ext import Rainbow
from sb3_ext.buffers import LaneBlock
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.distributed.records import samples_per_insert
from sb3_ext.networks.heads import C51, Scalar
from sb3_ext.ops.exploration import EpsilonGreedy


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[LaneBlock]:
    """Those that are stored."""
    stored: list[LaneBlock] = []
    store = DeepQLearning.store_block

    def noted(self: DeepQLearning, block: LaneBlock) -> None:
        stored.append(block)
        store(self, block)

    monkeypatch.setattr(DeepQLearning, "store_block", noted)
    return stored


def rainbow(**kwargs: Any) -> Rainbow:
    settings: dict[str, Any] = dict(head="scalar", n_steps=1, train_freq=4, gradient_steps=0, learning_starts=48)
    return make_rainbow(exploration=EpsilonGreedy(0.3, 0.3), **{**settings, **kwargs})


@pytest.mark.parametrize("norm_reward", [None, True])
def test_priorities_are_the_errors_of_the_network_that_acted(blocks: list[LaneBlock], norm_reward: bool | None) -> None:
    """A network that does not learn gives the same Q-values afterwards. What is cut short has another bootstrap."""
    env: Any = inline(make_env, 2, 2, lockstep=False, chunk=20, initial_priorities="actor")
    if norm_reward:
        env = VecNormalize(env, norm_obs=False)
        env.ret_rms.mean, env.ret_rms.var, env.ret_rms.count = np.array(0.0), np.array(25.0), 1e9  # as good as constant
    model = rainbow(env=env, normalize_reward=norm_reward)
    model.return_scale = 0.0 if norm_reward else 0.25
    model.learn(480)
    met = equal = 0
    for block in blocks:
        assert block.priorities is not None
        met += len(block.priorities)
        if np.isnan(block.priorities).any():  # of the warm-up
            continue
        expected = errors(model, block, 0.2 if norm_reward else 1.0)
        equal += sum(np.abs(expected - priority).min() < 1e-4 * (1 + priority) for priority in block.priorities)
        assert (block.priorities >= 0).all()
    assert met > 400 and equal > 300


def errors(model: Rainbow, block: LaneBlock, reward_scale: float) -> np.ndarray:
    """Of every step of a block."""
    at = block.offsets().reshape(-1)
    q = model.policy.act(th.as_tensor(block.cells[""]))
    h, inverse = model.transform.apply, model.transform.invert
    taken = q[at, block.columns["action"][at].reshape(-1)]
    future = np.where(block.columns["terminated"][at], 0.0, inverse(q[at + 1].max(axis=1)))
    expected: np.ndarray = np.abs(h(reward_scale * block.columns["reward"][at] + model.gamma * future) - taken)
    return expected


def test_windows_too(blocks: list[LaneBlock]) -> None:
    model = make_rainbowr(
        env=inline(make_env, 2, 2, lockstep=False, chunk=20, initial_priorities="actor"), head="scalar",
        learning_starts=50, eta=0.5,
    )  # fmt: skip
    model.learn(600)
    known = [block.priorities for block in blocks[-4:]]
    assert all(x is not None and len(x) > 4 and np.isfinite(x).all() for x in known)
    assert np.isnan(blocks[0].priorities).all()  # type: ignore[arg-type]
    assert np.isfinite(model.replay_buffer.sampler.masses(model.replay_buffer._active_leaves())).all()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "of_actors", "are_made"),
    [
        (dict(), dict(), True),
        (dict(batch_size=200), dict(), False),  # many samples per insert
        (dict(sampler="uniform"), dict(), False),
        (dict(head=C51(n_atoms=11)), dict(), False),  # its priorities are losses
        (dict(head=C51(n_atoms=11, priority="td")), dict(), True),
        (dict(), dict(lockstep=True, chunk=None), False),  # as without actors
        (dict(), dict(lockstep=True, chunk=None, initial_priorities="actor"), True),
        (dict(), dict(initial_priorities="highest"), False),
    ],
)
def test_when_they_are_made(
    blocks: list[LaneBlock], settings: dict[str, Any], of_actors: dict[str, Any], are_made: bool
) -> None:
    env = inline(make_env, 2, 2, **{"lockstep": False, "chunk": 8, **of_actors})
    model = rainbow(env=env, **{"gradient_steps": 1, **settings})
    assert (samples_per_insert(model) < 8.0) == ("batch_size" not in settings)
    model.learn(64)
    assert {block.priorities is not None for block in blocks} == {are_made}


@pytest.mark.parametrize("settings", [dict(sampler="uniform"), dict(head=C51(n_atoms=11))])
def test_priorities_that_the_learner_has_no_use_for_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match='initial_priorities="actor" gives td errors, which are no priorities of'):
        rainbow(env=inline(make_env, 2, 2, initial_priorities="actor"), **settings)
    rainbow(env=inline(make_env, 2, 2, initial_priorities="actor"), head=Scalar())
