"""Torch modules: recurrent cores, heads, torsos, noisy layers and the recurrent Q-network."""

from sb3_ext.networks.cores import GRUCore, LSTMCore, RecurrentCore, RecurrentState
from sb3_ext.networks.heads import DuelingHead, QHead, ScalarHead
from sb3_ext.networks.noisy import NoisyLinear, clear_noise, sample_noise
from sb3_ext.networks.recurrent_q import RecurrentQNetwork
from sb3_ext.networks.torsos import ImpalaResNet

__all__ = [
    "DuelingHead",
    "GRUCore",
    "ImpalaResNet",
    "LSTMCore",
    "NoisyLinear",
    "QHead",
    "RecurrentCore",
    "RecurrentQNetwork",
    "RecurrentState",
    "ScalarHead",
    "clear_noise",
    "sample_noise",
]
