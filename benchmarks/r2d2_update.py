"""
One gradient step of `R2D2.train` against the bare network passes that it cannot do without, on tensors of the same
shape.

    python benchmarks/r2d2_update.py                  # CPU: H 64, B 64, 40 + 80 + 5, observations of 4 floats

On a GPU: benchmarks/gpu.py.

The bare passes are the burn-in and the unroll of both networks, backward, gradient clipping and optimizer, on a batch
that is already drawn and a ready-made gradient of the output: no replay, no targets, no loss, no priorities, no
logging.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from common import (
    COLORS,
    Bound,
    Table,
    hardware,
    in_turns,
    median_ratio,
    panels,
    parse,
    parser,
    print_rows,
    save,
    verdict,
)
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ext import R2D2, nested
from sb3_ext.buffers import SequenceSamples
from sb3_ext.networks.cores import RecurrentState
from sb3_ext.networks.recurrent_q import RecurrentQNetwork

BATCH = 64
N_ENVS = 16
VECTOR = spaces.Box(-np.inf, np.inf, (4,), np.float32)
ATARI = spaces.Box(0, 255, (1, 84, 84), np.uint8)


class NoiseEnv(gym.Env):
    """Spaces only; the replay is filled without it."""

    def __init__(self, space: spaces.Box, n_actions: int) -> None:
        self.observation_space = space
        self.action_space = spaces.Discrete(n_actions)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        return self.observation_space.sample(), {}


def filled_model(
    space: spaces.Box,
    hidden: int,
    device: str = "cpu",
    cells: int = 2**16,
    used: float = 1.0,
    burn_in: int = 40,
    sequence_length: int = 80,
    n_envs: int = N_ENVS,
    seed: int = 0,
    **keywords: Any,
) -> R2D2:
    """
    An agent whose replay holds noise in episodes of about 500 steps.

    :param space: of one observation
    :param hidden: H
    :param cells: capacity of the replay
    :param used: share of it to fill
    :param keywords: more of R2D2's
    :return: ready for `train`
    """
    env = DummyVecEnv([lambda: NoiseEnv(space, 2 if space == VECTOR else 6)] * n_envs)
    model = R2D2(
        "CnnLstmPolicy" if len(space.shape) == 3 else "MlpLstmPolicy",
        env,
        buffer_size=cells,
        batch_size=BATCH,
        burn_in=burn_in,
        sequence_length=sequence_length,
        period=sequence_length // 2,
        policy_kwargs={"lstm_hidden_size": hidden},
        device=device,
        seed=seed,
        **keywords,
    )
    model.set_logger(Logger(None, []))
    rng = np.random.default_rng(seed)
    shape = (n_envs, *space.shape)
    noise = [
        rng.integers(0, 256, shape, dtype=np.uint8)
        if space.dtype == np.uint8
        else rng.normal(size=shape).astype(np.float32)
        for _ in range(32)
    ]
    states = nested.map(lambda s: 0.1 * th.randn_like(s, device="cpu"), model.q_net.initial_state(n_envs))
    assert model.replay_buffer is not None
    infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False}] * n_envs
    for i in range(int(used * cells / n_envs)):
        done = (i + 31 * np.arange(n_envs)) % 500 == 499
        model.replay_buffer.add(
            noise[i % 32],
            noise[(i + 1) % 32],
            rng.integers(2, size=n_envs),
            rng.random(n_envs),
            done,
            infos,
            states=states,
        )
    if model.replay_buffer.n_drawable > 0:  # errors of training differ, and so should priorities
        handle = model.replay_buffer.sample(max(BATCH, model.replay_buffer.n_drawable)).handle
        model.replay_buffer.update_priorities(handle, rng.random(len(handle.leaves)) + 0.1)
    return model


def bare_passes(model: R2D2) -> Callable[[SequenceSamples], None]:
    """:return: a function that does only what no implementation can leave out, with the modules themselves"""
    gradients: dict[tuple[int, ...], th.Tensor] = {}

    def core(net: RecurrentQNetwork, obs: th.Tensor, state: RecurrentState) -> tuple[th.Tensor, RecurrentState]:
        assert net.features_extractor is not None
        features: th.Tensor = net.features_extractor(obs.flatten(0, 1)).view(*obs.shape[:2], -1)
        out: tuple[th.Tensor, RecurrentState] = net.core(features, state)
        return out

    def unroll(net: RecurrentQNetwork, batch: SequenceSamples) -> th.Tensor:
        assert batch.states is not None
        assert isinstance(batch.observations, th.Tensor) and isinstance(batch.burn_in_observations, th.Tensor)
        with th.no_grad():
            _, state = core(net, batch.burn_in_observations, batch.states)
        out: th.Tensor = net.head_net(core(net, batch.observations, state)[0])
        return out

    def work(batch: SequenceSamples) -> None:
        out = unroll(model.q_net, batch)
        with th.no_grad():
            unroll(model.q_net_target, batch)
        gradient = gradients.setdefault(tuple(out.shape), th.full_like(out, 1e-3))
        model.policy.optimizer.zero_grad()
        out.backward(gradient)
        th.nn.utils.clip_grad_norm_(model.q_net.parameters(), model.max_grad_norm)
        model.policy.optimizer.step()

    return work


COLUMNS = ("seed", "train_ms", "bare_ms", "ratio", "draw_share", "gather_share", "priorities_share", "rest_share")


def run(seed: int, rounds: int) -> dict[str, Any]:
    """:return: one row; train and bare passes take turns"""
    model = filled_model(VECTOR, hidden=64, seed=seed)
    buffer = model.replay_buffer
    assert buffer is not None
    bare = bare_passes(model)
    batch = buffer.sample(BATCH)
    seconds = in_turns({"train": lambda: model.train(1, BATCH), "bare": lambda: bare(batch)}, rounds, calls=5)
    train = float(np.median(seconds["train"]))

    leaves = batch.handle.leaves
    abs_td = np.random.default_rng(seed).random(BATCH)
    parts = in_turns(
        {
            "draw": lambda: buffer.sampler.draw(BATCH),
            "gather": lambda: buffer._get_samples(buffer.sampler.draw(BATCH).leaves),  # other windows each time
            "priorities": lambda: buffer.update_priorities(batch.handle, abs_td),
        },
        rounds,
        calls=20,
    )
    assert (leaves == batch.handle.leaves).all()
    draw, gather, priorities = (float(np.median(parts[name])) for name in ("draw", "gather", "priorities"))
    shares = {"draw": draw, "gather": gather - draw, "priorities": priorities}
    ratio = median_ratio(seconds["train"], seconds["bare"])
    return {
        "seed": seed,
        "train_ms": round(train * 1e3, 3),
        "bare_ms": round(float(np.median(seconds["bare"])) * 1e3, 3),
        "ratio": round(ratio, 4),
        **{f"{name}_share": round(value / train, 5) for name, value in shares.items()},
        "rest_share": round(1 - 1 / ratio - sum(shares.values()) / train, 5),
    }


def report(table: Table) -> int:
    """Print the table. :return: exit status"""
    print(f"\none update, H 64, B {BATCH}, 40 + 80 + 5, 4 floats, 1 thread, CPU time; {hardware()}")
    median = {name: table.median(name) for name in COLUMNS}
    print(
        f"R2D2.train {median['train_ms']:.2f} ms, bare passes {median['bare_ms']:.2f} ms, ratio {median['ratio']:.3f} "
        f"(median of {len(table.rows)})"
    )
    print_rows(
        ("share of train", "%"),
        [
            ("bare network passes", f"{100 / median['ratio']:.1f}"),
            ("draw windows", f"{100 * median['draw_share']:.2f}"),
            ("gather windows", f"{100 * median['gather_share']:.2f}"),
            ("write priorities", f"{100 * median['priorities_share']:.2f}"),
            ("targets, loss, logging", f"{100 * median['rest_share']:.1f}"),
        ],
    )
    return verdict([Bound("R2D2.train against the bare passes", median["ratio"], at_most=1.25)])


def plot(table: Table) -> None:
    """Draw docs/images/r2d2_update.png."""
    figure, (axis,) = panels(1, width=6.4, height=2.2)
    parts = (
        ("bare network passes", 1 / table.median("ratio")),
        ("draw windows", table.median("draw_share")),
        ("gather windows", table.median("gather_share")),
        ("write priorities", table.median("priorities_share")),
        ("targets, loss, logging", table.median("rest_share")),
    )
    left = 0.0
    for (name, share), color in zip(parts, (COLORS[4], *COLORS[:4]), strict=True):
        axis.barh([0], [100 * share], left=left, height=0.5, color=color, label=f"{name} {100 * share:.2g} %")
        left += 100 * share
    axis.set(xlabel="% of one R2D2.train step", xlim=(0, 100), yticks=[], title="where an update spends its time")
    axis.grid(False)
    figure.legend(loc="outside lower center", ncols=3)
    save(figure, "r2d2_update")


def main() -> None:
    args = parse(parser(__doc__, seeds=5))
    table = Table("r2d2_update", COLUMNS, key=("seed",), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        if not table.has(seed=seed):
            table.add(run(seed, rounds=3 if args.quick else 21))
    status = report(table)
    if not args.quick:
        plot(table)
    sys.exit(status)


if __name__ == "__main__":
    main()
