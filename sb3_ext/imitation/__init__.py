"""Imitation: adversarial (GAIL, DAC, the same as a callback for others), asked for (DAgger), exact, on tables."""

from sb3_ext.imitation.behaviour_cloning import behaviour_cloning
from sb3_ext.imitation.callback import AdversarialCallback
from sb3_ext.imitation.dac import DAC, DACSAC
from sb3_ext.imitation.dagger import DAgger
from sb3_ext.imitation.gail import GAIL
from sb3_ext.imitation.labels import Normalized
from sb3_ext.imitation.learned_reward import LearnedReward
from sb3_ext.imitation.max_ent_irl import max_ent_irl
from sb3_ext.imitation.max_ent_reward import MaxEntReward
from sb3_ext.imitation.reward_table import RewardTable
from sb3_ext.imitation.settings import RewardSettings

__all__ = [
    "DAC",
    "DACSAC",
    "GAIL",
    "AdversarialCallback",
    "DAgger",
    "LearnedReward",
    "MaxEntReward",
    "Normalized",
    "RewardSettings",
    "RewardTable",
    "behaviour_cloning",
    "max_ent_irl",
]
