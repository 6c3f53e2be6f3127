"""What Optuna draws builds a model, and its converter repeats it."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from support.pole_runs import ENV, TINY, train

from sb3_ext import DAC, GAIL, R2D2, DAgger, Rainbow, RainbowR
from sb3_ext.deep_q_learning import DeepQLearning
from sb3_ext.exchange.keywords import check_keywords, keywords_of
from sb3_ext.zoo import register
from sb3_ext.zoo.experiment import Experiment

# The stock scripts and what they call are not ours to keep free of deprecations and of files left open.
pytestmark = pytest.mark.filterwarnings("ignore")  # of the stock scripts


@pytest.mark.filterwarnings("ignore")  # rl-zoo3 and optuna are not ours to keep free of deprecations
@pytest.mark.parametrize("n_envs", [1, 16])
@pytest.mark.parametrize("cls", [Rainbow, RainbowR])
def test_a_trial_builds_a_model_and_the_converter_repeats_it(cls: type[DeepQLearning], n_envs: int) -> None:
    register()
    algo, policy = cls.__name__.lower(), next(iter(cls.policy_aliases))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn: dict[str, set[Any]] = {}
    for _ in range(20):
        trial = study.ask()
        keywords = HYPERPARAMS_SAMPLER[algo](trial, 0, n_envs, {})
        assert keywords == HYPERPARAMS_CONVERTER[algo](trial.params)
        check_keywords(keywords, keywords_of(cls), "keyword")
        check_keywords(keywords["policy_kwargs"], keywords_of(cls.policy_aliases[policy]), "keyword")
        ((head, of_head),) = keywords["head"].items()
        for name, value in (("head", head), ("noise", of_head["noise"]), ("n_steps", keywords["n_steps"])):
            drawn.setdefault(name, set()).add(value)
        assert keywords["exploration"] == "greedy", "the yml's epsilon would explore beside the noise"
        assert "net_arch" in keywords["policy_kwargs"]
        assert ("lstm_hidden_size" in keywords["policy_kwargs"]) == (cls is RainbowR)
        model = cls(policy, "CartPole-v1", **keywords)
        assert len(model.policy.net_arch) == (2 if cls is Rainbow else 1)
    assert drawn["head"] == {"c51", "quantile"}
    assert len(drawn["noise"]) == 20 and drawn["n_steps"] >= {1, 5}


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
    monkeypatch.setattr("sb3_ext.zoo.experiment.opened_storage", lambda storage: storage)  # no database is asked
    experiment = Experiment.of("r2d2", ENV, n_timesteps=64, verbose=0, storage="mysql://me:pw@host/db")
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


@pytest.mark.parametrize(
    ("algo", "cls", "env"),
    [("gail", GAIL, "CartPole-v1"), ("dac", DAC, "Pendulum-v1"), ("dagger", DAgger, "CartPole-v1")],
)
def test_the_converter_of_an_imitator_repeats_its_sampler(algo: str, cls: Any, env: str) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        keywords = HYPERPARAMS_SAMPLER[algo](trial, 1, 1, {"using_her_replay_buffer": False})
        assert keywords == HYPERPARAMS_CONVERTER[algo](trial.params)
        check_keywords(keywords, keywords_of(cls), "keyword")
        cls("MlpPolicy", env, device="cpu", **keywords)
