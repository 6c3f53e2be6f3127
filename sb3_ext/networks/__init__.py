"""Torch modules: recurrent cores, heads, torsos, noisy layers and the Q-networks made of them."""

from sb3_ext.networks.cores import GRUCore, LSTMCore, RecurrentCore, RecurrentState
from sb3_ext.networks.heads import C51, Head, Quantile, Scalar
from sb3_ext.networks.iqn import IQN
from sb3_ext.networks.noisy import NoisyLinear, clear_noise, sample_noise
from sb3_ext.networks.q_network import QNetwork
from sb3_ext.networks.recurrent_q import RecurrentQNetwork
from sb3_ext.networks.torsos import ImpalaResNet

__all__ = [
    "C51",
    "IQN",
    "GRUCore",
    "Head",
    "ImpalaResNet",
    "LSTMCore",
    "NoisyLinear",
    "QNetwork",
    "Quantile",
    "RecurrentCore",
    "RecurrentQNetwork",
    "RecurrentState",
    "Scalar",
    "clear_noise",
    "sample_noise",
]
