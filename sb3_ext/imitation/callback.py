"""The learned reward for any on-policy algorithm: TRPO, RecurrentPPO, A2C and PPO can be generators."""

from __future__ import annotations

from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy

from sb3_ext.imitation.doors import check_starts
from sb3_ext.imitation.expert import Source, check_source, check_spaces, read_expert
from sb3_ext.imitation.reward import AdversarialReward
from sb3_ext.imitation.rollouts import RolloutRecorder, learn_reward
from sb3_ext.imitation.settings import RewardSettings

DEFAULTS = RewardSettings()


class AdversarialCallback(RolloutRecorder):
    """
    Replaces the rewards of each rollout before the algorithm trains on it: `GAIL` with another generator.

        TRPO("MlpPolicy", env).learn(100_000, callback=AdversarialCallback(demonstrations))

    Put it first where there are several callbacks. It keeps the discriminator over several calls of `learn`, and is
    not saved with the model; `GAIL`'s is.

    :param demonstrations: expert episodes or where they are, see `Source`; read by the first `learn`
    :param settings: how the reward is learned
    :param env_reward_coef: weight of the environment's own reward, added to the learned one
    :param seed: of the discriminator and its batches, None = drawn
    """

    def __init__(
        self,
        demonstrations: Source,
        settings: RewardSettings = DEFAULTS,
        env_reward_coef: float = 0.0,
        seed: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        check_source(demonstrations)
        self.demonstrations: Source = demonstrations
        self.settings = settings
        self.env_reward_coef = env_reward_coef
        self.seed = seed
        self.adversary: AdversarialReward | None = None

    def _init_callback(self) -> None:
        """
        :raises ValueError: for an algorithm without rollouts, demonstrations of another task, discrete values that do
            not begin at 0, or AIRL's shaped discriminator with a policy that does not give the log-probability of the
            expert's single steps
        """
        model: BaseAlgorithm = self.model  # whatever the user called `learn` of
        if not isinstance(model, OnPolicyAlgorithm):
            name = type(model).__name__
            raise ValueError(f"AdversarialCallback relabels rollouts, which {name} has not; DAC is for a replay")
        if self.settings.shaped and hasattr(model.policy, "lstm_actor"):
            raise ValueError("shaped=True needs log-probabilities of single steps, which a recurrent policy has not")
        policy: BasePolicy = model.policy  # MaskablePPO's is none of SB3's actor-critics, whatever the types say
        if self.settings.shaped and isinstance(policy, MaskableActorCriticPolicy):
            raise ValueError("shaped=True needs the masks of the expert's steps, which demonstrations do not hold")
        check_starts(model.observation_space, model.action_space)
        self.demonstrations = read_expert(self.demonstrations, model.observation_space, model.action_space)
        check_spaces(self.demonstrations, model.observation_space, model.action_space)
        if self.adversary is None:
            self.adversary = AdversarialReward(
                model.observation_space, model.action_space, model.gamma, model.device, self.seed, self.settings
            )
            self.adversary.set_demonstrations(self.demonstrations, seed=self.seed or 0)

    def _on_rollout_end(self) -> None:
        super()._on_rollout_end()
        assert self.adversary is not None
        learn_reward(self.model, self, self.adversary, self.env_reward_coef)
