"""R2D2: recurrent replay distributed DQN (Kapturowski et al., 2019) as an SB3 algorithm."""

from sb3_ext.r2d2.policies import CnnLstmPolicy, MlpLstmPolicy, MultiInputLstmPolicy, R2D2Policy
from sb3_ext.r2d2.r2d2 import R2D2

__all__ = ["R2D2", "CnnLstmPolicy", "MlpLstmPolicy", "MultiInputLstmPolicy", "R2D2Policy"]
