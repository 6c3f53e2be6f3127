"""TD3: twin delayed deep deterministic policy gradient (Fujimoto et al., 2018) as an SB3 algorithm."""

from sb3_ext.td3.noise import Laddered, Scheduled
from sb3_ext.td3.policies import LayerNormPolicy, SimbaPolicy
from sb3_ext.td3.td3 import TD3

__all__ = ["TD3", "Laddered", "LayerNormPolicy", "Scheduled", "SimbaPolicy"]
