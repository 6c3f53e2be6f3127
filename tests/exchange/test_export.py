"""Exported policies: what a file does alone is what `predict` does, and no other file is written."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize
from support.agents import CARTPOLE, OFF, ON, PENDULUM, Dictionary, makers, small

import sb3_ext
from sb3_ext import nested
from sb3_ext.exchange.acting_graphs import GreedyGraph, VectorGraph
from sb3_ext.exchange.export import Exported, export_policy
from sb3_ext.networks import GRUCore
from sb3_ext.networks.heads import Quantile, Scalar
from sb3_ext.networks.noisy import sample_noise

Run = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def loaded(path: Path) -> tuple[Run, dict[str, Any]]:
    """:return: the file as a function of its inputs, and its metadata; nothing of ours is in it"""
    if path.suffix == ".onnx":
        session = pytest.importorskip("onnxruntime", reason="the extra export is not installed").InferenceSession(path)
        names = [x.name for x in session.get_outputs()]
        about = json.loads(session.get_modelmeta().custom_metadata_map["sb3_ext"])
        return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True)), about
    extra = {"sb3_ext.json": ""}
    program = th.export.load(path, extra_files=extra).module()
    about = json.loads(extra["sb3_ext.json"])

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = program(*(th.as_tensor(inputs[x["name"]]) for x in about["inputs"]))
        return {x["name"]: y.numpy() for x, y in zip(about["outputs"], outputs, strict=True)}

    return run, about


def largest_difference(model: BaseAlgorithm, path: Path, env: VecEnv, n_steps: int = 100) -> float:
    """:return: over so many steps of the environments; other choices are infinitely far"""
    run, about = loaded(path)
    names = {x["name"] for x in about["inputs"]}
    obs: Any = env.reset()  # of a Box
    starts = np.ones(env.num_envs, dtype=bool)
    ours = {x["input"]: np.array([x["initial"]] * env.num_envs, np.float32) for x in about["state"]}
    state: Any = None
    largest = 0.0
    for _ in range(n_steps):
        given: Any = env.get_original_obs() if isinstance(env, VecNormalize) else obs
        out = run({"observation": given, **ours, **({"episode_start": starts} if "episode_start" in names else {})})
        action, state = model.predict(obs, state, starts, deterministic=True)
        assert out["action"].shape == action.shape and out["action"].dtype == action.dtype
        largest = max(largest, float(np.abs(out["action"] - action).max()))
        pairs = zip((out[x["output"]] for x in about["state"]), nested.leaves(state), strict=True) if ours else ()
        largest = max([largest, *(float(np.abs(a - b).max()) for a, b in pairs)])
        ours = {x["input"]: out[x["output"]] for x in about["state"]}
        obs, _, starts, _ = env.step(action)
    return largest


def lake() -> Any:
    model = sb3_ext.DoubleQ("TablePolicy", "FrozenLake-v1", seed=0)
    return model.learn(500)


def gru() -> Any:
    kwargs = {"core_class": GRUCore, "n_lstm_layers": 2, "lstm_hidden_size": 16}
    return sb3_ext.RainbowR("MlpLstmPolicy", CARTPOLE, policy_kwargs=kwargs, **OFF)


def shown() -> dict[str, Callable[[], BaseAlgorithm]]:
    made = makers()
    return {
        "R2D2 (LSTM)": made["r2d2"],
        "RainbowR (GRU)": gru,
        "Rainbow (C51)": made["rainbow"],
        "Rainbow (scalar)": lambda: sb3_ext.Rainbow("MlpPolicy", CARTPOLE, head=Scalar(noise=0.5), **OFF, **small()),
        "Rainbow (quantile)": lambda: sb3_ext.Rainbow("MlpPolicy", CARTPOLE, head=Quantile(7), **OFF, **small()),
        "TD3": made["td3"],
        "GAIL": made["gail"],
        "DoubleQ": lake,
        "PPO": lambda: sb3.PPO("MlpPolicy", PENDULUM, batch_size=8, **ON),
        "SAC": made["sac"],
        "DQN": made["dqn"],
    }


QUICK = ("R2D2 (LSTM)", "Rainbow (C51)", "TD3", "GAIL", "DoubleQ")
"""as ONNX"""


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in shown()])
def test_a_graph_does_what_predict_does(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    acts_as_predict(name, tmp_path / "policy.onnx")


@pytest.mark.parametrize("name", shown())
def test_a_program_does_what_predict_does(name: str, tmp_path: Path) -> None:
    acts_as_predict(name, tmp_path / "policy.pt2")


def acts_as_predict(name: str, path: Path) -> None:
    model = shown()[name]()
    env = model.get_env()
    assert env is not None
    written = export_policy(model, path)
    largest, drawn = largest_difference(model, path, env), written.difference
    print(
        f"\n{name} {path.suffix}: largest difference to predict over 100 steps {largest:.2g}; of random observations "
        f"{drawn.largest:.2g} ({drawn.where})"
    )
    assert largest <= 1e-5 and drawn.largest <= 1e-5 and drawn.n_steps == 100


def test_the_suffix_may_be_left_out(tmp_path: Path) -> None:
    written = export_policy(makers()["dqn"](), tmp_path / "policy", "pt2")
    assert written.path == tmp_path / "policy.pt2" and written.path.stat().st_size == written.n_bytes


def test_q_values_are_those_of_the_network(tmp_path: Path) -> None:
    """Of two observations at once, with the mean weights, whatever the noise is now."""
    model = sb3_ext.Rainbow("MlpPolicy", CARTPOLE, **OFF, **small())
    sample_noise(model.q_net)
    model.policy.set_training_mode(True)
    noise = [layer.noise for layer in model.q_net.modules() if hasattr(layer, "noise")]
    run, _ = loaded(export_policy(model, tmp_path / "policy.pt2").path)
    assert model.policy.training and all(x is not None for x in noise)
    assert [layer.noise for layer in model.q_net.modules() if hasattr(layer, "noise")] == noise
    obs = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    q_values = run({"observation": obs})["q_values"]
    model.policy.predict(obs, deterministic=True)  # clears the noise
    with th.no_grad():
        np.testing.assert_allclose(q_values, model.q_net(th.as_tensor(obs)).numpy(), atol=1e-6)


def test_a_state_is_made_new_where_an_episode_begins(tmp_path: Path) -> None:
    model = makers()["r2d2"]()
    run, about = loaded(export_policy(model, tmp_path / "policy.pt2").path)
    assert [x["name"] for x in about["inputs"]] == ["observation", "state_0", "state_1", "episode_start"]
    assert [x["name"] for x in about["outputs"]] == ["action", "q_values", "next_state_0", "next_state_1"]
    space = model.observation_space
    obs = np.stack([space.sample()] * 2)
    kept = np.full((2, *np.shape(about["state"][0]["initial"])), 0.7, np.float32)
    out = run(
        {"observation": obs, "state_0": kept, "state_1": kept, "episode_start": np.array([True, False])},
    )
    _, fresh = model.predict(obs[:1], None, None, deterministic=True)
    _, later = model.predict(obs[:1], (kept[:1], kept[:1]), None, deterministic=True)
    for i in range(2):
        np.testing.assert_allclose(out[f"next_state_{i}"][0], fresh[i][0], atol=1e-6)  # type: ignore[index]
        np.testing.assert_allclose(out[f"next_state_{i}"][1], later[i][0], atol=1e-6)  # type: ignore[index]


def add_to_bias(actor: th.nn.Module, amount: float) -> None:
    *_, bias = (x for name, x in actor.named_parameters() if name.endswith("bias"))
    with th.no_grad():
        bias.add_(amount)


def pendulum(**keywords: Any) -> VecNormalize:
    env = VecNormalize(DummyVecEnv([lambda: gym.make(PENDULUM)] * 2), **keywords)
    env.reset()
    for _ in range(50):
        env.step(np.ones((2, 1), np.float32))
    env.training = False
    return env


def test_statistics_of_observations_are_in_the_file(tmp_path: Path) -> None:
    env = pendulum(clip_obs=1.5)
    model = sb3_ext.TD3("MlpPolicy", env, **OFF, **small())
    add_to_bias(model.actor, 3.0)  # actions near the bound, which is 2
    path = export_policy(model, tmp_path / "policy.pt2").path
    assert largest_difference(model, path, env) <= 1e-5
    obs: Any = env.venv.reset()  # of a Box
    run, _ = loaded(path)
    action = run({"observation": obs})["action"]
    np.testing.assert_allclose(action, model.predict(env.normalize_obs(obs), deterministic=True)[0], atol=1e-5)
    assert (np.abs(action) > 1.5).all() and (np.abs(action) <= 2.0).all()
    assert np.abs(action - model.predict(obs, deterministic=True)[0]).max() > 1e-4, "it would pass without them"


def test_statistics_of_another_environment_are_given(tmp_path: Path) -> None:
    """As after `load`, which brings no environment."""
    model = sb3_ext.TD3("MlpPolicy", PENDULUM, **OFF, **small())
    env = pendulum()
    path = export_policy(model, tmp_path / "policy.pt2", env=env).path
    assert largest_difference(model, path, env, 20) <= 1e-5


class Choosing(Dictionary):
    action_space = spaces.Discrete(3)  # type: ignore[assignment]  # in place of two choices


def test_dictionaries_come_in_as_they_are_given(tmp_path: Path) -> None:
    """Images with their channels last."""
    model = sb3.PPO("MultiInputPolicy", Choosing(), batch_size=8, **ON)
    run, about = loaded(export_policy(model, tmp_path / "policy.pt2").path)
    inputs = {x["name"]: (x["shape"][1:], x["dtype"]) for x in about["inputs"]}
    assert inputs == {"observation.image": ([36, 36, 1], "uint8"), "observation.z": ([2], "float32")}
    given = Choosing().observation_space
    given.seed(0)
    obs = {key: x[None] for key, x in given.sample().items()}
    out = run({f"observation.{key}": x for key, x in obs.items()})
    distribution = model.policy.get_distribution(model.policy.obs_to_tensor(obs)[0]).distribution
    assert isinstance(distribution, th.distributions.Categorical)
    expected = distribution.probs.detach().numpy()
    np.testing.assert_allclose(th.as_tensor(out["logits"]).softmax(dim=1).numpy(), expected, atol=1e-6)
    on_its_side = obs | {"image": obs["image"].swapaxes(1, 2)}
    other = run({f"observation.{key}": x for key, x in on_its_side.items()})
    assert np.abs(other["logits"] - out["logits"]).max() > 1e-6, "it would pass with turned images"


def test_the_best_policy_is_exported_where_it_is_the_one_that_acts(tmp_path: Path) -> None:
    model = sb3_ext.TD3("MlpPolicy", PENDULUM, checkpoint_episodes=1, **OFF, **small())
    add_to_bias(model.best_actor, 1.0)
    env = model.get_env()
    assert env is not None
    assert largest_difference(model, export_policy(model, tmp_path / "policy.pt2").path, env, 10) <= 1e-5


def exported(path: Path) -> Exported:
    return export_policy(makers()["dqn"](), path)


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "policy.pt2"
    path.write_bytes(b"another")

    def worst(self: GreedyGraph, obs: Any, state: Any, episode_start: Any) -> tuple[th.Tensor, ...]:
        values = self.values(obs)
        return values.argmin(dim=1), values

    monkeypatch.setattr(GreedyGraph, "forward", worst)
    with pytest.raises(ValueError, match=r"policy.pt2: the graph differs from predict by inf in action .*nothing was"):
        exported(path)
    assert path.read_bytes() == b"another" and list(tmp_path.iterdir()) == [path]


def test_a_vector_that_is_a_little_off_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = VectorGraph.forward
    monkeypatch.setattr(VectorGraph, "forward", lambda *args: (right(*args)[0] + 3e-5,))
    with pytest.raises(ValueError, match="differs from predict by 3e-05 in action"):
        export_policy(makers()["sac"](), tmp_path / "policy.pt2")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    model = makers()["dqn"]()
    with th.no_grad():
        next(model.policy.parameters()).fill_(np.nan)
    with pytest.raises(ValueError, match="differs from predict by nan"):
        export_policy(model, tmp_path / "policy.pt2")


def test_what_has_no_graph_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="RecurrentActorCriticPolicy has no graph to export"):
        export_policy(makers()["recurrentppo"](), tmp_path / "policy.pt2")
    with pytest.raises(ValueError, match=r"policy.h5: a policy is exported as FILE.onnx or FILE.pt2"):
        exported(tmp_path / "policy.h5")
    with pytest.raises(ValueError, match=r"format 'onnx' of policy.pt2: a policy is exported as"):
        export_policy(makers()["dqn"](), tmp_path / "policy.pt2", "onnx")
    stacked = VecFrameStack(pendulum(), 2)
    with pytest.raises(ValueError, match="VecFrameStack lies around VecNormalize"):
        export_policy(sb3.SAC("MlpPolicy", stacked, **OFF, **small()), tmp_path / "policy.pt2")
    with pytest.raises(ValueError, match=r"gives observations \(3,\), the policy takes \(4,\)"):
        export_policy(makers()["dqn"](), tmp_path / "policy.pt2", env=pendulum())


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    written = exported(tmp_path / "policy.pt2")
    extra = {"sb3_ext.json": ""}
    th.export.load(io.BytesIO(written.path.read_bytes()), extra_files=extra)
    about = json.loads(extra["sb3_ext.json"])
    assert about == written.metadata and about["algorithm"] == "DQN" and about["schema"] == 1
    assert about["inputs"] == [{"name": "observation", "shape": ["batch", 4], "dtype": "float32"}]
    assert {"torch", "stable_baselines3", "sb3_ext"} <= about["versions"].keys()
