"""Puts our algorithms into rl-zoo3's dictionaries, which its scripts share: after `register` they know them."""

from __future__ import annotations

import sb3_ext
from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.errors import UserError, did_you_mean

PLANNER = "planner"
"""in place of an algorithm's id: the expert that solves the environment's own table, and was trained by nobody"""
KEYBOARD = "keyboard"
"""in place of an algorithm's id: a person who is asked"""


def register() -> None:
    """
    Add the classes, the hyperparameter samplers and their converters, in place. A second call changes nothing.

    Call it before rl-zoo3 parses its arguments, which fixes the choices of ``--algo``.

    :raises ModuleNotFoundError: without the ``zoo`` extra
    """
    try:
        # Imported here: rl_zoo3 patches gymnasium's TimeLimit on import and pulls in optuna and huggingface_hub.
        from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
        from rl_zoo3.utils import ALGOS

        from sb3_ext.zoo.hyperparams_opt import search_of
    except ModuleNotFoundError as error:
        message = f'sb3_ext.zoo needs the zoo extra: pip install "sb3-ext[zoo]" ({error})'
        raise ModuleNotFoundError(message, name=error.name) from error

    for algo, row in ALGORITHMS.items():
        ALGOS[algo] = getattr(sb3_ext, row.name)
        search = search_of(ALGOS[algo])
        if search is not None:  # SB3's searches serve our TD3 and DDPG as well
            HYPERPARAMS_SAMPLER.update({algo: search[0]})
            HYPERPARAMS_CONVERTER.update({algo: search[1]})


def check_algorithm(algo: str) -> None:
    """
    :param algo: the zoo's id
    :raises UserError: for one that neither rl-zoo3 nor we have
    """
    from rl_zoo3.utils import ALGOS

    if algo == PLANNER:
        raise UserError(f"--algo {PLANNER} is trained by nobody: only `sb3-ext demos record` and `lab` take it")
    if algo not in ALGOS:
        raise UserError(f"unknown --algo {algo!r}{did_you_mean(algo, ALGOS)}")
