"""What a model does and believes in every state: `predict` state by state, and the heads' values by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import ARS, QRDQN, TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_ext import R2D2, Rainbow, RainbowR, nested
from sb3_ext.networks.heads import C51, Head, Quantile, Scalar
from sb3_ext.networks.iqn import IQN
from sb3_ext.planning import Outcomes, TabularMDP, is_recurrent, policy_table, q_table, value_table
from sb3_ext.planning.model_states import MOST_NUMBERS, MOST_ROWS

LAKE = "FrozenLake-v1"
SMALL: dict[str, Any] = dict(seed=0, device="cpu")
Make = Callable[[], BaseAlgorithm]


def one_step(reward: np.ndarray) -> TabularMDP:
    """:return: states [S] in which each of A actions pays and ends the episode"""
    n_states, n_actions = reward.shape
    rows = np.arange(reward.size)
    ends = np.ones(reward.size, bool)
    outcomes = Outcomes(rows, rows // n_actions, np.ones(reward.size), reward.reshape(-1), ends)
    return TabularMDP(outcomes, n_states, n_actions, np.eye(1, n_states)[0], 0.9)


ACTORS: list[Make] = [
    lambda: PPO("MlpPolicy", LAKE, n_steps=64, **SMALL),
    lambda: A2C("MlpPolicy", LAKE, **SMALL),
    lambda: TRPO("MlpPolicy", LAKE, n_steps=128, **SMALL),
]
STOCK_Q: list[Make] = [
    lambda: DQN("MlpPolicy", LAKE, buffer_size=500, learning_starts=50, **SMALL),
    lambda: QRDQN("MlpPolicy", LAKE, buffer_size=500, learning_starts=50, **SMALL),
]
HEADS: list[Head] = [Scalar(), C51(n_atoms=11), Quantile(n_quantiles=7), IQN(n_acting=5, n_cosines=8)]


def rainbow(head: Head, **kwargs: Any) -> Rainbow:
    defaults: dict[str, Any] = dict(buffer_size=500, learning_starts=20, batch_size=8, **SMALL)
    return Rainbow("MlpPolicy", kwargs.pop("env", LAKE), head=head, **{**defaults, **kwargs})


OURS: list[Make] = [lambda head=head: rainbow(head) for head in HEADS]  # type: ignore[misc]


def values(of: Callable[..., np.ndarray | None], *given: Any) -> np.ndarray:
    """:return: of `q_table` or `value_table`, of a model that has such"""
    found = of(*given)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def lake() -> TabularMDP:
    return TabularMDP.from_env(LAKE, 0.99)


# ------------------------------------------------------------------ what it does


@pytest.mark.parametrize("make", [*ACTORS, *STOCK_Q, *OURS, lambda: ARS("LinearPolicy", LAKE, n_delta=2, **SMALL)])
def test_each_row_is_what_predict_does(make: Make, lake: TabularMDP) -> None:
    model = make()
    expected = np.zeros((16, 4))
    for state in range(16):
        expected[state, model.predict(np.array(state), deterministic=True)[0]] = 1.0
    for asked in (model, model.policy):
        np.testing.assert_array_equal(policy_table(asked, lake), expected)


@pytest.mark.parametrize("make", ACTORS)
def test_probabilities_of_an_actor_are_those_it_evaluates_actions_by(make: Make, lake: TabularMDP) -> None:
    model: Any = make()
    with th.no_grad():
        by_action = [
            model.policy.evaluate_actions(th.arange(16), th.full((16,), a))[1].double().exp().numpy() for a in range(4)
        ]
    found = policy_table(model, lake, deterministic=False)
    np.testing.assert_allclose(found, np.stack(by_action, axis=1), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "name"), [(STOCK_Q[0], "exploration_rate"), (STOCK_Q[1], "exploration_rate"), (OURS[0], "evaluation_eps")]
)
def test_probabilities_of_q_learning_are_epsilon_greedy_as_it_draws_them(
    make: Make, name: str, lake: TabularMDP
) -> None:
    model = make()
    setattr(model, name, 0.4)
    found = policy_table(model, lake, deterministic=False)
    np.testing.assert_allclose(np.sort(found, axis=1), np.tile([0.1, 0.1, 0.1, 0.7], (16, 1)), atol=1e-12)
    model.action_space.seed(0)
    np.random.seed(0)
    n = 2000
    drawn = np.array([int(model.predict(np.array(3), deterministic=False)[0]) for _ in range(n)])
    counts = np.bincount(drawn, minlength=4)
    expected = n * found[3]
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # chi-square with 3 degrees, 1 of 1000
    # The policy alone has no epsilon.
    np.testing.assert_array_equal(policy_table(model.policy, lake, deterministic=False), policy_table(model, lake))


def test_noise_is_averaged_by_no_table(lake: TabularMDP) -> None:
    model = rainbow(C51(n_atoms=11, noise=0.5))
    assert policy_table(model, lake).shape == (16, 4)
    with pytest.raises(ValueError, match=r"Rainbow draws its noisy layers .* deterministic=True"):
        policy_table(model, lake, deterministic=False)
    with pytest.raises(ValueError, match="ARS does not tell its probabilities"):
        policy_table(ARS("LinearPolicy", LAKE, n_delta=2, **SMALL), lake, deterministic=False)


# ------------------------------------------------------------------ what it believes


def test_stock_q_values_are_the_networks(lake: TabularMDP) -> None:
    one_hot = th.eye(16)
    dqn, qrdqn = STOCK_Q[0](), STOCK_Q[1]()
    assert isinstance(dqn, DQN) and isinstance(qrdqn, QRDQN)
    by_hand = dqn.q_net.q_net(one_hot).detach().double().numpy()
    np.testing.assert_allclose(values(q_table, dqn, lake), by_hand, atol=1e-6)
    np.testing.assert_allclose(values(q_table, dqn.policy, lake), by_hand, atol=1e-6)
    quantiles = qrdqn.quantile_net.quantile_net(one_hot).detach().double().numpy().reshape(16, -1, 4)
    np.testing.assert_allclose(values(q_table, qrdqn, lake), quantiles.mean(axis=1), atol=1e-6)


def textbook_inverse(y: np.ndarray, eps: float = 1e-3) -> np.ndarray:
    """R2D2's ``h^-1``, as its paper has it."""
    return np.asarray(np.sign(y) * (((np.sqrt(1 + 4 * eps * (np.abs(y) + 1 + eps)) - 1) / (2 * eps)) ** 2 - 1))


