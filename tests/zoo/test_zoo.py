"""`sb3-ext` on small runs: rl-zoo3's flags work with our algorithms, and wrong input ends in one line."""

import argparse
import contextlib
import os
import pickle
import shlex
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import optuna
import pytest
import rl_zoo3.exp_manager
import rl_zoo3.train
import torch as th
import yaml
from gymnasium import spaces
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from rl_zoo3.utils import ALGOS
from stable_baselines3.common import callbacks
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv
from support.demo_worlds import sampled

from sb3_ext import DAC, GAIL, R2D2, TD3, Rainbow
from sb3_ext.algorithms import ALGORITHMS, IMITATORS
from sb3_ext.cli import main as cli
from sb3_ext.demonstrations import save
from sb3_ext.envs import MemoryChainEnv, PendulumPixelsEnv
from sb3_ext.errors import UserError
from sb3_ext.exchange.environments import checked_environment, environment_of
from sb3_ext.exchange.keywords import check_keywords, keywords_of
from sb3_ext.imitation import RewardSettings
from sb3_ext.td3 import Laddered, Scheduled
from sb3_ext.zoo import config_path, register
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.agents import load_to_act
from sb3_ext.zoo.configs import read_presets
from sb3_ext.zoo.experiment import Experiment, LatestBestCallback, has_image
from sb3_ext.zoo.settings import ZOO_KEYS
from sb3_ext.zoo.vec_wrappers import has_channels_last, normalized_last

ENV = "CartPoleNoVel-v1"
register()
Q_LEARNING = [algo for algo, row in ALGORITHMS.items() if not (row.imitates or row.is_continuous)]
# Windows and updates small enough for a run of one second.
TINY = ["n_envs:2", "learning_starts:100", "batch_size:8", "gradient_steps:1", "buffer_size:2000"]

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")


def train(*arguments: str, env: str = ENV, steps: int = 300) -> int:
    return cli.main(["train", "--algo", "r2d2", "--env", env, "-n", str(steps), *arguments, "-params", *TINY])


def test_train_evaluates_the_best_model_and_enjoy_and_video_find_it(
    headless_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--eval-freq", "100", "--eval-episodes", "2", "-tb", "tb", "-P", "--device", "cpu") == 0
    out = capsys.readouterr().out
    assert "Evaluation of best_model.zip: mean return " in out
    assert "over 20 episodes" in out
    assert f"Loading hyperparameters from: {config_path('r2d2')}" in out
    assert list(headless_folder.glob("tb/**/events*"))

    assert cli.main(["enjoy", "--algo", "r2d2", "--env", ENV, "-n", "60", "--load-best"]) == 0
    out = capsys.readouterr().out
    assert "No display: running with --no-render" in out
    assert "Mean reward" in out

    assert cli.main(["record_video", "--algo", "r2d2", "--env", ENV, "-n", "10"]) == 0
    (video,) = headless_folder.glob(f"logs/r2d2/{ENV}_1/videos/*.mp4")
    assert video.stat().st_size > 1000

    assert cli.main(["plot_train", "-a", "r2d2", "-e", ENV, "-f", "logs", "-w", "2"]) == 0
    assert (headless_folder / "plot_train_1.png").is_file()
    assert cli.main(["all_plots", "-a", "r2d2", "-e", ENV, "-f", "logs", "-o", "table"]) == 0
    assert cli.main(["plot_from_file", "-i", "table.pkl"]) == 2
    assert "two runs or more" in capsys.readouterr().err


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
    parts = {"double_q", "head", "sampler", "n_steps", "state_init"}
    assert parts & set().union(*blocks.values()) <= preset.keys()
    assert "proportional" in preset.get("sampler", "proportional")


def test_of_equally_good_models_the_latest_is_kept(tmp_path: Path) -> None:
    env = MemoryChainEnv(length=4)
    model = R2D2("MlpLstmPolicy", env, learning_starts=10**6, device="cpu")
    best = LatestBestCallback(MemoryChainEnv(length=4), eval_freq=20, best_model_save_path=str(tmp_path), verbose=0)
    scores = iter([0.5, 1.0, 0.5, 1.0, 0.25])
    kept = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            if self.n_calls % 20 == 0:
                kept.append(R2D2.load(tmp_path / "best_model.zip", device="cpu").num_timesteps)
            return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "evaluate_policy", lambda *_, **__: ([next(scores)], [1]))
        model.learn(100, callback=[best, Watch()])
    assert kept == [20, 40, 40, 80, 80]
    assert best.best_mean_reward == 1.0


