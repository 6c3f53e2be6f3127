"""Puts our algorithms into rl-zoo3's dictionaries, which its scripts share: after `register` they know them."""

from __future__ import annotations

import sb3_ext

# The zoo's id, which is the lower-cased class name -> public name.
ALGORITHMS = {
    "r2d2": "R2D2",
    "rainbow": "Rainbow",
    "rainbowr": "RainbowR",
    "gail": "GAIL",
    "dac": "DAC",
    "dacsac": "DACSAC",
    # In place of SB3's, which they are with nothing switched on.
    "td3": "TD3",
    "ddpg": "DDPG",
}
IMITATORS = {"gail", "dac", "dacsac"}
"""those that learn from demonstrations"""


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

        from sb3_ext.zoo.hyperparams_opt import CONVERTERS, SAMPLERS
    except ModuleNotFoundError as error:
        message = f'sb3_ext.zoo needs the zoo extra: pip install "sb3-ext[zoo]" ({error})'
        raise ModuleNotFoundError(message, name=error.name) from error

    for algo, name in ALGORITHMS.items():
        ALGOS[algo] = getattr(sb3_ext, name)
    HYPERPARAMS_SAMPLER.update(SAMPLERS)
    HYPERPARAMS_CONVERTER.update(CONVERTERS)
