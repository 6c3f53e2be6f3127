"""What `video` and `report` share: the flags of an episode, what they refuse before there is one, and the episode."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sb3_ext.cli.values import MAX_SEED, whole
from sb3_ext.errors import UserError, did_you_mean
from sb3_ext.zoo.agents import Agent, acts_greedily
from sb3_ext.zoo.display import progress_bar

if TYPE_CHECKING:
    from sb3_ext.viz.attribution import Attribution
    from sb3_ext.viz.names import Names
    from sb3_ext.viz.trace import Trace

ATTRIBUTIONS = ("none", "saliency", "gradcam")
STREAMS = ("value", "advantage", "q", "policy")
"""of all the models that are known, see `sb3_ext.viz.insight`"""


def add_film_flags(parser: argparse.ArgumentParser, *names: str, default: str = "none") -> None:
    """
    :param parser: gets what `film` reads
    :param names: more of ``--max-steps``
    :param default: of ``--explain``
    """
    shown = "at most, of an episode (1000); -n of record_video films on over its end"
    parser.add_argument(
        *names, "--max-steps", "--n-timesteps", type=whole(1), default=1000, dest="max_steps", help=shown
    )
    parser.add_argument("--max-side", type=whole(1), default=480, help="of a picture, in pixels (480)")
    parser.add_argument("--stochastic", action="store_true", help="with exploration; Atari's agents always are")
    parser.add_argument(
        "--explain",
        choices=ATTRIBUTIONS if default in ATTRIBUTIONS else (default, *ATTRIBUTIONS),
        default=default,
        help=f"show what in the observation decides ({default})",
    )
    parser.add_argument("--streams", nargs="+", type=_stream, help="to explain, such as value and advantage (all)")
    shown = "of the {}, in their order (those that the environment knows)"
    parser.add_argument("--input-names", nargs="+", metavar="NAME", help=shown.format("numbers of an observation"))
    parser.add_argument("--action-names", nargs="+", metavar="NAME", help=shown.format("actions, or their components"))


@dataclass(frozen=True)
class Filming:
    """How an episode is shown."""

    max_steps: int = 1000
    max_side: int = 480
    """of a picture, in pixels"""
    stochastic: bool = False
    """with exploration, although the agent acts greedily"""
    explain: Attribution | None = None
    names: Names | None = None
    """that were typed"""
    is_filmed: bool = True
    """False = its environment draws no pictures"""

    def check(self, agent: Agent) -> None:
        """
        :param agent: loaded, of which no episode was watched yet
        :raises ValueError: where the model cannot be explained so, or does not have as many inputs and actions
        """
        from sb3_ext.viz.insight import mind_of

        self.check_names(agent)
        if self.explain is not None:
            obs, _ = agent.model.policy.obs_to_tensor(agent.env.reset())  # type: ignore[arg-type]  # no tuple of spaces
            self.explain(mind_of(agent.model), agent.model, obs, None, np.ones(1, dtype=bool))

    def check_names(self, agent: Agent) -> None:
        """Parameters and errors as in `check`, of the names alone."""
        if self.names is not None:
            self.names.check(agent.model.observation_space, agent.model.action_space)


def filming_of(given: argparse.Namespace) -> Filming:
    """
    :param given: by the flags of `add_film_flags`
    :return: what they say; ``--explain auto`` is saliency
    :raises UserError: for streams of nothing
    """
    from sb3_ext.viz.names import Names

    if given.explain == "none" and given.streams is not None:
        raise UserError(f"--streams {' '.join(given.streams)}: nothing is explained with --explain none")
    return Filming(
        given.max_steps,
        given.max_side,
        given.stochastic,
        _explanation(given),
        Names(tuple(given.input_names or ()), tuple(given.action_names or ())),
    )


def film(agent: Agent, how: Filming | None = None, episode: int = 0) -> Trace:
    """
    :param agent: whose environment draws pictures
    :param how: None = as `video` does without flags
    :param episode: which one: each has a seed of its own, the same for every agent
    :return: the episode
    """
    from sb3_ext.viz.trace import watch

    how = Filming() if how is None else how
    with progress_bar("filming", how.max_steps) as on_step:
        return watch(
            agent.model,
            agent.env,
            seed=(agent.ref.seed + episode) % (MAX_SEED + 1),
            deterministic=acts_greedily(agent.ref.env_id) and not how.stochastic,
            max_steps=how.max_steps,
            film=how.is_filmed,
            max_side=how.max_side,
            explain=how.explain,
            names=how.names,
            on_step=on_step,
        )


def _explanation(given: argparse.Namespace) -> Attribution | None:
    if given.explain == "none":
        return None
    from sb3_ext.viz.attribution import GradCam, Saliency

    streams = None if given.streams is None else tuple(dict.fromkeys(given.streams))
    kinds = {"auto": Saliency, "saliency": Saliency, "gradcam": GradCam}
    return kinds[given.explain](streams=streams)


def _stream(text: str) -> str:
    """Type of a flag."""
    if text not in STREAMS:
        raise argparse.ArgumentTypeError(f"no stream {text!r}{did_you_mean(text, STREAMS)}")
    return text