def values_by_hand(model: Rainbow) -> np.ndarray:
    """[S, A] of the logits or quantiles of the head's streams."""
    streams: Any = model.q_net.head_net
    scale = model.return_scale or 1.0
    with th.no_grad():
        if isinstance(model.head, IQN):
            taus = (np.arange(model.head.n_acting) + 0.5) / model.head.n_acting
            cosines = np.cos(np.pi * np.arange(model.head.n_cosines) * taus[:, None])
            embedded = streams.embedding(th.as_tensor(cosines, dtype=th.float32))  # [N, H]
            out = streams.streams(th.eye(16)[:, None] * embedded).double().numpy()  # [S, N, A]
            return np.asarray(textbook_inverse(out).mean(axis=1) / scale)
        out = streams(th.eye(16)).double().numpy()
    if isinstance(model.head, C51):
        mass = np.exp(out - out.max(axis=-1, keepdims=True))
        atoms = np.linspace(model.head.v_min, model.head.v_max, model.head.n_atoms)
        return np.asarray((mass @ textbook_inverse(atoms)) / mass.sum(axis=-1) / scale)
    returns = textbook_inverse(out) / scale
    return np.asarray(returns.mean(axis=-1) if isinstance(model.head, Quantile) else returns)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_t27_values_of_every_head_are_in_units_of_the_reward(head: Head, lake: TabularMDP) -> None:
    model = rainbow(head)
    model.return_scale = 0.05
    found = values(q_table, model, lake)
    assert found.std() > 1e-3
    np.testing.assert_allclose(found, values_by_hand(model), rtol=1e-3, atol=1e-3)
    model.return_scale = 0.5
    np.testing.assert_allclose(values(q_table, model, lake), found / 10, rtol=1e-4)
    with pytest.raises(ValueError, match="RainbowPolicy alone does not know the units"):
        q_table(model.policy, lake)


