"""DDPG: deep deterministic policy gradient (Lillicrap et al., 2016) as an SB3 algorithm."""

from sb3_ext.ddpg.ddpg import DDPG

__all__ = ["DDPG"]
