"""Keywords by which other versions, and other libraries, say what is said by one now: each names its successor."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec

from sb3_ext.errors import did_you_mean

P = ParamSpec("P")

MOVED: dict[str, str] = {
    "distributional": 'head="c51", head="quantile" or head="scalar"',
    "dueling": 'head=C51(dueling="avg")',
    "noisy_std": "head=C51(noise=0.5)",
    "head_class": "head=C51(), an object in place of a class",
    "head_kwargs": "head=C51(n_atoms=51, v_min=-10.0, v_max=10.0)",
    "prioritized": 'sampler="proportional" or sampler="uniform"',
    "priority_exponent": "sampler=Proportional(alpha=0.5)",
    "importance_exponent": "sampler=Proportional(beta=0.4)",
    "importance_exponent_final": "sampler=Proportional(beta_final=1.0)",
    "exploration_initial_eps": "exploration=EpsilonGreedy(initial=1.0)",
    "exploration_final_eps": "exploration=EpsilonGreedy(final=0.05)",
    "exploration_fraction": "exploration=EpsilonGreedy(fraction=0.1)",
    "ladder_base": "exploration=EpsilonLadder(base=0.4)",
    "ladder_alpha": "exploration=EpsilonLadder(alpha=7.0)",
    "n_step": "n_steps",
    "noise_final_scale": "action_noise=Scheduled(noise, final=0.1), and noise_final in a yml",
    "noise_fraction": "action_noise=Scheduled(noise, final=0.1, fraction=0.5)",
    "env_noise_scales": "action_noise=Laddered(noise, first=1.0, last=0.5), and noise_ladder in a yml",
}


def refuse_moved(given: Iterable[str], known: Iterable[str]) -> None:
    """
    :param given: keywords
    :param known: those that are taken
    :raises ValueError: at the first that has a successor
    """
    taken = set(known)
    for name in given:
        if name in MOVED and name not in taken:
            raise ValueError(f"{name} is now {MOVED[name]}")


def names_moved_keywords(constructor: Callable[P, None]) -> Callable[P, None]:
    """
    :param constructor: which names all that it takes, but need not name what has moved
    :return: the same, which answers it, and a typo with the closest name
    """
    known = inspect.signature(constructor).parameters

    @functools.wraps(constructor)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        refuse_moved(kwargs, known)
        for name in kwargs:
            if name not in known:
                wrong = f"{constructor.__qualname__}() got an unexpected keyword argument {name!r}"
                raise TypeError(wrong + did_you_mean(name, known))
        constructor(*args, **kwargs)

    return checked
