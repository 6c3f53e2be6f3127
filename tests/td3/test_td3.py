"""TD3 and DDPG: SB3's to the last bit with nothing switched on, and what each keyword changes."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch as th
from gymnasium import spaces
from stable_baselines3.common.envs import BitFlippingEnv, FakeImageEnv
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import (
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
)
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from support.checks import assert_same_weights
from support.control import SMALL, Reach, arch, noise, trained

from sb3_ext import DAC, DDPG, TD3
from sb3_ext.buffers import PrioritizedReplayBuffer, Proportional
from sb3_ext.buffers.device import DeviceReplayBuffer
from sb3_ext.td3 import Scheduled
from sb3_ext.vec_envs import RawTransitionsMixin

PAIRS = [(sb3.TD3, TD3), (sb3.DDPG, DDPG)]


# ---------------------------------------------------------------------- the stock ones


@pytest.mark.parametrize(("stock", "ours"), PAIRS)
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"n_envs": 3, "gradient_steps": 2},
        {"normalized": True},
        {"n_steps": 3},
        {"train_freq": (1, "episode"), "gradient_steps": -1, "tau": 0.1},
        {"action_noise": OrnsteinUhlenbeckActionNoise(np.zeros(2), 0.2 * np.ones(2))},
        {"learning_rate": lambda left: 1e-2 * left},
    ],
    ids=["one env", "three envs", "VecNormalize", "n-step", "episodes", "OU noise", "schedule"],
)
def test_with_nothing_switched_on_it_is_the_stock_algorithm_to_the_last_bit(
    stock: type[OffPolicyAlgorithm], ours: type[OffPolicyAlgorithm], case: dict[str, Any]
) -> None:
    keywords = dict(case)
    n_envs, normalized = keywords.pop("n_envs", 1), keywords.pop("normalized", False)

    def make() -> VecEnv:
        env: VecEnv = DummyVecEnv([Reach] * n_envs)
        return VecNormalize(env) if normalized else env

    if normalized:  # SB3 stores final observations as they come back from its clipped ones, which rounds
        stock = type(f"Raw{stock.__name__}", (RawTransitionsMixin, stock), {})
    theirs, mine = trained(stock, make(), **keywords), trained(ours, make(), **keywords)
    assert theirs._n_updates == mine._n_updates > 50
    for name in ("actor", "critic"):  # the optimizers too
        moments = [getattr(m, name).optimizer.state_dict()["state"][0]["exp_avg"] for m in (theirs, mine)]
        assert th.equal(*moments)
    assert_same_weights(theirs, mine)


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize(("stock", "ours"), PAIRS)
def test_files_go_both_ways(
    stock: type[OffPolicyAlgorithm], ours: type[OffPolicyAlgorithm], n_steps: int, tmp_path: Path
) -> None:
    x = np.array([[0.3, 0.5, 10.0]])
    for maker, reader in ((stock, ours), (ours, stock)):
        model = trained(maker, n_steps=n_steps)
        model.save(tmp_path / "model")
        env = Reach()
        with warnings.catch_warnings():
            # Stock TD3 warns of the n-step replay that it chose itself, when it loads its own files too.
            warnings.filterwarnings("ignore", "`n_steps=3` is ignored")
            loaded = reader.load(tmp_path / "model", env=env, device="cpu")
        assert type(loaded) is reader
        assert_same_weights(model, loaded)
        np.testing.assert_array_equal(loaded.predict(x)[0], model.predict(x)[0])
        loaded.learn(60, reset_num_timesteps=False)
        assert loaded.num_timesteps == 180 and loaded._n_updates > model._n_updates


def test_settings_may_change_at_load(tmp_path: Path) -> None:
    trained(sb3.TD3, n_steps=3).save(tmp_path / "model")
    loaded = TD3.load(tmp_path / "model", device="cpu", sampler="proportional", n_steps=5, gamma=0.5)
    assert isinstance(loaded.replay_buffer, PrioritizedReplayBuffer)
    assert (loaded.replay_buffer.n_steps, loaded.replay_buffer.gamma) == (5, 0.5)
    assessed = TD3.load(tmp_path / "model", device="cpu", checkpoint_episodes=2)
    x = np.array([[0.3, 0.5, 10.0]])
    np.testing.assert_array_equal(assessed.predict(x, deterministic=True)[0], loaded.predict(x)[0])
    assessed.save(tmp_path / "assessed")
    TD3.load(tmp_path / "assessed", device="cpu", checkpoint_episodes=0)
    assessed.policy.save(str(tmp_path / "policy"))
    type(assessed.policy).load(str(tmp_path / "policy"), device="cpu")
    env = BitFlippingEnv(n_bits=4, continuous=True)
    sb3.TD3("MultiInputPolicy", env, **SMALL).save(tmp_path / "dictionary")
    dictionary = TD3.load(tmp_path / "dictionary", device="cpu", sampler="proportional")
    assert isinstance(dictionary.replay_buffer, PrioritizedReplayBuffer)


def test_observations_of_float64_are_stored_as_float32() -> None:
    assert sb3.TD3("MlpPolicy", Reach(), **SMALL).replay_buffer.observations.dtype == np.float64  # type: ignore[union-attr]
    assert TD3("MlpPolicy", Reach(), **SMALL).replay_buffer.observations.dtype == np.float32  # type: ignore[union-attr]


def test_hindsight_replay_images_and_dictionaries_as_in_a_script_for_stock_td3() -> None:
    env = BitFlippingEnv(n_bits=4, continuous=True)
    her = TD3("MultiInputPolicy", env, replay_buffer_class=sb3.HerReplayBuffer, **SMALL).learn(60)
    assert isinstance(her.replay_buffer, sb3.HerReplayBuffer) and her._n_updates > 0
    dictionaries = TD3(
        "MultiInputPolicy", BitFlippingEnv(n_bits=4, continuous=True), sampler="proportional", n_steps=2, **SMALL
    )
    assert dictionaries.learn(60)._n_updates > 0 and dictionaries.n_steps == 2
    images = FakeImageEnv(screen_height=40, screen_width=40, n_channels=1, discrete=False)
    for policy in ("CnnPolicy", "LayerNormPolicy"):
        kwargs = {"features_extractor_kwargs": {"features_dim": 8}} if policy == "CnnPolicy" else {}
        model = TD3(policy, images, **{**SMALL, "buffer_size": 60}, policy_kwargs={"net_arch": [8], **kwargs})
        assert model.learn(40)._n_updates > 0


# ---------------------------------------------------------------------- resuming


@pytest.mark.parametrize(
    "keywords",
    [{}, {"sampler": "proportional", "n_steps": 3}, {"policy": "SimbaPolicy", "optimize_memory_usage": True}],
    ids=["plain", "prioritized", "simba"],
)
def test_a_resumed_run_makes_the_same_next_updates(keywords: dict[str, Any], tmp_path: Path) -> None:
    model = trained(TD3, **keywords)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = TD3.load(tmp_path / "model", env=Reach(), device="cpu")
    loaded.load_replay_buffer(tmp_path / "replay")
    loaded.set_logger(Logger(None, []))
    for one in (model, loaded):
        one.set_random_seed(7)
        one.train(100, 16)
    assert model._n_updates == loaded._n_updates
    assert_same_weights(model, loaded)


@pytest.mark.parametrize(
    "keywords", [{}, {"sampler": "proportional", "n_steps": 3}, {"optimize_memory_usage": True}], ids=str
)
def test_a_second_learn_goes_on_and_a_replay_of_one_is_enough_to_act(keywords: dict[str, Any], tmp_path: Path) -> None:
    model = trained(TD3, **keywords)
    model.learn(60)
    assert model.num_timesteps == 60 and np.isfinite(model.predict(np.zeros((1, 3)))[0]).all()
    model.save(tmp_path / "model")
    acting = TD3.load(tmp_path / "model", device="cpu", buffer_size=1)  # as rl-zoo3's enjoy
    x = np.array([[0.3, 0.5, 10.0]])
    np.testing.assert_array_equal(acting.predict(x)[0], model.predict(x)[0])


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"sampler": {"proportional": {"alpha": -0.1}}}, r"alpha -0.1 must lie in \[0, 1\]"),
        ({"sampler": "prioritized"}, "sampler 'prioritized' is none of 'uniform', 'proportional'"),
        ({"replay_buffer_kwargs": {"sampler": Proportional()}}, "sampler is a keyword of the model"),
        ({"replay_buffer_kwargs": {"n_steps": 3}}, "n_steps is a keyword of the model, n_steps=...: give it there"),
        ({"action_noise": Scheduled(noise(), fraction=0.5), "tau": 1.5}, r"tau 1.5 must lie in \[0, 1\]"),
        ({"target_update_interval": 0}, "target_update_interval 0 must be >= 1"),
        ({"policy_delay": 0}, "policy_delay 0 must be >= 1"),
        ({"checkpoint_episodes": -1}, "checkpoint_episodes -1 must be >= 0"),
        ({"update_ratio": 0.0}, "update_ratio 0.0 must be > 0"),
        ({"update_ratio": 0.5, "gradient_steps": 0}, "gradient_steps 0 switches training off"),
        ({"compile": "on"}, 'compile="on" needs CUDA, the device is cpu'),
        ({"compile": "maybe"}, "compile 'maybe' must be"),
        ({"action_noise": NormalActionNoise(np.zeros(3), np.ones(3))}, r"action_noise of shape \(3,\) does not fit"),
        (
            {"action_noise": Scheduled(NormalActionNoise(np.zeros(3), np.ones(3)))},
            r"action_noise of shape \(3,\) does not fit",
        ),
        (
            {"sampler": "proportional", "replay_buffer_class": DeviceReplayBuffer},
            "leave replay_buffer_class out",
        ),
    ],
    ids=str,
)
def test_impossible_settings_are_named(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TD3("MlpPolicy", Reach(), **{**SMALL, **keywords})


def test_the_sampler_that_is_told_is_the_one_that_draws() -> None:
    for made, changed in (("uniform", Proportional()), ("proportional", "uniform")):
        model = TD3("MlpPolicy", Reach(), sampler=made, **SMALL)
        model.sampler = changed  # type: ignore[assignment]
        with pytest.raises(
            ValueError, match=r"sampler is now \w+\(.*\), but the replay draws by \w+\(.*\): give it to"
        ):
            model.learn(10)
        model.sampler = made  # type: ignore[assignment]
        model.learn(10)


def test_a_model_that_could_not_be_made_stays_as_it_was() -> None:
    model = TD3(
        "MlpPolicy",
        Reach(),
        n_steps=3,
        sampler="proportional",
        _init_setup_model=False,
        **{**SMALL, "policy_kwargs": {"a": 1}},
    )
    names = ("n_steps", "sampler", "replay_buffer", "replay_buffer_class", "replay_buffer_kwargs")
    before = [getattr(model, name) for name in names]
    with pytest.raises(TypeError, match="unexpected keyword argument 'a'"):
        model._setup_model()
    assert [getattr(model, name) for name in names] == before
    model.policy_kwargs = {}
    model._setup_model()
    assert isinstance(model.replay_buffer, PrioritizedReplayBuffer)
    assert model.n_steps == model.replay_buffer.n_steps == 3


def test_ddpgs_constructor_shows_its_parameters_and_names_a_typo() -> None:
    parameters = inspect.signature(DDPG).parameters
    assert all(p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    assert set(inspect.signature(TD3).parameters) <= set(parameters)
    with pytest.raises(TypeError, match=r"DDPG.__init__\(\) got an unexpected keyword argument 'gama'"):
        DDPG("MlpPolicy", Reach(), gama=0.9)  # type: ignore[call-arg]


@pytest.mark.parametrize("cls", [DDPG, DAC])
def test_every_keyword_arrives(cls: type[Any]) -> None:
    """Each with a value of its own, so that no two are mixed up."""
    numbers = dict(batch_size=11, buffer_size=12, learning_starts=13, stats_window_size=14, checkpoint_episodes=15)
    numbers |= dict(policy_delay=2, target_update_interval=3, gradient_steps=4, train_freq=5, verbose=0, seed=6)
    shares = dict(tau=0.11, gamma=0.12, target_policy_noise=0.13, target_noise_clip=0.14, update_ratio=0.15)
    given: dict[str, Any] = {**numbers, **shares, "learning_rate": 0.16, "action_noise": noise(), "compile": "off"}
    given |= {"device": "cpu", "policy_kwargs": {"net_arch": [4]}, "optimize_memory_usage": True}
    if cls is DDPG:
        given |= {"sampler": Proportional(0.3), "n_steps": 7, "scale_reward": True}
    model = cls("MlpPolicy", Reach(), **given)
    given |= {"train_freq": TrainFreq(5, TrainFrequencyUnit.STEP), "device": th.device("cpu")}
    given["policy_kwargs"] = {**given["policy_kwargs"], **({"n_critics": 1} if cls is DDPG else {})}
    if cls is DDPG:
        given["sampler"] = Proportional(0.3, beta=0.0)
    for name, value in given.items():
        assert getattr(model, "_stats_window_size" if name == "stats_window_size" else name) == value, name


def test_other_action_spaces_are_named() -> None:
    unbounded = Reach()
    unbounded.action_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    with pytest.raises(ValueError, match=r"action space Box\(-inf, inf, .* must have finite bounds"):
        TD3("MlpPolicy", unbounded, **SMALL)
    with pytest.raises(ValueError, match=r"no actions Discrete\(2\)"):
        TD3("MlpPolicy", "CartPole-v1", **SMALL)


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "frozen VecNormalize"])
@pytest.mark.parametrize("what", ["reward", "observation", "final observation"])
def test_nan_of_the_environment_is_named_before_it_is_stored(what: str, normalized: bool) -> None:
    at = 7 if what == "final observation" else 5

    class Broken(Reach):
        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            obs, reward, terminated, truncated, info = super().step(action)
            if len(self.actions) == at:
                obs, reward = (obs, np.nan) if what == "reward" else (obs * np.nan, reward)
            return obs, reward, terminated, truncated, info

    env: VecEnv = DummyVecEnv([Reach, Broken])
    env = VecNormalize(env, training=False) if normalized else env
    model = TD3("MlpPolicy", env, action_noise=noise(), **SMALL, **arch())
    with pytest.raises(ValueError, match=f"{what} .*nan.* of environment 1 at step {2 * at} is not finite"):
        model.learn(40)
    assert model.replay_buffer is not None and model.replay_buffer.pos == at - 1


def test_a_replay_of_other_settings_is_refused(tmp_path: Path) -> None:
    trained(TD3).save_replay_buffer(tmp_path / "plain")
    trained(TD3, sampler="proportional").save_replay_buffer(tmp_path / "prioritized")
    model = trained(TD3, sampler="proportional", n_steps=3)
    ours = model.replay_buffer
    with pytest.raises(ValueError, match=r"holds a ReplayBuffer, the model has a PrioritizedReplayBuffer"):
        model.load_replay_buffer(tmp_path / "plain")
    with pytest.raises(ValueError, match=r"has n_steps 1, the model 3"):
        model.load_replay_buffer(tmp_path / "prioritized")
    assert model.replay_buffer is ours


def test_files_of_other_algorithms_and_architectures_are_named(tmp_path: Path) -> None:
    sb3.SAC("MlpPolicy", Reach(), **SMALL, **arch()).save(tmp_path / "sac")
    with pytest.raises(ValueError, match="policy SACPolicy is not for TD3"):
        TD3.load(tmp_path / "sac", device="cpu")
    sb3.TD3("MlpPolicy", Reach(), **SMALL, **arch(8, 8)).save(tmp_path / "td3")
    model = TD3("MlpPolicy", Reach(), **SMALL, **arch())
    with pytest.raises(ValueError, match=r"these weights are not of this TD3: .*size mismatch.*policy_kwargs"):
        model.set_parameters(str(tmp_path / "td3"), device="cpu")
