"""Adversarial imitation: GAIL, DAC, the same as a callback for other algorithms, and what they are made of."""

from sb3_ext.gail.behaviour_cloning import behaviour_cloning
from sb3_ext.gail.callback import AdversarialCallback
from sb3_ext.gail.dac import DAC, DACSAC
from sb3_ext.gail.gail import GAIL
from sb3_ext.gail.learned_reward import LearnedReward
from sb3_ext.gail.reward import RewardSettings

__all__ = ["DAC", "DACSAC", "GAIL", "AdversarialCallback", "LearnedReward", "RewardSettings", "behaviour_cloning"]
