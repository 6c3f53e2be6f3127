"""What does not go together is said by ours as by SB3's, with what would work; what goes together is made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from support.attributions import IMAGE, VECTOR, Anything
from support.demo_worlds import sampled

from sb3_ext import GAIL, R2D2, TD3, Rainbow
from sb3_ext.fitting import SMALLEST, Given, saying_what_fits

DISCRETE, TORQUE = spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)
DICT = spaces.Dict(speed=VECTOR, seen=IMAGE)


def pictures(*shape: int, dtype: Any = np.uint8, high: float = 255) -> spaces.Box:
    return spaces.Box(0, high, shape, dtype)


def made(algorithm: type[BaseAlgorithm], policy: str, env: VecEnv, **kwargs: Any) -> BaseAlgorithm:
    if algorithm is GAIL:
        kwargs["demonstrations"] = sampled(VECTOR, DISCRETE)
    if algorithm is not PPO and algorithm is not GAIL:
        kwargs["buffer_size"] = 200
    return algorithm(policy, env, device="cpu", **kwargs)


def around(observations: spaces.Space[Any], actions: spaces.Space[Any] = DISCRETE, **normalize: Any) -> VecEnv:
    env = DummyVecEnv([lambda: Anything(observations, actions)])
    return VecNormalize(env, **normalize) if normalize else env


CASES: list[tuple[str, spaces.Space[Any], spaces.Space[Any], dict[str, Any], str]] = [
    # policy; observations; actions; of VecNormalize; what is said
    ("Mlp", DICT, DISCRETE, {}, r"Dict.* MultiInput\w*Policy"),
    (
        "MultiInput",
        VECTOR,
        DISCRETE,
        {},
        r"MultiInput\w*Policy (reads|needs) a Dict.*Box\(-1.0, 1.0.* use Mlp\w*Policy",
    ),
    ("MultiInput", IMAGE, DISCRETE, {}, r"Box\(0, 255, .* use .*Cnn\w*Policy$"),
    ("Cnn", VECTOR, DISCRETE, {}, r"reads pictures, uint8 .* use Mlp\w*Policy$"),
    ("Cnn", pictures(36, 36), DISCRETE, {}, r"axis of channels, with gymnasium.wrappers.ReshapeObservation$"),
    ("Cnn", pictures(3, 36, 36, dtype=np.float32, high=1), DISCRETE, {}, "normalize_images=False, and channels first"),
    ("Cnn", pictures(36, 36, 3, high=100), DISCRETE, {}, r"Box\(0, 100, .*: their bounds must be 0 and 255$"),
    ("Cnn", pictures(20, 30, 1), DISCRETE, {}, r"pictures of 20 x 30 are too small for NatureCNN, which needs 36 x 36"),
    ("Cnn", pictures(40, 3, 40), DISCRETE, {}, "have their channels in the middle"),
    ("MultiInput", spaces.Dict(a=pictures(20, 20, 1)), DISCRETE, {}, "20 x 20 are too small for NatureCNN"),
    ("Cnn", IMAGE, DISCRETE, {"norm_obs": True}, r"VecNormalize makes other numbers .*normalize: \{norm_obs: False\}"),
    ("Cnn", pictures(36, 36, 3), DISCRETE, {"norm_obs": True}, r"VecNormalize\(..., norm_obs=False\)"),
    ("Mlp", spaces.Tuple([VECTOR]), DISCRETE, {}, r"cannot read Tuple.* gymnasium.wrappers.FlattenObservation$"),
]


@pytest.mark.filterwarnings("ignore:Treating image space as channels-last")  # SB3, of those in the middle
@pytest.mark.parametrize("algorithm", [R2D2, Rainbow, DQN])
@pytest.mark.parametrize(("policy", "observations", "actions", "normalize", "said"), CASES)
def test_what_does_not_fit_is_said_with_what_would(
    algorithm: type[BaseAlgorithm],
    policy: str,
    observations: spaces.Space[Any],
    actions: spaces.Space[Any],
    normalize: dict[str, Any],
    said: str,
) -> None:
    """By a stock one, too, where the command line asks."""
    env = around(observations, actions, **normalize)
    name = f"{policy}{'Lstm' if algorithm is R2D2 else ''}Policy"
    with pytest.raises(ValueError, match=said), saying_what_fits(lambda: Given.of(algorithm, name, env)):
        made(algorithm, name, env)


@pytest.mark.parametrize(
    ("algorithm", "actions", "said"),
    [
        (R2D2, TORQUE, r"R2D2 has no actions Box\(-1.0, 1.0.* it takes Discrete; take TD3, SAC or PPO$"),
        (Rainbow, spaces.MultiDiscrete([2, 3]), r"it takes Discrete; take PPO or A2C$"),
        (TD3, DISCRETE, r"TD3 has no actions Discrete\(3\): it takes Box; take Rainbow, R2D2, PPO or DQN$"),
        (TD3, spaces.Dict(a=TORQUE), "it takes Box; flatten them into Box in a wrapper$"),
        (TD3, spaces.Box(-np.inf, np.inf, (2,)), "must have finite bounds: set them in a wrapper"),
        (GAIL, spaces.Dict(a=TORQUE), "GAIL has no actions Dict.*: it takes Box, Discrete, MultiDiscrete, Multi"),
    ],
)
def test_of_actions_what_an_algorithm_takes_is_said(
    algorithm: type[BaseAlgorithm], actions: spaces.Space[Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        made(algorithm, "MlpLstmPolicy" if algorithm is R2D2 else "MlpPolicy", around(VECTOR, actions))


@pytest.mark.parametrize(
    ("algorithm", "policy", "said"),
    [
        (R2D2, "MlpPolicy", "^R2D2 has no policy 'MlpPolicy', did you mean 'MlpLstmPolicy'"),
        (
            Rainbow,
            "Transformer",
            "^Rainbow has no policy 'Transformer'; known: CnnPolicy, MlpPolicy, Multi",
        ),
        (TD3, "SimbPolicy", "did you mean 'SimbaPolicy'"),
    ],
)
def test_an_unknown_policy_is_said_with_those_that_there_are(
    algorithm: type[BaseAlgorithm], policy: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        made(algorithm, policy, around(VECTOR, TORQUE if algorithm is TD3 else DISCRETE))


def test_pictures_of_the_smallest_size_are_read_and_none_below() -> None:
    """So the number in the line is right; one more axis of channels is no matter."""
    made(Rainbow, "CnnPolicy", around(pictures(SMALLEST, SMALLEST, 3)))
    with pytest.raises(ValueError, match="too small"):
        made(Rainbow, "CnnPolicy", around(pictures(SMALLEST, SMALLEST - 1, 3)))


def test_what_was_advised_works() -> None:
    made(Rainbow, "CnnPolicy", around(IMAGE, norm_obs=False))
    made(Rainbow, "CnnPolicy", around(pictures(3, 36, 36, dtype=np.float32, high=1)),
         policy_kwargs={"normalize_images": False})  # fmt: skip


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(ValueError, match=r"^learning_starts|batch_size"):
        made(Rainbow, "MlpPolicy", around(VECTOR), batch_size=0)
    with pytest.raises(RuntimeError, match="of another kind"), saying_what_fits(lambda: None):
        raise RuntimeError("of another kind")
