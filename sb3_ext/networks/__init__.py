"""Torch modules: recurrent cores, heads, torsos, noisy layers and the Q-networks made of them."""

from sb3_ext.networks.cores import GRUCore, LSTMCore, RecurrentCore, RecurrentState
from sb3_ext.networks.heads import C51Head, QHead, QuantileHead, ScalarHead
from sb3_ext.networks.noisy import NoisyLinear, clear_noise, sample_noise
from sb3_ext.networks.q_network import QNetwork
from sb3_ext.networks.recurrent_q import RecurrentQNetwork
from sb3_ext.networks.torsos import ImpalaResNet

__all__ = [
    "C51Head",
    "GRUCore",
    "ImpalaResNet",
    "LSTMCore",
    "NoisyLinear",
    "QHead",
    "QNetwork",
    "QuantileHead",
    "RecurrentCore",
    "RecurrentQNetwork",
    "RecurrentState",
    "ScalarHead",
    "clear_noise",
    "sample_noise",
]
