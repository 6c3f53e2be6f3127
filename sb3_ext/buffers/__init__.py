"""What is stored and which of it is drawn."""

from sb3_ext.buffers.acting_values import ActedItems
from sb3_ext.buffers.blocks import LaneBlock
from sb3_ext.buffers.columns import Column
from sb3_ext.buffers.lanes import LaneReplayBuffer
from sb3_ext.buffers.prioritized import PrioritizedReplayBuffer, PrioritizedSamples
from sb3_ext.buffers.recorder import BlockRecorder
from sb3_ext.buffers.replay import Handle, Replay, as_replay
from sb3_ext.buffers.samplers import SAMPLERS, GreedyPriority, Proportional, RankBased, TreeSampler, Uniform
from sb3_ext.buffers.sampling import Draw, Sampler
from sb3_ext.buffers.sequence import SequenceReplayBuffer
from sb3_ext.buffers.sum_tree import SumTree
from sb3_ext.buffers.windows import SequenceSamples, WindowHandle

__all__ = [
    "SAMPLERS",
    "ActedItems",
    "BlockRecorder",
    "Column",
    "Draw",
    "GreedyPriority",
    "Handle",
    "LaneBlock",
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
