"""
How many actors collect for a run, and where: by the flags of `sb3-ext train`, over those of the run that is gone on
with, over ``actors:`` of the yml. What cannot be is refused here, before anything is created.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from importlib.util import find_spec
from typing import Any, Literal, get_args

import sb3_ext
from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.errors import UserError, did_you_mean

BackendName = Literal["process", "ray", "inline"]
BACKENDS: tuple[str, ...] = get_args(BackendName)
FLAGS = {"n_actors": "--actors", "envs_per_actor": "--envs-per-actor", "backend": "--backend", "chunk": "--chunk",
         "orders": "--orders", "ray_address": "--ray-address", "lockstep": "--lockstep",
         "keep_ratio": "--keep-ratio"}  # fmt: skip
"""Field of `ActorSettings`, which is also its name in a yml -> flag of `sb3-ext train`"""


@dataclass(frozen=True)
class ActorSettings:
    """
    :param n_actors: N
    :param envs_per_actor: E; the run has N * E environments
    :param backend: what runs them
    :param chunk: steps of each environment in a block; None = `ActorEnvs` chooses
    :param orders: blocks that an actor is ahead
    :param ray_address: of a Ray cluster; None = RAY_ADDRESS, or one of this machine's own
    :param lockstep: actors wait for each other and for the learner
    :param keep_ratio: updates per env step stay those of the yml, whatever the number of environments
    :raises ValueError: for values out of range
    """

    n_actors: int
    envs_per_actor: int
    backend: BackendName = "process"
    chunk: int | None = None
    orders: int = 2
    ray_address: str | None = None
    lockstep: bool = False
    keep_ratio: bool = False

    def __post_init__(self) -> None:
        for name in ("n_actors", "envs_per_actor", "chunk", "orders"):
            if name != "chunk" or self.chunk is not None:
                _check_count(name, getattr(self, name))
        for name in ("lockstep", "keep_ratio"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} ({FLAGS[name]}) {getattr(self, name)!r} must be true or false")
        if self.backend not in BACKENDS:
            hint = did_you_mean(str(self.backend), BACKENDS)
            raise ValueError(f"backend ({FLAGS['backend']}) {self.backend!r} is unknown{hint}")
        if self.ray_address is not None and self.backend != "ray":
            raise ValueError(
                f"ray_address ({FLAGS['ray_address']}) {self.ray_address!r} has no use with the {self.backend} "
                "backend: give --backend ray too"
            )

        if self.chunk is not None and self.lockstep:
            raise ValueError(
                f"chunk ({FLAGS['chunk']}) {self.chunk} with lockstep ({FLAGS['lockstep']}), whose blocks are of "
                "train_freq steps: leave one of both out"
            )

    @property
    def n_envs(self) -> int:
        """of all actors, the lanes of the replay"""
        return self.n_actors * self.envs_per_actor

    def to_publish(self) -> dict[str, Any]:
        """:return: as a yml would say it, without addresses of machines"""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "ray_address"}
        usual = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in given.items() if value != usual[name]}


def named(of_yml: Any) -> dict[str, Any]:  # Any: of a file
    """
    :param of_yml: ``actors:``, a number or some of `ActorSettings` by name
    :return: these
    :raises UserError: for anything else
    """
    if of_yml is None:
        return {}
    if isinstance(of_yml, int) and not isinstance(of_yml, bool):
        return {"n_actors": of_yml}
    if not isinstance(of_yml, Mapping):
        raise UserError(f"actors {of_yml!r} of the yml must be a number or settings, like {{n_actors: 2}}")
    for name in of_yml:
        if name not in FLAGS:
            raise UserError(f"unknown key of actors: {name!r}{did_you_mean(str(name), FLAGS)}")
    return dict(of_yml)


def chosen(
    of_yml: Mapping[str, Any], flags: Mapping[str, Any], before: ActorSettings | None, n_envs: int | None
) -> ActorSettings | None:
    """
    :param of_yml: some of `ActorSettings`, by name
    :param flags: as before; these are stronger
    :param before: of the run that is gone on with, whose number of environments stays; None = none, or it had no actors
    :param n_envs: of the yml, None where it does not say
    :return: settings for ``n_envs`` environments, where ``envs_per_actor`` does not say otherwise; one environment for
        each actor where nobody does. None: nobody asked for actors
    :raises UserError: for flags without actors, environments that cannot be split, Ray where it is not installed
    :raises ValueError: for values out of range
    """
    given = {**of_yml, **flags} if before is None else _going_on(before, flags)
    if not given:
        return None
    if "n_actors" not in given:
        raise UserError(f"{' '.join(FLAGS[name] for name in given)} without actors: give {FLAGS['n_actors']} too")
    _check_count("n_actors", given["n_actors"])
    if flags.get("backend", "ray") != "ray" and "ray_address" not in flags:
        given["ray_address"] = None
    if before is not None:
        n_envs = before.n_envs
    if given.get("envs_per_actor") is None and n_envs is not None:
        given["envs_per_actor"] = _share(n_envs, given["n_actors"])
    elif given.get("envs_per_actor") is None:  # as settings for one environment, learnt with more of them
        given["envs_per_actor"], given["keep_ratio"] = 1, True
    settings = ActorSettings(**given)
    if before is not None and settings.n_envs != n_envs:
        raise UserError(
            f"the run had {n_envs} environments, {before.n_actors} actors with {before.envs_per_actor} each; "
            f"{settings.n_actors} with {settings.envs_per_actor} are {settings.n_envs}: it goes on with {n_envs} alone"
        )
    if settings.backend == "ray" and find_spec("ray") is None:
        raise UserError('--backend ray needs the ray extra: pip install "sb3-ext[ray]"; --backend process needs none')
    return settings


def _going_on(before: ActorSettings, flags: Mapping[str, Any]) -> dict[str, Any]:
    """:return: by name; of actors and their environments, the one that is not given follows from the other"""
    given = {**asdict(before), **flags}
    if "n_actors" in flags and "envs_per_actor" not in flags:
        given["envs_per_actor"] = None
    elif "envs_per_actor" in flags and "n_actors" not in flags:
        _check_count("envs_per_actor", flags["envs_per_actor"])
        given["n_actors"] = max(before.n_envs // flags["envs_per_actor"], 1)
    return given


def check_possible(algo: str, searches: bool, has_workers: bool) -> None:
    """
    :param algo: the zoo's id, of a run with actors
    :param searches: it is a search of hyperparameters
    :param has_workers: its environments are asked for in processes of their own
    :raises UserError: where actors cannot collect for it
    """
    from sb3_ext.deep_q_learning import DeepQLearning  # PyTorch comes with it, and the table of flags needs none

    able = [name for name, row in ALGORITHMS.items() if issubclass(getattr(sb3_ext, row.name), DeepQLearning)]
    if algo not in able:
        raise UserError(f"{algo} does not learn from actors; {', '.join(able[:-1])} and {able[-1]} do")
    if searches:
        raise UserError("-optimize has no actors: its trials run side by side with --n-jobs; leave --actors out")
    if has_workers:
        raise UserError("--vec-env subproc with actors would be two levels of processes: leave one of both out")


def with_ratio(hyperparams: Mapping[str, Any], algorithm: type, settings: ActorSettings) -> tuple[dict[str, Any], str]:
    """
    :param hyperparams: of a yml, for its ``n_envs``
    :param algorithm: whose defaults hold where they say nothing
    :param settings: of the actors
    :return: the same for as many environments as the actors have, and a line on updates per env step; "" where these
        stay as they are
    """
    n_envs, result = hyperparams.get("n_envs", 1), {**hyperparams, "n_envs": settings.n_envs}
    train_freq, gradient_steps = (_setting(name, hyperparams, algorithm) for name in ("train_freq", "gradient_steps"))
    if isinstance(train_freq, tuple | list):  # (n, "step"); episodes are refused where the model is made
        train_freq = train_freq[0] if train_freq[1] == "step" else None
    if n_envs == settings.n_envs or train_freq is None or gradient_steps < 0:  # -1: an update for each env step
        return result, ""
    before = Fraction(gradient_steps, train_freq * n_envs)
    if not settings.keep_ratio:
        now = before * n_envs / settings.n_envs
        line = f"{float(before):.3g} -> {float(now):.3g}; --keep-ratio scales gradient_steps/train_freq"
        return result, f"updates per env step {line}"
    kept = before * settings.n_envs
    result["train_freq"], result["gradient_steps"] = kept.denominator, kept.numerator
    return result, (
        f"updates per env step {float(before):.3g}, kept for {settings.n_envs} environments: train_freq "
        f"{kept.denominator}, gradient_steps {kept.numerator}"
    )


def _setting(name: str, hyperparams: Mapping[str, Any], algorithm: type) -> Any:  # Any: of a yml
    default = inspect.signature(algorithm).parameters[name].default
    return hyperparams.get(name, default)


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} ({FLAGS[name]}) {value!r} must be an integer >= 1")


def _share(n_envs: int, n_actors: int) -> int:
    """:return: environments of each actor"""
    if n_envs % n_actors == 0:
        return n_envs // n_actors
    divisors = [n for n in range(1, n_envs + 1) if n_envs % n == 0]
    fitting = [max(n for n in divisors if n < n_actors), *(n for n in divisors if n > n_actors)][:2]
    raise UserError(
        f"{n_envs} environments do not split into {n_actors} actors: {FLAGS['n_actors']} "
        f"{' or '.join(map(str, fitting))}, or {FLAGS['envs_per_actor']} for another number of environments"
    )
