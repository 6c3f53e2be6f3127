"""What imitation asks of a task and of demonstrations, and how it says that they differ."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from support.demo_worlds import sampled
from support.experts import SMALL, demonstrations_of, gail, tagged
from support.worlds import TaggedEnv

from sb3_ext.demonstrations import Demonstrations, Episode
from sb3_ext.imitation import GAIL, AdversarialCallback, behaviour_cloning


def cut(n_steps: tuple[int, ...], env: gym.Env, **changes: Any) -> Demonstrations:
    """:return: demonstrations none of which terminates"""
    episodes = sampled(env.observation_space, env.action_space, len(n_steps), max(n_steps)).episodes
    ends: dict[str, Any] = {"terminated": False, "truncated": True, **changes}
    short = [
        replace(e, observations=e.observations[: n + 1], actions=e.actions[:n], rewards=None, **ends)  # type: ignore[index]
        for e, n in zip(episodes, n_steps, strict=True)
    ]
    return Demonstrations(tuple(short), env.observation_space, env.action_space)


@pytest.mark.parametrize("unknown", [False, True])
def test_learn_warns_once_where_the_policys_episodes_end_and_the_experts_never(unknown: bool) -> None:
    changes: dict[str, Any] = {"terminated": None, "truncated": None} if unknown else {}
    demonstrations = cut((4, 9, 6), TaggedEnv(), **changes)
    with pytest.warns(UserWarning, match="none of the 3 demonstrations terminates") as caught:
        gail(demonstrations=demonstrations).learn(96)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="none of the 3 demonstrations terminates"):
        PPO("MlpPolicy", tagged(), **SMALL).learn(1, callback=AdversarialCallback(demonstrations, seed=0))
    gail(demonstrations=demonstrations, absorbing=False).learn(1)
    never = DummyVecEnv([lambda: TaggedEnv(truncates=True)])
    gail(never, demonstrations).learn(1)


def test_an_expert_that_lasts_as_long_as_the_task_allows_never_ends() -> None:
    env = gym.make("CartPole-v1", max_episode_steps=40)
    model = gail(DummyVecEnv([lambda: env]), cut((40, 40, 40), env), n_steps=64).learn(1)
    assert model._recorder.terminated.any()
    with pytest.warns(UserWarning, match="none of the 2 demonstrations terminates"):
        gail(DummyVecEnv([lambda: gym.make("CartPole-v1")]), cut((40, 40), env), n_steps=64).learn(1)


class OtherProcess(DummyVecEnv):
    """As SubprocVecEnv: what is asked for is pickled, and a worker that cannot do so dies."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        answer: list[Any] = pickle.loads(pickle.dumps(super().get_attr(attr_name, indices)))
        return answer


def test_the_tasks_limit_is_asked_of_other_processes_without_what_they_cannot_send() -> None:
    env = gym.make("CartPole-v1", max_episode_steps=40)
    assert env.spec is not None
    env.spec.kwargs["reward"] = lambda: None  # as of gym.make(..., reward=lambda: None)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        OtherProcess([lambda: env]).get_attr("spec")
    gail(OtherProcess([lambda: env]), cut((40, 40), env), n_steps=64).learn(1)
    with pytest.warns(UserWarning, match="none of the 2 demonstrations terminates"):
        gail(OtherProcess([lambda: env]), cut((40, 39), env), n_steps=64).learn(1)


def test_discrete_values_must_begin_at_0() -> None:
    """SB3's PPO hands actions from 0 on to the environment, and cannot encode the observations."""
    plain = TaggedEnv()
    shifted = gym.wrappers.TransformAction(plain, lambda a: a - 2, spaces.Discrete(3, start=2))
    many = gym.wrappers.TransformAction(plain, lambda a: a[0] - 1, spaces.MultiDiscrete([3], start=[1]))
    for env, space in ((shifted, r"Discrete\(3, start=2\)"), (many, r"MultiDiscrete\(\[3\], start=\[1\]\)")):
        demonstrations = demonstrations_of(env)
        for bc_epochs in (0, 1):
            with pytest.raises(ValueError, match=f"action space {space} must begin at 0"):
                GAIL("MlpPolicy", env, demonstrations, bc_epochs=bc_epochs, **SMALL)
        model = PPO("MlpPolicy", env, **SMALL)
        with pytest.raises(ValueError, match=r"action space .* must begin at 0"):
            model.learn(1, callback=AdversarialCallback(demonstrations))
        with pytest.raises(ValueError, match=r"action space .* must begin at 0"):
            behaviour_cloning(model, demonstrations, 1)


