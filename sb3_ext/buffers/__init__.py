"""What is stored and which of it is drawn."""

from sb3_ext.buffers.lanes import Handle, LaneReplayBuffer
from sb3_ext.buffers.prioritized import PrioritizedReplayBuffer, PrioritizedSamples
from sb3_ext.buffers.samplers import (
    Draw,
    GreedySampler,
    ProportionalSampler,
    RankSampler,
    Sampler,
    TreeSampler,
    UniformSampler,
)
from sb3_ext.buffers.sequence import SequenceReplayBuffer, SequenceSamples, WindowHandle
from sb3_ext.buffers.sum_tree import SumTree

__all__ = [
    "Draw",
    "GreedySampler",
    "Handle",
    "LaneReplayBuffer",
    "PrioritizedReplayBuffer",
    "PrioritizedSamples",
    "ProportionalSampler",
    "RankSampler",
    "Sampler",
    "SequenceReplayBuffer",
    "SequenceSamples",
    "SumTree",
    "TreeSampler",
    "UniformSampler",
    "WindowHandle",
]
