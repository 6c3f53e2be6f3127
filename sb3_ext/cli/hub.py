"""`sb3-ext push_to_hub` and `sb3-ext load_from_hub`: agents of the log folder to the Hub and back."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from sb3_ext.cli.flags import Command, Parser, add_agent_flags, agent_of, import_packages
from sb3_ext.cli.values import device, whole
from sb3_ext.errors import UserError
from sb3_ext.zoo.agents import Agent, command_of, evaluate, know_names, load_agent, load_to_film
from sb3_ext.zoo.registry import register


def _push_parser() -> Parser:
    parser = Parser("sb3-ext push_to_hub", description="Evaluate a trained agent and put it on the Hub.")
    add_agent_flags(parser)
    parser.add_argument("--repo-id", required=True, help="user/name")
    parser.add_argument(
        "-n", "--n-eval-episodes", type=whole(0), default=20, help="for the card (20; 0: no evaluation)"
    )
    parser.add_argument("--private", action="store_true", default=None, help="a private repository")
    parser.add_argument("--optimizer", action="store_true", help="the optimizers too, to go on training")
    parser.add_argument("--no-zip", action="store_true", help="not SB3's zip, which runs code when it is loaded")
    parser.add_argument("--replay", type=Path, help="a video (an episode is filmed)")
    parser.add_argument("--no-replay", action="store_true", help="no video")
    parser.add_argument("-m", "--message", help="of the commit")
    return parser


def push(given: argparse.Namespace) -> None:
    """:param given: by the flags of `push_to_hub`"""
    from stable_baselines3.common.vec_env import unwrap_vec_normalize

    from sb3_ext.exchange.environments import check_env_id, checked_environment, environment_of
    from sb3_ext.exchange.hub import Score, push_to_hub, reach

    ref = agent_of(given)
    check_env_id(ref.env_id)
    know_names(ref)
    if given.replay is not None and not given.replay.is_file():
        raise UserError(f"--replay: there is no {given.replay}")
    reach(given.repo_id)
    films = given.replay is None and not given.no_replay
    agent, trouble = load_to_film(ref, True) if films else (load_agent(ref, keep_settings=True), None)
    environment = checked_environment(environment_of(agent.hyperparams))
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            score = None
            if given.n_eval_episodes > 0:
                returns = evaluate(agent, given.n_eval_episodes)
                score = Score(float(returns.mean()), float(returns.std()), len(returns))
            replay = given.replay
            if films and trouble is None:
                replay, trouble = _replay(agent, Path(folder) / "replay.mp4")
            if trouble is not None:
                print(f"No replay: {trouble}")
            url = push_to_hub(
                agent.model,
                given.repo_id,
                ref.env_id,
                score=score,
                vec_normalize=unwrap_vec_normalize(agent.env),
                command=command_of(agent),
                replay=replay,
                curve=_curve(agent, Path(folder) / "curve.png"),
                optimizer=given.optimizer,
                legacy_zip=not given.no_zip,
                private=given.private,
                message=given.message,
                environment=environment,
            )
        finally:
            agent.env.close()
    print(f"Pushed {agent.path} to {url} in {time.perf_counter() - begin:.1f} s")


def _replay(agent: Agent, path: Path) -> tuple[Path | None, str | None]:
    """:return: a video; or None, and why there is none: an agent can be shared without"""
    try:
        from sb3_ext.cli.filming import film
        from sb3_ext.viz.video import write_video

        trace = film(agent)
        return write_video(trace.frames, path, trace.fps), None
    except ModuleNotFoundError as error:
        return None, f'{error.name} is missing; pip install "sb3-ext[viz]"'
    except Exception as error:  # any that a renderer may raise
        return None, " ".join(str(error).split())[:300]


def _curve(agent: Agent, path: Path) -> Path | None:
    """:return: a picture of the evaluations on the way, None where there are none or matplotlib is missing"""
    try:
        from sb3_ext.saving import save_figure
        from sb3_ext.viz.curve_pictures import plot_curves
        from sb3_ext.viz.curves import aggregate
        from sb3_ext.zoo.runs.chain_curves import chain_to, read_chain

        chain, notes = chain_to(agent.path.parent)
        bands = aggregate({agent.ref.algo: [read_chain(chain, "evaluations", notes)]})
        return save_figure(plot_curves(bands, title=agent.ref.env_id), path)
    except (ModuleNotFoundError, ValueError):  # no extra, no evaluations: an agent can be shared without
        return None


def _load_parser() -> Parser:
    parser = Parser(
        "sb3-ext load_from_hub",
        description="Download an agent into the log folder, where `sb3-ext enjoy` finds it. Only safe files are read.",
    )
    parser.add_argument("--repo-id", required=True, help="user/name")
    parser.add_argument("-f", "--folder", type=Path, default=Path("logs"), help="log folder (logs)")
    parser.add_argument("--revision", help="branch, tag or commit")
    parser.add_argument("--device", type=device, default="cpu", help="PyTorch device (cpu)")
    parser.add_argument(
        "--gym-packages", nargs="+", default=[], help="to import: yours that call sb3_ext.exchange.allow"
    )
    return parser


def load(given: argparse.Namespace) -> None:
    """:param given: by the flags of `load_from_hub`"""
    from sb3_ext.zoo.downloads import download_run

    register()
    import_packages(given)
    begin = time.perf_counter()
    run, n_bytes = download_run(given.repo_id, given.folder, given.revision, given.device)
    print(f"Loaded {given.repo_id} ({n_bytes} bytes, {time.perf_counter() - begin:.1f} s) into {run.folder}")
    if run.is_watchable:
        print(f"Watch it with `sb3-ext enjoy --algo {run.algo} --env {run.env_id} -f {given.folder}`")


PUSH = Command("push_to_hub", "evaluate a trained agent and put it on the Hugging Face Hub", _push_parser, push)
LOAD = Command("load_from_hub", "download an agent, without running code of its author", _load_parser, load)
