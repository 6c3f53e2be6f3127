"""What is stored and which of it is drawn."""

from sb3_ext.buffers.columns import Column
from sb3_ext.buffers.lanes import LaneReplayBuffer
from sb3_ext.buffers.prioritized import PrioritizedReplayBuffer, PrioritizedSamples
from sb3_ext.buffers.replay import Handle, Replay, as_replay
from sb3_ext.buffers.samplers import (
    SAMPLERS,
    Draw,
    GreedyPriority,
    Proportional,
    RankBased,
    Sampler,
    TreeSampler,
    Uniform,
)
from sb3_ext.buffers.sequence import SequenceReplayBuffer, SequenceSamples, WindowHandle
from sb3_ext.buffers.sum_tree import SumTree

__all__ = [
    "SAMPLERS",
    "Column",
    "Draw",
    "GreedyPriority",
    "Handle",
    "LaneReplayBuffer",
    "PrioritizedReplayBuffer",
    "PrioritizedSamples",
    "Proportional",
    "RankBased",
    "Replay",
    "Sampler",
    "SequenceReplayBuffer",
    "SequenceSamples",
    "SumTree",
    "TreeSampler",
    "Uniform",
    "WindowHandle",
    "as_replay",
]