def test_an_environment_with_a_slash_is_found_again(headless_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = "sb3_ext/MemoryChain-v0"
    assert train("--eval-freq", "-1", "--final-eval-episodes", "3", env=env, steps=200) == 0
    assert "Evaluation of sb3_ext-MemoryChain-v0.zip: mean return" in capsys.readouterr().out
    assert cli.main(["enjoy", "--algo", "r2d2", "--env", env, "-n", "30", "--no-render"]) == 0
    assert cli.main(["record_video", "--algo", "r2d2", "--env", env, "-n", "5"]) == 0
    assert list(headless_folder.glob("logs/r2d2/sb3_ext-MemoryChain-v0_1/videos/*.mp4"))
    assert cli.main(["plot_train", "-a", "r2d2", "-e", env, "-f", "logs", "-w", "2"]) == 0


def test_resume_continues_with_the_saved_replay(headless_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = ("--eval-freq", "-1", "--final-eval-episodes", "0")
    assert train(*quiet, "--save-replay-buffer", "--save-freq", "100") == 0
    first = headless_folder / "logs" / "r2d2" / f"{ENV}_1"
    assert (first / "replay_buffer.pkl").is_file()
    assert (first / "rl_model_200_steps.zip").is_file()

    assert train(*quiet, "--save-replay-buffer", "-i", str(first / f"{ENV}.zip"), steps=200) == 0
    out = capsys.readouterr().out
    assert "Loading replay buffer" in out
    assert "Evaluation" not in out
    resumed = R2D2.load(headless_folder / "logs" / "r2d2" / f"{ENV}_2" / f"{ENV}.zip")
    resumed.load_replay_buffer(headless_folder / "logs" / "r2d2" / f"{ENV}_2" / "replay_buffer.pkl")
    before = R2D2.load(first / f"{ENV}.zip")
    before.load_replay_buffer(first / "replay_buffer.pkl")
    assert resumed.replay_buffer is not None
    assert before.replay_buffer is not None
    assert resumed.replay_buffer.n_drawable > before.replay_buffer.n_drawable
    assert resumed._n_updates > before._n_updates


@pytest.mark.parametrize("algo", ["r2d2", "ppo"])
def test_ctrl_c_loses_nothing_and_the_printed_command_goes_on(
    algo: str, headless_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    n_calls = 0
    original = MemoryChainEnv.step

    def step(self: MemoryChainEnv, action: int) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 150:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, action)

    monkeypatch.setattr(MemoryChainEnv, "step", step)
    handler = signal.getsignal(signal.SIGINT)  # a shell's background jobs ignore it
    env = "sb3_ext/MemoryChain-v0"
    settings = (
        ("n_envs:2", "learning_starts:40", "buffer_size:4000")
        if algo == "r2d2"
        else ("policy:'MlpPolicy'", "n_steps:32", "n_envs:2", "batch_size:32", "normalize:True", "n_timesteps:1000")
    )
    (headless_folder / "ppo.yml").write_text(f"{env}: {{policy: MlpPolicy, n_timesteps: 1000}}")
    conf = () if algo == "r2d2" else ("-conf", "ppo.yml")
    begin = ["train", "--algo", algo, "--env", env, "-n", "512", *conf, "--eval-freq", "-1", "--device", "cpu"]
    assert cli.main([*begin, "-params", *settings]) == 0
    out = capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is handler
    folder = headless_folder / "logs" / algo / "sb3_ext-MemoryChain-v0_1"
    first = ALGOS[algo].load(folder / "sb3_ext-MemoryChain-v0.zip", device="cpu")
    # The step under way is finished; of PPO, whose rollouts are 64 steps, the rollout and the first step of the next.
    assert first.num_timesteps == (150 if algo == "r2d2" else 194)
    assert f"Interrupted after {first.num_timesteps} of 512 steps" in out and "Evaluation of" not in out
    assert (folder / "replay_buffer.pkl").is_file() == (algo == "r2d2")
    (command,) = [line for line in out.splitlines() if line.startswith("  sb3-ext train")]
    assert cli.main(shlex.split(command)[1:]) == 0
    out = capsys.readouterr().out
    assert f"Going on after {first.num_timesteps} of 512 steps" in out
    second = headless_folder / "logs" / algo / "sb3_ext-MemoryChain-v0_2" / "sb3_ext-MemoryChain-v0.zip"
    resumed = ALGOS[algo].load(second, device="cpu")
    assert resumed.num_timesteps == 512 if algo == "r2d2" else 512 <= resumed.num_timesteps < 512 + 64
    assert resumed._n_updates > first._n_updates > 0 and "learn" not in vars(resumed)
    assert cli.main([*begin, "--resume", str(second.parent)]) == 2
    assert "holds no interrupted run: there is no interrupted.json" in capsys.readouterr().err


def test_the_terminal_s_ctrl_c_leaves_worker_processes_alone(headless_folder: Path) -> None:
    SubprocVecEnv([lambda: gym.make("CartPole-v1")]).close()  # starts the fork server, which does hear Ctrl-C
    given = argparse.Namespace(conf_file=None, num_threads=1, env="CartPole-v1", algo="ppo", env_kwargs=None)
    experiment = Experiment(given, "ppo", "CartPole-v1", "logs", n_timesteps=64, vec_env_type="subproc", verbose=0)
    experiment.n_envs = 2
    experiment.setup_experiment()
    handler = signal.getsignal(signal.SIGINT)
    env = experiment.create_envs(2, no_log=True)
    assert isinstance(env, SubprocVecEnv)
    try:
        env.reset()
        for process in env.processes:
            os.kill(process.pid, signal.SIGINT)
        for _ in range(3):
            env.step(np.zeros(2, dtype=np.int64))
    finally:
        env.close()
    assert signal.getsignal(signal.SIGINT) is handler


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


def test_optimize_then_train_the_first_trial(headless_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = ("--storage", "sqlite:///study.db", "--study-name", "tiny")
    search = ("-optimize", "--n-trials", "2", "--n-evaluations", "1", "--eval-episodes", "1", "--no-optim-plots")
    assert train(*study, *search) == 0
    assert not list((headless_folder / "logs" / "r2d2").glob(f"{ENV}_*")), "a search leaves no run without a model"
    trial = optuna.load_study(study_name="tiny", storage="sqlite:///study.db").trials[0]

    assert train(*study, "--trial-id", "0", "--eval-freq", "-1", "--final-eval-episodes", "0", steps=50) == 0
    saved = headless_folder / "logs" / "r2d2" / f"{ENV}_1" / ENV / "config.yml"
    hyperparams = dict(yaml.load(saved.read_text(), Loader=yaml.UnsafeLoader))
    expected = HYPERPARAMS_CONVERTER["r2d2"](trial.params)
    assert expected.pop("policy_kwargs").items() <= hyperparams["policy_kwargs"].items()
    for name in expected.keys() - {setting.split(":")[0] for setting in TINY}:
        assert hyperparams[name] == expected[name]


def test_a_study_without_a_name_gets_one_and_its_storage_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """rl-zoo3's warning would show the password."""
    seen: list[Any] = []
    monkeypatch.setattr(optuna, "create_study", lambda **keywords: seen.append(keywords))
    given = argparse.Namespace(conf_file=None, num_threads=1, env=ENV, algo="r2d2", env_kwargs=None)
    experiment = Experiment(given, "r2d2", ENV, "logs", n_timesteps=64, verbose=0, storage="mysql://me:pw@host/db")
    with warnings.catch_warnings(), contextlib.suppress(AttributeError):
        warnings.simplefilter("error")
        experiment.hyperparameters_optimization()
    (keywords,) = seen
    assert keywords["study_name"].startswith(f"r2d2-{ENV}-") and keywords["storage"] == "mysql://me:pw@host/db"
    assert "pw@" not in capsys.readouterr().out


@pytest.mark.parametrize("n_envs", [1, 16])
def test_converter_repeats_the_sampler_and_keeps_the_geometry_valid(n_envs: int) -> None:
    register()
    register()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    known = keywords_of(R2D2)
    for _ in range(50):
        trial = study.ask()
        keywords = HYPERPARAMS_SAMPLER["r2d2"](trial, 0, n_envs, {})
        assert keywords == HYPERPARAMS_CONVERTER["r2d2"](trial.params)
        check_keywords(keywords, known, "keyword")
        check_keywords(keywords["policy_kwargs"], keywords_of(R2D2.policy_aliases["MlpLstmPolicy"]), "keyword")
        assert keywords["sequence_length"] % keywords["period"] == 0
        assert {"lstm_hidden_size", "net_arch"} <= set(keywords["policy_kwargs"])
        assert set(keywords["exploration"]) == {"epsilon_ladder" if n_envs > 1 else "epsilon_greedy"}
        R2D2("MlpLstmPolicy", "CartPole-v1", **keywords)


def test_register_leaves_the_stock_algorithms_alone() -> None:
    stock = {name: cls for name, cls in ALGOS.items() if name not in ALGORITHMS}
    register()
    assert ALGOS["r2d2"] is R2D2 and ALGOS["rainbow"] is Rainbow
    assert {name: ALGOS[name] for name in stock} == stock


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
    default = "Pendulum-v1" if ALGORITHMS[algo].is_continuous else "CartPoleNoVel-v1"
    env = {"default": default, "atari": "ALE/Pong-v5"}.get(block, block)
    arguments = ["--algo", algo, "--env", env, "-n", "40", "--eval-freq", "-1", "--final-eval-episodes", "0"]
    tiny = [] if algo == "gail" else ["-params", "buffer_size:4000"]
    if algo in IMITATORS:
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
    given = argparse.Namespace(conf_file=None, num_threads=1, env=env_id, algo=algo, env_kwargs=None)
    for kwargs, n_frames in ((None, 4), ({"frameskip": 3}, 12)):
        experiment = Experiment(given, algo, env_id, "logs", n_timesteps=64, verbose=0, env_kwargs=kwargs)
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


def spaces_of(env_id: str) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    env = gym.make(env_id)
    env.close()
    return env.observation_space, env.action_space


def test_imitation_from_a_trained_agent_to_a_model_that_needs_no_demonstrations(
    headless_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = ("--eval-freq", "-1", "--final-eval-episodes", "0", "--device", "cpu")
    gail = ["train", "--algo", "gail", "--env", "CartPole-v1", "-n", "64", *quiet]
    assert cli.main(gail) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "there is no demos/CartPole-v1.npz. Record them from a trained agent: `sb3-ext train --algo ppo" in line
    assert "`sb3-ext demos record --algo ppo --env CartPole-v1 -o demos/CartPole-v1.npz`" in line

    assert cli.main(["train", "--algo", "ppo", "--env", "CartPole-v1", "-n", "64", "--eval-freq", "-1"]) == 0
    assert (
        cli.main(["demos", "record", "--algo", "ppo", "--env", "CartPole-v1", "-n", "2", "-o", "demos/mine.npz"]) == 0
    )
    tiny = ("-params", "n_steps:16", "n_envs:2", "batch_size:32")
    assert cli.main([*gail, "--demonstrations", "demos/mine.npz", *tiny]) == 0
    assert cli.main([*gail, *tiny, "demonstrations:{'model': 'ppo', 'n_episodes': 3}"]) == 0
    first = GAIL.load(headless_folder / "logs/gail/CartPole-v1_1/CartPole-v1.zip", device="cpu")
    again = ["--demonstrations", "demos/mine.npz", "-i", "logs/gail/CartPole-v1_1/CartPole-v1.zip"]
    assert cli.main([*gail, *again, *tiny, "discriminator_learning_rate:'lin_2e-3'", "discriminator_updates:3"]) == 0
    resumed = GAIL.load(headless_folder / "logs/gail/CartPole-v1_3/CartPole-v1.zip", device="cpu")
    updates = [model.reward_settings.discriminator_updates for model in (first, resumed)]
    assert updates == [RewardSettings().discriminator_updates, 3]
    assert [resumed.adversary.learning_rate(progress) for progress in (1.0, 0.5)] == [2e-3, 1e-3]
    assert cli.main(["demos", "convert", "demos/mine.npz", "demos/other.npz", "--to", "sb2"]) == 0
    assert cli.main([*gail, *tiny, "demonstrations:{'source': 'demos/other.npz', 'format': 'sb2'}"]) == 0
    assert cli.main([*gail, *tiny, "demonstrations:{'source': 'demos/other.npz', 'formt': 'sb2'}"]) == 2
    assert "demonstrations: unknown key 'formt', did you mean 'format'?" in capsys.readouterr().err
    assert cli.main([*gail, *tiny, "demonstrations:{'model': 'ppo', 'n': 3}"]) == 2
    assert "demonstrations: unknown key 'n'" in capsys.readouterr().err

    Path("demos/mine.npz").unlink()
    assert cli.main(["enjoy", "--algo", "gail", "--env", "CartPole-v1", "-n", "20"]) == 0
    model = headless_folder / "logs/gail/CartPole-v1_1/CartPole-v1.zip"
    assert GAIL.load(model, device="cpu").num_timesteps == 64


def test_recording_from_dac_allocates_no_replay(headless_folder: Path) -> None:
    env = gym.make("Pendulum-v1")
    DAC("MlpPolicy", env, buffer_size=1000, device="cpu").save("dac.zip")
    model = load_to_act(AgentRef("dac", "Pendulum-v1"), Path("dac.zip"), {}, DummyVecEnv([lambda: env]))
    assert isinstance(model, DAC) and model.replay_buffer is not None and model.replay_buffer.buffer_size == 1


@pytest.mark.parametrize(("algo", "cls", "env"), [("gail", GAIL, "CartPole-v1"), ("dac", DAC, "Pendulum-v1")])
def test_the_converter_of_an_imitator_repeats_its_sampler(algo: str, cls: Any, env: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        keywords = HYPERPARAMS_SAMPLER[algo](trial, 1, 1, {"using_her_replay_buffer": False})
        assert keywords == HYPERPARAMS_CONVERTER[algo](trial.params)
        check_keywords(keywords, keywords_of(cls), "keyword")
        cls("MlpPolicy", env, device="cpu", **keywords)


def test_stock_algorithms_still_train(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--algo", "dqn", "--env", "CartPole-v1", "-n", "100", "--eval-freq", "-1"]
    assert cli.main(["train", *arguments]) == 0
    assert "Evaluation of" not in capsys.readouterr().out
    assert vars(rl_zoo3.train)["ExperimentManager"] is rl_zoo3.exp_manager.ExperimentManager


def test_an_interrupt_saves_the_model(headless_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(R2D2, "train", interrupted)
    assert train("--eval-freq", "-1", "--final-eval-episodes", "0") == 0
    assert (headless_folder / "logs" / "r2d2" / f"{ENV}_1" / f"{ENV}.zip").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "unknown command 'trian', did you mean 'train'?"),
        ("train --algo r2d3", "unknown --algo 'r2d3', did you mean 'r2d2'?"),
        (
            "train --algo r2d2 --env CartPoleNoVel-v7",
            "CartPoleNoVel-v7 not found in gym registry, you maybe meant CartPole",
        ),
        ("train --algo r2d2 --env CartPole-v1 -params burnin:3", "'burnin', did you mean 'burn_in'?"),
        ("train --algo r2d2 --env CartPole-v1 -params n_env:3", "'n_env', did you mean 'n_envs'?"),
        (
            "train --algo r2d2 --env CartPole-v1 -params policy_kwargs:dict(lstm_size=3)",
            "key of policy_kwargs for MlpLstmPolicy: 'lstm_size', did you mean 'lstm_hidden_size'?",
        ),
        ("train --algo r2d2 --env CartPole-v1 -params period:7", "period 7 must divide sequence_length 40"),
        ("train --algo r2d2 --env CartPole-v1 -params n_steps:0", "n_steps 0 must be an integer >= 1"),
        ("train --algo r2d2 --env CartPole-v1 -params buffer_size:10", "set buffer_size >= "),
        (
            "train --algo r2d2 --env CartPole-v1 -params state_init:zero",
            "name 'zero' is not defined. Values of -params",
        ),
        (
            "train --algo rainbow --env CartPole-v1 --preset data-eficient",
            "unknown preset of rainbow: 'data-eficient', did you mean 'data-efficient'?",
        ),
        ("train --algo r2d2 --env CartPole-v1 --preset fast", "unknown preset of r2d2: 'fast'"),
        ("train --algo r2d2 --env CartPole-v1 -params period:3+", "Values of -params and --env-kwargs are Python"),
        ("train --algo r2d2 --env CartPole-v1 -conf none.yml", "No such file or directory: 'none.yml'"),
        ("train --algo r2d2 --env CartPole-v1 -conf bad.yml", "the block for CartPole-v1 in bad.yml lacks 'policy'"),
        ("train --algo r2d2 --env CartPole-v1 -i none.zip", "The trained_agent must be a valid path to a .zip file"),
        ("train --algo r2d2 --env Pendulum-v1", "as action spaces but Box"),
        ("enjoy --algo r2d2 --env CartPol-v1", "unknown --env 'CartPol-v1', did you mean 'CartPole-v1'?"),
        (
            "enjoy --algo r2d2 --env CartPole-v1",
            "no r2d2 agent for CartPole-v1 in logs/r2d2: train one with `sb3-ext train",
        ),
        ("enjoy --algo r2d2 --env CartPole-v1 --exp-id 3 --no-render", "logs/r2d2/CartPole-v1_3 folder was not found"),
        ("record_video --algo r2d2 --env CartPole-v1", "no r2d2 agent for CartPole-v1"),
    ],
)
def test_wrong_input_is_answered_in_one_line(
    arguments: str, message: str, headless_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (headless_folder / "bad.yml").write_text("CartPole-v1: {n_timesteps: 10}")
    assert cli.main(arguments.split(" ")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"sb3-ext {arguments.split(' ')[0]}: ")
    assert message in line
    assert not list(headless_folder.glob("logs/r2d2/*")), "a run that could not start leaves nothing behind"


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("rl_zoo3", "train --algo r2d2", "zoo"),
        ("seaborn", "plot_train -a r2d2 -e CartPole-v1 -f logs", "zoo"),
        ("Box2D", "train --algo r2d2 --env LunarLander-v3", "box2d"),
        ("mujoco", "train --algo r2d2 --env HalfCheetah-v5", "mujoco"),
    ],
)
def test_a_missing_extra_is_named(
    module: str, arguments: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    users = {"Box2D": "gymnasium.envs.box2d", "mujoco": "gymnasium.envs.mujoco"}.get(module, "rl_zoo3")
    for name in list(sys.modules):
        if name == module or name.startswith((f"{module}.", users)):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(arguments.split()) == 2
    command = arguments.split()[0]
    assert capsys.readouterr().err == f'sb3-ext {command} needs the {extra} extra: pip install "sb3-ext[{extra}]"\n'


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(R2D2, "train", lambda *_, **__: [][0])
    with pytest.raises(IndexError):
        train("--eval-freq", "-1")


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert cli.main(["--help"]) == 0
    assert cli.main([]) == 2
    out = capsys.readouterr().out
    assert out.startswith("sb3-ext 0.1.0")
    for command, ours in (("train", "--final-eval-episodes"), ("enjoy", "logs/"), ("record_video", "logs/")):
        with pytest.raises(SystemExit, match="0"):
            cli.main([command, "--help"])
        out = capsys.readouterr().out
        assert ours in out
        assert "--deterministic" in out or "-optimize" in out


@pytest.mark.parametrize("chosen", ["nothing", "flag", "variable"])
def test_small_networks_train_with_one_thread_unless_the_user_chose(
    chosen: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen == "variable":
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = th.get_num_threads()
    th.set_num_threads(2)
    try:
        flags = ["--num-threads", "2"] if chosen == "flag" else []
        assert train("--eval-freq", "-1", "--final-eval-episodes", "0", *flags, steps=20) == 0
        assert th.get_num_threads() == (1 if chosen == "nothing" else 2)
        assert ("Using 1 torch thread" in capsys.readouterr().out) == (chosen == "nothing")
    finally:
        th.set_num_threads(before)


def test_images_are_recognised() -> None:
    image, vector = spaces.Box(0, 255, (84, 84, 1), np.uint8), spaces.Box(-1, 1, (4,))
    assert has_image(image)
    assert has_image(spaces.Dict({"a": vector, "b": image}))
    assert not has_image(spaces.Dict({"a": vector}))
