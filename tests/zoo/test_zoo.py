"""`sb3-ext` on small runs: rl-zoo3's flags work with our algorithms, and wrong input ends in one line."""

import os
import shlex
import signal
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rl_zoo3.exp_manager
import rl_zoo3.train
from rl_zoo3.utils import ALGOS
from stable_baselines3.common import callbacks
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv
from support.pole_runs import ENV, train

from sb3_ext import DAC, GAIL, R2D2, Rainbow
from sb3_ext.algorithms import ALGORITHMS
from sb3_ext.cli import main as cli
from sb3_ext.envs import MemoryChainEnv
from sb3_ext.imitation import RewardSettings
from sb3_ext.zoo import config_path, register
from sb3_ext.zoo.agent_ref import AgentRef
from sb3_ext.zoo.agents import load_to_act
from sb3_ext.zoo.experiment import Experiment, LatestBestCallback
from sb3_ext.zoo.workers import UninterruptedSubprocVecEnv

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts


def test_train_evaluates_the_best_model_and_enjoy_and_video_find_it(
    headless_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--eval-freq", "100", "--eval-episodes", "2", "-tb", "tb", "-P", "--device", "cpu") == 0
    out = capsys.readouterr().out
    assert "Evaluation of best_model.zip: mean return " in out
    assert "over 20 episodes" in out
    assert f"Settings of {config_path('r2d2')}, run in logs/r2d2/{ENV}_1" in out
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
    assert cli.main([*begin, "-params", *settings]) == 130
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
    assert (
        f"{second.parent} has finished, after {resumed.num_timesteps} steps; -i goes on from any model"
        in capsys.readouterr().err
    )


def test_without_a_command_line_an_episode_may_end(tmp_path: Path) -> None:
    settings = {"n_timesteps": 64, "verbose": 0, "eval_freq": -1, "hyperparams": {"learning_starts": 1000}}
    experiment = Experiment.of("dqn", "CartPole-v1", tmp_path, **settings)
    made = experiment.setup_experiment()
    assert made is not None
    experiment.learn(made[0])
    assert made[0]._episode_num > 0


def test_the_terminal_s_ctrl_c_leaves_worker_processes_alone_and_the_result_is_evaluated_without_any(
    headless_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    SubprocVecEnv([lambda: gym.make("CartPole-v1")]).close()  # starts the fork server, which does hear Ctrl-C
    experiment = Experiment.of("ppo", "CartPole-v1", n_timesteps=64, vec_env_type="subproc", verbose=0,
                               hyperparams={"n_envs": 1})  # fmt: skip
    handler = signal.getsignal(signal.SIGINT)
    made = experiment.setup_experiment()
    assert made is not None
    model, env = made[0], made[0].get_env()
    assert isinstance(env, SubprocVecEnv)
    try:
        env.reset()
        for process in env.processes:
            os.kill(process.pid, signal.SIGINT)
        for _ in range(3):
            env.step(np.zeros(1, dtype=np.int64))
        model.save(Path(experiment.save_path) / "CartPole-v1.zip")
        monkeypatch.setattr(UninterruptedSubprocVecEnv, "__init__", lambda *_: pytest.fail("another worker"))
        experiment.evaluate_result(model)
        assert "over 20 episodes" in capsys.readouterr().out
    finally:
        env.close()
    assert signal.getsignal(signal.SIGINT) is handler


def test_register_leaves_the_stock_algorithms_alone() -> None:
    stock = {name: cls for name, cls in ALGOS.items() if name not in ALGORITHMS}
    register()
    assert ALGOS["r2d2"] is R2D2 and ALGOS["rainbow"] is Rainbow
    assert {name: ALGOS[name] for name in stock} == stock


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