class Door(gym.Env[Any, Any]):
    """One step: action 1 pays 300, action 0 pays -100."""

    observation_space = spaces.Discrete(1)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return 0, 300.0 if action else -100.0, True, False, {}


def test_t27_what_was_learned_is_what_was_paid() -> None:
    model = rainbow(C51(n_atoms=51), env=Door(), learning_rate=3e-3, batch_size=32, target_update_interval=10)
    model.learn(400)
    reward = np.array([[-100.0, 300.0]])
    np.testing.assert_allclose(values(q_table, model, one_step(reward)), reward, rtol=0.1)


def test_values_of_an_actor_critic(lake: TabularMDP) -> None:
    model = ACTORS[0]()
    assert isinstance(model, PPO)
    with th.no_grad():
        latent = model.policy.mlp_extractor.forward_critic(th.eye(16))
        by_hand = model.policy.value_net(latent).double().numpy().reshape(16)
    np.testing.assert_allclose(values(value_table, model, lake), by_hand, atol=1e-6)
    assert q_table(model, lake) is None
    assert value_table(STOCK_Q[0](), lake) is None


# ------------------------------------------------------------------ what it sees


class Coordinates(gym.ObservationWrapper[Any, Any, Any]):
    """The lake's state as row and column; of Dict kind under their names."""

    def __init__(self, is_dict: bool = False) -> None:
        super().__init__(gym.make(LAKE))
        cell = spaces.Box(0.0, 3.0, (1,), np.float32)
        self.observation_space = (
            spaces.Dict({"row": cell, "column": cell}) if is_dict else spaces.Box(0.0, 3.0, (2,), np.float32)
        )

    def observation(self, observation: int) -> Any:
        states = np.array([observation])
        if isinstance(self.observation_space, spaces.Dict):
            return nested.take(observe_dict(states), 0)
        return observe_box(states)[0]


