"""Settings of a yml: presets, wrappers, keywords of environments, noise; and every block of ours starts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from gymnasium import spaces
from rl_zoo3.utils import ALGOS
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from support.demo_worlds import sampled
from support.pole_runs import ENV, TINY, spaces_of, train

from sb3_ext import TD3, Rainbow
from sb3_ext.algorithms import ALGORITHMS, IMITATORS
from sb3_ext.cli import main as cli
from sb3_ext.demonstrations import save
from sb3_ext.envs import MemoryChainEnv, PendulumPixelsEnv
from sb3_ext.errors import UserError
from sb3_ext.exchange.environments import checked_environment, environment_of
from sb3_ext.exchange.keywords import check_keywords, keywords_of
from sb3_ext.td3 import Laddered, Scheduled
from sb3_ext.zoo import config_path
from sb3_ext.zoo.configs import read_presets
from sb3_ext.zoo.experiment import Experiment, has_image
from sb3_ext.zoo.settings import ZOO_KEYS
from sb3_ext.zoo.vec_wrappers import has_channels_last, normalized_last

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts


Q_LEARNING = [algo for algo, row in ALGORITHMS.items() if not (row.imitates or row.is_continuous or row.is_tabular)]


def test_a_preset_lies_over_the_block_of_the_environment_and_under_the_command_line(headless_folder: Path) -> None:
    command = ["train", "--algo", "rainbow", "--env", "CartPole-v1", "-n", "60", "--preset", "data-efficient"]
    quiet = ["--eval-freq", "-1", "--final-eval-episodes", "0", "-params", "learning_starts:30", "--device", "cpu"]
    assert cli.main([*command, *quiet]) == 0
    model = Rainbow.load(headless_folder / "logs/rainbow/CartPole-v1_1/CartPole-v1.zip", device="cpu")
    assert model.n_steps == read_presets(config_path("rainbow"))["data-efficient"]["n_steps"] == 20
    assert model.learning_starts == 30


@pytest.mark.parametrize("algo", Q_LEARNING)
def test_the_papers_preset_sets_every_part_of_the_algorithm_that_a_block_sets(algo: str) -> None:
    blocks = yaml.safe_load(config_path(algo).read_text())
    preset = blocks.pop("presets")["paper"]
    parts = {"double_q", "head", "sampler", "exploration", "n_steps", "state_init"}
    assert parts & set().union(*blocks.values()) <= preset.keys()
    assert "proportional" in preset.get("sampler", "proportional")


def test_vec_normalize_statistics_reach_the_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--eval-freq", "100", "-params", "normalize:True", *TINY) == 0
    assert "Evaluation of best_model.zip" in capsys.readouterr().out
    assert cli.main(["enjoy", "--algo", "r2d2", "--env", ENV, "-n", "20", "--load-best"]) == 0


@pytest.mark.parametrize(
    ("env", "settings"),
    [
        (ENV, ("frame_stack:3", "normalize:True")),
        ("sb3_ext/PendulumPixels-v0", ("policy:'CnnPolicy'", "normalize:{'norm_obs': False}", "frame_stack:2")),
    ],
)
def test_stacked_frames_and_images_can_be_normalised(env: str, settings: tuple[str, ...]) -> None:
    """rl-zoo3's order gives the replay observations without the stack, with channels last."""
    agent = ["--algo", "rainbow", "--env", env]
    begin = ["train", *agent, "-n", "60", "--eval-freq", "40", "--eval-episodes", "1", "--final-eval-episodes", "1"]
    assert cli.main([*begin, "--device", "cpu", "-params", "learning_starts:30", "batch_size:4", *settings]) == 0
    assert cli.main(["enjoy", *agent, "-n", "5", "--no-render"]) == 0
    (run,) = Path("logs/rainbow").iterdir()
    (model,) = run.glob("*-v?.zip")
    loaded = Rainbow.load(model, device="cpu")
    with (run / model.stem / "vecnormalize.pkl").open("rb") as file:
        normalize = pickle.load(file)
    assert loaded.observation_space.shape == normalize.observation_space.shape
    again = [*begin, "-i", str(model), "--device", "cpu", "-params", "learning_starts:30", "batch_size:4", *settings]
    assert cli.main(again) == 0