@pytest.mark.parametrize("part", [spaces.Discrete(5, start=-2), spaces.MultiDiscrete([3, 4], start=[1, -1])], ids=str)
@pytest.mark.parametrize("in_dict", [False, True])
def test_discrete_observations_must_begin_at_0(part: spaces.Space[Any], in_dict: bool) -> None:
    space: spaces.Space[Any] = spaces.Dict({"x": part, "y": spaces.Discrete(2)}) if in_dict else part
    env = gym.wrappers.TransformObservation(TaggedEnv(), lambda _: space.sample(), space)
    policy = "MultiInputPolicy" if in_dict else "MlpPolicy"
    with pytest.raises(ValueError, match=r"observation space .* must begin at 0"):
        GAIL(policy, env, demonstrations_of(env), **SMALL)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"reward": "wgan"}, "reward 'wgan' must be one of"),
        ({"inputs": "a"}, "inputs 'a' must be one of"),
        ({"gamma": 1.0}, "gamma 1.0 must be below 1 with absorbing states"),
        ({"label_smoothing": 0.5}, r"label_smoothing 0.5 must be in \[0, 0.5\)"),
        ({"held_out": 1.0}, r"held_out 1.0 must be in \[0, 1\)"),
        ({"discriminator_updates": 0}, "discriminator_updates 0 must be at least 1"),
        ({"discriminator_batch_size": 0}, "discriminator_batch_size 0 must be at least 1"),
        ({"gradient_penalty": -1.0}, "gradient_penalty -1.0 must be a number, and not negative"),
        ({"weight_decay": float("nan")}, "weight_decay nan must be a number"),
        ({"env_reward_coef": float("nan")}, "env_reward_coef nan must be a finite number"),
        ({"bc_epochs": -1}, "bc_epochs -1 must not be negative"),
        ({"discriminator_kwargs": {"dropout": 1.5}}, "dropout 1.5"),
    ],
    ids=str,
)
def test_impossible_settings_are_named_in_the_constructor(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gail(**keywords)


def test_a_wrapper_around_vecnormalize_must_not_change_observations() -> None:
    env = VecFrameStack(VecNormalize(tagged()), 2)
    demonstrations = sampled(env.observation_space, env.action_space)
    with pytest.raises(ValueError, match="make VecNormalize the outer one"):
        GAIL("MlpPolicy", env, demonstrations, **SMALL).learn(1)
    outer = VecNormalize(VecFrameStack(tagged(), 2))
    GAIL("MlpPolicy", outer, demonstrations, **SMALL).learn(1)


def test_around_a_vecnormalize_that_leaves_observations_alone_wrappers_may_change_them() -> None:
    """As zoos normalise the rewards of image tasks: SB3 itself puts VecTransposeImage there."""
    env = VecFrameStack(VecNormalize(tagged(), norm_obs=False), 2)
    model = GAIL("MlpPolicy", env, sampled(env.observation_space, env.action_space), **SMALL).learn(1)
    recorder = model._recorder
    observations, finals = recorder.observations, recorder.next_observations
    assert isinstance(observations, np.ndarray) and isinstance(finals, np.ndarray)
    assert recorder.terminated.any()
    # The newer frame is one step on, and the older one is the frame before.
    np.testing.assert_array_equal(finals[..., 5], observations[..., 5] + np.float32(1 / 16))
    np.testing.assert_array_equal(finals[..., :3], observations[..., 3:])


@pytest.mark.parametrize(("n_episodes", "n_unseen"), [(1, 0), (4, 0), (10, 1), (25, 2)])
def test_a_tenth_is_held_out_where_that_is_an_episode(n_episodes: int, n_unseen: int) -> None:
    model = gail(demonstrations=sampled(TaggedEnv().observation_space, spaces.Discrete(3), n_episodes, n_steps=4))
    model.learn(1)
    adversary = model.adversary
    assert adversary.expert is not None
    assert (adversary.unseen is None) == (n_unseen == 0)
    assert adversary.unseen is None or len(adversary.unseen.absorbing) == 5 * n_unseen
    assert len(adversary.expert.absorbing) == 5 * (n_episodes - n_unseen)


def test_demonstrations_that_keep_nothing_are_named() -> None:
    arrays = np.zeros((4, 3), dtype=np.float32), np.zeros(3, dtype=np.int64)
    only_absorbing = Episode(*arrays, None, True, False, kept=np.array([3]))
    space = TaggedEnv()
    demonstrations = Demonstrations((only_absorbing,), space.observation_space, space.action_space)
    message = "of 3 steps in 1 episodes none is kept but absorbing ones"
    with pytest.raises(ValueError, match=message):
        gail(demonstrations=demonstrations, absorbing=False).learn(1)
    with pytest.raises(ValueError, match=message):
        behaviour_cloning(PPO("MlpPolicy", tagged(), device="cpu"), demonstrations, n_epochs=1)


def test_runs_are_named_after_the_algorithm(tmp_path: Path) -> None:
    gail(tensorboard_log=str(tmp_path)).learn(1)
    assert [path.name for path in tmp_path.iterdir()] == ["GAIL_1"]


def test_demonstrations_of_another_task_are_named_in_the_constructor(tmp_path: Path) -> None:
    cartpole = demonstrations_of(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match=r"demonstrations: actions of Discrete\(2\), the policy has Discrete\(3\)"):
        gail(demonstrations=cartpole)
    other = demonstrations_of(TaggedEnv())
    wide = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    env = gym.wrappers.TransformObservation(TaggedEnv(), lambda o: np.append(o, o[:1]), wide)
    with pytest.raises(ValueError, match=r"demonstrations: observations of Box.*\(3,\).*the policy has Box.*\(4,\)"):
        GAIL("MlpPolicy", env, other, **SMALL)
    five = gym.wrappers.TransformObservation(TaggedEnv(), lambda _: np.int64(0), spaces.Discrete(5))
    for n in (4, 6):  # the smaller one could be encoded: other states would look the same
        with pytest.raises(ValueError, match=rf"of Discrete\({n}\), the policy has Discrete\(5\)"):
            GAIL("MlpPolicy", five, sampled(spaces.Discrete(n), five.action_space), **SMALL)
    with pytest.raises((ValueError, OSError), match=r"nothing\.npz"):
        GAIL("MlpPolicy", TaggedEnv(), tmp_path / "nothing.npz", **SMALL)
