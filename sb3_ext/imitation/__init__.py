"""Adversarial imitation: GAIL, DAC, the same as a callback for other algorithms, and what they are made of."""

from sb3_ext.imitation.behaviour_cloning import behaviour_cloning
from sb3_ext.imitation.callback import AdversarialCallback
from sb3_ext.imitation.dac import DAC, DACSAC
from sb3_ext.imitation.gail import GAIL
from sb3_ext.imitation.learned_reward import LearnedReward
from sb3_ext.imitation.settings import RewardSettings

__all__ = ["DAC", "DACSAC", "GAIL", "AdversarialCallback", "LearnedReward", "RewardSettings", "behaviour_cloning"]