def test_wrappers_are_put_below_normalize() -> None:
    image, vector = spaces.Box(0, 255, (84, 84, 1), np.uint8), spaces.Box(-1, 1, (4,))
    stack, transpose = ("stable_baselines3.common.vec_env." + name for name in ("VecFrameStack", "VecTransposeImage"))
    assert normalized_last({"normalize": True}, vector) == {"normalize": True}
    assert normalized_last({"frame_stack": 4, "gamma": 0.9}, vector) == {
        "gamma": 0.9,
        "vec_env_wrapper": [{stack: {"n_stack": 4}}],
    }
    given = {"frame_stack": 2, "vec_env_wrapper": "mine.Wrapper"}
    assert normalized_last(given, spaces.Dict({"a": vector, "b": image})) == {
        "vec_env_wrapper": ["mine.Wrapper", {stack: {"n_stack": 2}}, transpose]
    }
    assert given == {"frame_stack": 2, "vec_env_wrapper": "mine.Wrapper"}
    assert not has_channels_last(spaces.Box(0, 255, (1, 84, 84), np.uint8))


def test_wrappers_below_normalize_are_shared_with_the_agent() -> None:
    below = normalized_last({"frame_stack": 2, "normalize": True}, spaces.Box(0, 255, (84, 84, 1), np.uint8))
    assert checked_environment(environment_of(below)) == {"vec_env_wrapper": below["vec_env_wrapper"]}
    with pytest.raises(UserError, match=r"env_wrapper 'subprocess\.run': only wrappers of"):
        checked_environment({"vec_env_wrapper": ["subprocess.run"]})


def test_env_kwargs_of_the_yml_reach_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """rl-zoo3 alone evaluates on the default environment."""
    lengths: list[int] = []
    original = MemoryChainEnv.__init__

    def watch(self: MemoryChainEnv, length: int = 10, **kwargs: Any) -> None:
        lengths.append(length)
        original(self, length, **kwargs)

    monkeypatch.setattr(MemoryChainEnv, "__init__", watch)
    command = ["train", "--algo", "r2d2", "--env", "sb3_ext/MemoryChain-v0", "-n", "200", "--eval-freq", "100"]
    assert cli.main([*command, "-params", *TINY, "env_kwargs:{'length': 4}"]) == 0
    assert len(lengths) > 3
    assert set(lengths) == {4}