def observe_box(states: np.ndarray) -> np.ndarray:
    return np.stack([states // 4, states % 4], axis=1).astype(np.float32)


def observe_dict(states: np.ndarray) -> dict[str, np.ndarray]:
    return {"row": observe_box(states)[:, :1], "column": observe_box(states)[:, 1:]}


@pytest.mark.parametrize("is_dict", [False, True])
def test_statistics_of_vec_normalize_are_applied_and_those_of_rewards_undone(is_dict: bool, lake: TabularMDP) -> None:
    env = VecNormalize(DummyVecEnv([lambda: Coordinates(is_dict)]), gamma=0.9)
    policy = "MultiInputPolicy" if is_dict else "MlpPolicy"
    observe: Any = observe_dict if is_dict else observe_box
    dqn = DQN(policy, env, buffer_size=500, learning_starts=10, **SMALL).learn(100)
    actor = PPO(policy, env, n_steps=64, **SMALL)
    env.ret_rms.var = np.float64(0.09)
    before = env.obs_rms
    seen: Any = env.normalize_obs(observe(np.arange(16)))
    tensors: Any = {k: th.as_tensor(x) for k, x in seen.items()} if is_dict else th.as_tensor(seen)
    with th.no_grad():
        q = 0.3 * dqn.q_net(tensors).numpy()
        v = 0.3 * actor.policy.predict_values(tensors).numpy().reshape(-1)
    np.testing.assert_allclose(values(q_table, dqn, lake, observe), q, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(policy_table(dqn, lake, observe), np.eye(4)[q.argmax(axis=1)])
    np.testing.assert_allclose(values(value_table, actor, lake, observe), v, rtol=1e-5, atol=1e-7)
    assert env.obs_rms is before
    env.norm_reward = False
    np.testing.assert_allclose(values(q_table, dqn, lake, observe), q / 0.3, rtol=1e-5, atol=1e-7)


def test_states_that_look_the_same_have_the_same_row(lake: TabularMDP) -> None:
    model = DQN("MlpPolicy", "sb3_ext/MaskedFrozenLake-v0", buffer_size=500, learning_starts=10, **SMALL)
    rows = policy_table(model, lake, lambda states: states // 4, deterministic=False).reshape(4, 4, 4)
    np.testing.assert_array_equal(rows, rows[:, :1].repeat(4, axis=1))
    np.testing.assert_allclose(values(q_table, model, lake, lambda states: states // 4)[::4], by_hand(model), atol=1e-6)
    with pytest.raises(ValueError, match=r"the model has 4 states, the table 16: .* sees a part of the state"):
        policy_table(model, lake)


def by_hand(model: DQN) -> np.ndarray:
    """:return: [S, A]"""
    return np.asarray(model.q_net.q_net(th.eye(4)).detach().double().numpy())


def test_t28_numbers_may_come_as_a_column(lake: TabularMDP) -> None:
    model = STOCK_Q[0]()
    for observe in (lambda states: states[:, None], lambda states: states.astype(np.int32)):
        np.testing.assert_array_equal(values(q_table, model, lake, observe), values(q_table, model, lake))


def test_a_table_is_asked_for_in_parts() -> None:
    """However many states there are, the networks see so many at once."""
    n = 5000
    model = PPO("MlpPolicy", Line(n), n_steps=64, **SMALL)
    asked: list[int] = []

    def observe(states: np.ndarray) -> np.ndarray:
        asked.append(len(states))
        return states

    found = values(value_table, model, one_step(np.zeros((n, 2))), observe)
    assert found.shape == (n,)
    assert sum(asked) == n and max(asked) == min(MOST_ROWS, MOST_NUMBERS // n)
    state = 4999
    assert found[state] == pytest.approx(model.policy.predict_values(th.tensor([state])).item(), abs=1e-6)


class Line(gym.Env[Any, Any]):
    """So many states, which are left to the next one."""

    action_space = spaces.Discrete(2)

    def __init__(self, n: int) -> None:
        self.observation_space = spaces.Discrete(n)


# ------------------------------------------------------------------ the model stays as it was


class AskTables(BaseCallback):
    def __init__(self, mdp: TabularMDP) -> None:
        super().__init__()
        self.mdp, self.n = mdp, 0

    def _on_step(self) -> bool:
        if self.n_calls % 7 == 0:
            modes = [module.training for module in self.model.policy.modules()]
            drawn, numbers = th.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]
            policy_table(self.model, self.mdp)
            q_table(self.model, self.mdp)
            value_table(self.model, self.mdp)
            if not isinstance(self.model, Rainbow):
                policy_table(self.model, self.mdp, deterministic=False)
            assert [module.training for module in self.model.policy.modules()] == modes
            assert th.equal(drawn, th.get_rng_state())
            np.testing.assert_array_equal(numbers, np.random.get_state(legacy=False)["state"]["key"])
            self.n += 1
        return True


@pytest.mark.parametrize(
    "make",
    [ACTORS[0], *STOCK_Q, lambda: rainbow(C51(n_atoms=11, noise=0.5)), lambda: rainbow(IQN(n_acting=5, n_cosines=8))],
)
def test_to_be_asked_changes_nothing_that_is_learned(make: Make, lake: TabularMDP) -> None:
    alone, asked = make().learn(128), make()
    callback = AskTables(lake)
    asked.learn(128, callback)
    assert callback.n > 10
    for name, x in alone.policy.state_dict().items():
        assert th.equal(x, asked.policy.state_dict()[name]), name


class Forgetful(BaseFeaturesExtractor):
    """A torso whose modes differ."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space, 8)
        self.layers = th.nn.Sequential(th.nn.Linear(16, 8), th.nn.BatchNorm1d(8), th.nn.Dropout(0.5))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        features: th.Tensor = self.layers(observations)
        return features


def test_a_model_in_training_is_asked_in_evaluation_mode_and_trains_on(lake: TabularMDP) -> None:
    torso = dict(features_extractor_class=Forgetful)
    for model in (
        DQN("MlpPolicy", LAKE, buffer_size=500, policy_kwargs=torso, **SMALL),
        rainbow(IQN(n_acting=5, n_cosines=8, noise=0.5), policy_kwargs=torso),
    ):
        model.policy.set_training_mode(False)
        expected = values(q_table, model, lake), policy_table(model, lake)
        if isinstance(model, Rainbow):
            model.policy.act(th.arange(16))  # leaves noise in the layers
        model.policy.set_training_mode(True)
        modes = [module.training for module in model.policy.modules()]
        assert any(modes)
        np.testing.assert_array_equal(values(q_table, model, lake), expected[0])
        np.testing.assert_array_equal(policy_table(model, lake), expected[1])
        assert [module.training for module in model.policy.modules()] == modes


# ------------------------------------------------------------------ what has no table


@pytest.mark.parametrize(
    "make",
    [
        lambda: RecurrentPPO("MlpLstmPolicy", LAKE, n_steps=128, **SMALL),
        lambda: R2D2("MlpLstmPolicy", LAKE, buffer_size=2000, **SMALL),
        lambda: RainbowR("MlpLstmPolicy", LAKE, buffer_size=2000, **SMALL),
    ],
)
def test_t26_a_recurrent_model_has_no_table(make: Make, lake: TabularMDP) -> None:
    model = make()
    assert is_recurrent(model) and is_recurrent(model.policy)
    with pytest.raises(ValueError, match=f"{type(model).__name__} is recurrent"):
        policy_table(model, lake)
    for ask in (q_table, value_table):
        if (isinstance(model, RecurrentPPO)) is (ask is value_table):
            with pytest.raises(ValueError, match="is recurrent"):
                ask(model, lake)
    assert not is_recurrent(STOCK_Q[0]())


def test_models_of_other_environments(lake: TabularMDP) -> None:
    model = STOCK_Q[0]()
    with pytest.raises(ValueError, match="the model has 16 states, the table 12"):
        policy_table(model, one_step(np.zeros((12, 4))))
    with pytest.raises(ValueError, match="the model has 4 actions, the table 6"):
        q_table(model, TabularMDP.from_env("Taxi-v4", 0.9))
    with pytest.raises(ValueError, match=r"observes Box.*, not the number of a state: give observe"):
        policy_table(PPO("MlpPolicy", Coordinates(), n_steps=64, **SMALL), lake)
    with pytest.raises(ValueError, match=r"the model acts in Box.*: a table needs Discrete actions"):
        policy_table(SAC("MlpPolicy", "Pendulum-v1", buffer_size=10, **SMALL), lake)
    with pytest.raises(ValueError, match="MaskablePPO acts by action masks"):
        policy_table(MaskablePPO("MlpPolicy", LAKE, n_steps=64, **SMALL), lake)


def test_observations_that_the_model_does_not_know(lake: TabularMDP) -> None:
    model = STOCK_Q[0]()
    with pytest.raises(ValueError, match=r"observe gave 16 for state 15: the model observes Discrete\(16\)"):
        q_table(model, lake, lambda states: states + 1)
    with pytest.raises(ValueError, match="observe gave 15 observations for 16 states"):
        q_table(model, lake, lambda states: states[:-1])
    boxes = PPO("MlpPolicy", Coordinates(), n_steps=64, **SMALL)
    with pytest.raises(ValueError, match=r"observe gave shape \(16, 4\) for 16 states: the model observes Box"):
        policy_table(boxes, lake, lambda states: np.zeros((len(states), 4), np.float32))
