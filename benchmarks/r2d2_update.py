"""
One gradient step of `R2D2.train` against the bare network passes that it cannot do without, on tensors of the same
shape.

    python benchmarks/r2d2_update.py                  # CPU: H 64, B 64, 40 + 80 + 5, observations of 4 floats
    python benchmarks/r2d2_update.py --device cuda    # GPU: H 512, 84x84x1; eager, compiled, and one CUDA graph

The bare passes are the burn-in and the unroll of both networks, backward, gradient clipping and optimizer, on a batch
that is already drawn and a ready-made gradient of the output: no replay, no targets, no loss, no priorities, no
logging.
"""

from __future__ import annotations

import sys
import time
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
MODES = {"eager": "R2D2.train", "compiled": "networks under torch.compile", "graph": "gradient step as one CUDA graph"}


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
    **policy_kwargs: Any,
) -> R2D2:
    """
    An agent whose replay holds noise in episodes of about 500 steps.

    :param space: of one observation
    :param hidden: H
    :param cells: capacity of the replay
    :param used: share of it to fill
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
        policy_kwargs={"lstm_hidden_size": hidden, **policy_kwargs},
        device=device,
        seed=seed,
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


# ---------------------------------------------------------------------- CPU: overhead over the bare passes


CPU_COLUMNS = ("seed", "train_ms", "bare_ms", "ratio", "draw_share", "gather_share", "priorities_share", "rest_share")


def run_cpu(seed: int, rounds: int) -> dict[str, Any]:
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


def report_cpu(table: Table) -> int:
    """Print the table. :return: exit status"""
    print(f"\none update, H 64, B {BATCH}, 40 + 80 + 5, 4 floats, 1 thread, CPU time; {hardware()}")
    median = {name: table.median(name) for name in CPU_COLUMNS}
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


def plot_cpu(table: Table) -> None:
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


# ---------------------------------------------------------------------- GPU: updates per second


def compile_networks(model: R2D2) -> None:
    """Compile both networks' passes; shapes are static. The recurrent layer stays a fused library call of its own."""
    for net in (model.q_net, model.q_net_target):
        for name in ("unroll", "burn_in"):
            setattr(net, name, th.compile(getattr(net, name), dynamic=False))


def captured_update(model: R2D2) -> Callable[[], None]:
    """
    The whole gradient step as one CUDA graph: batches are copied into fixed tensors, priorities read from fixed ones.

    The optimizer must be ``capturable``. The learning rate is fixed at capture.
    """
    buffer = model.replay_buffer
    assert buffer is not None
    static = _cloned(buffer.sample(BATCH))
    model.policy.set_training_mode(True)
    side = th.cuda.Stream()
    side.wait_stream(th.cuda.current_stream())
    with th.cuda.stream(side):  # cuDNN and the optimizer set themselves up outside the capture
        for _ in range(3):
            model.learner.update(static, False)
    th.cuda.current_stream().wait_stream(side)
    model.policy.optimizer.zero_grad()
    graph = th.cuda.CUDAGraph()
    with th.cuda.graph(graph):
        update = model.learner.update(static, False)

    def work() -> None:
        batch = buffer.sample(BATCH)
        for fixed, fresh in zip(_tensors(static), _tensors(batch), strict=True):
            fixed.copy_(fresh)
        graph.replay()
        buffer.update_priorities(batch.handle, update.priorities.cpu().numpy())

    return work


def _tensors(batch: SequenceSamples) -> list[th.Tensor]:
    return [x for x in nested.leaves(batch) if isinstance(x, th.Tensor)]


def _cloned(batch: SequenceSamples) -> SequenceSamples:
    copied: SequenceSamples = nested.map(lambda x: x.clone() if isinstance(x, th.Tensor) else x, batch)
    return copied


def updates_per_second(work: Callable[[], object], seconds: float) -> float:
    """Wall time: the device works on its own. :return: calls per second, after a warm-up"""
    for _ in range(5):
        work()
    th.cuda.synchronize()
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        work()
        calls += 1
    th.cuda.synchronize()
    return calls / (time.perf_counter() - begin)


def run_gpu(mode: str, seed: int, seconds: float) -> dict[str, Any]:
    """:return: one row"""
    optimizer = {"eps": 1e-3, "capturable": True} if mode == "graph" else {"eps": 1e-3}
    model = filled_model(ATARI, 512, "cuda", cells=2**14, seed=seed, optimizer_kwargs=optimizer)
    if mode == "compiled":
        compile_networks(model)
    work = captured_update(model) if mode == "graph" else lambda: model.train(1, BATCH)
    return {"mode": mode, "seed": seed, "updates_per_second": round(updates_per_second(work, seconds), 2)}


def report_gpu(table: Table) -> int:
    """Print the table. :return: exit status"""
    print(f"\nupdates per second, H 512, B {BATCH}, 40 + 80 + 5, NatureCNN on 84x84x1, wall time; {hardware()}")
    eager = table.median("updates_per_second", mode="eager")
    medians = {mode: table.median("updates_per_second", mode=mode) for mode in MODES}
    print_rows(("", "updates/s", "x eager"), [(MODES[mode], value, value / eager) for mode, value in medians.items()])
    return 0


def main() -> None:
    arguments = parser(__doc__, seeds=5)
    arguments.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="which of the two measurements")
    args = parse(arguments)
    if args.device == "cuda":
        if not th.cuda.is_available():
            sys.exit("no CUDA device: torch.cuda.is_available() is False, so nothing was measured")
        columns = ("mode", "seed", "updates_per_second")
        table = Table("r2d2_update_cuda", columns, key=("mode", "seed"), saved=not args.quick, fresh=args.fresh)
        for seed in range(args.seeds):
            for mode in MODES:
                if table.has(mode=mode, seed=seed):
                    continue
                try:
                    table.add(run_gpu(mode, seed, seconds=2.0 if args.quick else 15.0))
                except RuntimeError as error:  # a mode that this device or torch cannot do; the others still count
                    print(f"{MODES[mode]}: does not run here: {str(error).splitlines()[0]}")
        sys.exit(report_gpu(table))
    table = Table("r2d2_update", CPU_COLUMNS, key=("seed",), saved=not args.quick, fresh=args.fresh)
    for seed in range(args.seeds):
        if not table.has(seed=seed):
            table.add(run_cpu(seed, rounds=3 if args.quick else 21))
    status = report_cpu(table)
    if not args.quick:
        plot_cpu(table)
    sys.exit(status)


if __name__ == "__main__":
    main()