@pytest.mark.parametrize("command", ["enjoy", "record_video"])
def test_env_kwargs_of_the_yml_reach_those_who_watch(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """rl-zoo3's `record_video` alone films the default environment."""
    made: list[int | None] = []
    original = PendulumPixelsEnv.__init__

    def note(self: PendulumPixelsEnv, n_torques: int | None = 5, **kwargs: Any) -> None:
        made.append(n_torques)
        original(self, n_torques, **kwargs)

    monkeypatch.setattr(PendulumPixelsEnv, "__init__", note)
    agent = ["--algo", "rainbow", "--env", "sb3_ext/PendulumPixels-v0"]
    settings = ["policy:'CnnPolicy'", "env_kwargs:{'n_torques': 3}", "learning_starts:100"]
    assert cli.main(["train", *agent, "-n", "20", "--eval-freq", "-1", "-params", *settings]) == 0
    assert cli.main([command, *agent, "-n", "3"]) == 0
    assert set(made) == {3}


def test_the_noise_of_a_yml_may_be_scaled(headless_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["train", "--algo", "td3", "--env", "Pendulum-v1", "-n", "20", "--eval-freq", "-1", "-params", "n_envs:2"]
    given += ["learning_starts:100", "noise_final:0.5", "noise_fraction:0.25", "noise_ladder:[1.0, 2.0]"]
    assert cli.main(given) == 0
    saved = TD3.load(headless_folder / "logs" / "td3" / "Pendulum-v1_1" / "Pendulum-v1.zip", device="cpu")
    inside = NormalActionNoise(np.zeros(1), 0.1 * np.ones(1))
    assert isinstance(saved.action_noise, VectorizedActionNoise)
    assert repr(saved.action_noise.base_noise) == repr(Scheduled(Laddered(inside, 1.0, 2.0), 0.5, 0.25))
    capsys.readouterr()
    for wrong, words in (
        (["noise_type:None"], "scale the noise of noise_type and noise_std"),
        (["noise_ladder:[1.0]"], "must be two factors"),
        (["noise_final:-1.0"], "final -1.0 must be >= 0"),
    ):
        assert cli.main([*given, *wrong]) == 2
        assert words in capsys.readouterr().err


BLOCKS = [
    (algo, block)
    for algo in ALGORITHMS
    for block in yaml.safe_load(config_path(algo).read_text())
    if block != "presets"
]


@pytest.mark.parametrize(("algo", "block"), BLOCKS)
def test_every_block_of_every_yml_starts(algo: str, block: str) -> None:
    keywords = yaml.safe_load(config_path(algo).read_text())[block]
    check_keywords(keywords, keywords_of(ALGOS[algo]) | ZOO_KEYS, f"key of {block}")
    row = ALGORITHMS[algo]
    default = "Pendulum-v1" if row.is_continuous else "FrozenLake-v1" if row.is_tabular else "CartPoleNoVel-v1"
    env = {"default": default, "atari": "ALE/Pong-v5"}.get(block, block)
    arguments = ["--algo", algo, "--env", env, "-n", "40", "--eval-freq", "-1", "--final-eval-episodes", "0"]
    tiny = [] if algo == "gail" or row.is_tabular else ["-params", "buffer_size:4000"]
    if row.asks:
        if "Lake" not in env:
            expert = ["--algo", "ppo", "--env", env, "-n", "64", "--eval-freq", "-1", "-params", "n_steps:32"]
            assert cli.main(["train", *expert]) == 0
        tiny = ["-params", "n_steps:4"]
    elif algo in IMITATORS:
        stacked = spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Discrete(6)
        save(sampled(*(stacked if block == "atari" else spaces_of(env))), f"demos/{env.replace('/', '-')}.npz")
        tiny = [*(tiny or ["-params", "n_steps:16", "n_envs:2", "n_epochs:1"]), "discriminator_updates:1"]
    assert cli.main(["train", *arguments, *tiny]) == 0


@pytest.mark.parametrize("algo", Q_LEARNING)
@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", "PongNoFrameskip-v4"])
def test_an_action_on_atari_lasts_four_frames(
    algo: str, env_id: str, headless_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ALE's newer ids skip frames themselves; with SB3's wrapper around them it would be 16."""
    for kwargs, n_frames in ((None, 4), ({"frameskip": 3}, 12)):
        experiment = Experiment.of(algo, env_id, n_timesteps=64, verbose=0, env_kwargs=kwargs)
        hyperparams, _ = experiment.read_hyperparameters()
        _, experiment.env_wrapper, _, _ = experiment._preprocess_hyperparams(hyperparams)
        env = experiment.create_envs(1, no_log=True)
        env.reset()
        ale = env.get_attr("ale")[0]
        before = ale.getEpisodeFrameNumber()
        env.step(np.zeros(1, dtype=np.int64))
        assert ale.getEpisodeFrameNumber() - before == n_frames
        env.close()
        assert ("skips 3 frames by itself and its wrapper 4: an action lasts 12" in capsys.readouterr().out) == (
            n_frames == 12
        )


def test_images_are_recognised() -> None:
    image, vector = spaces.Box(0, 255, (84, 84, 1), np.uint8), spaces.Box(-1, 1, (4,))
    assert has_image(image)
    assert has_image(spaces.Dict({"a": vector, "b": image}))
    assert not has_image(spaces.Dict({"a": vector}))
