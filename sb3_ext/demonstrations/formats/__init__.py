"""Readers and writers of other people's formats. Each imports its package when it is used."""

from sb3_ext.demonstrations.formats.arrays import FinalObservation, from_arrays
from sb3_ext.demonstrations.formats.d3rlpy_files import read_d3rlpy, write_d3rlpy
from sb3_ext.demonstrations.formats.imitation_trajectories import (
    from_trajectories,
    read_imitation,
    to_trajectories,
    write_imitation,
)
from sb3_ext.demonstrations.formats.minari_datasets import read_minari, write_minari
from sb3_ext.demonstrations.formats.sb2 import read_sb2, write_sb2

__all__ = [
    "FinalObservation",
    "from_arrays",
    "from_trajectories",
    "read_d3rlpy",
    "read_imitation",
    "read_minari",
    "read_sb2",
    "to_trajectories",
    "write_d3rlpy",
    "write_imitation",
    "write_minari",
    "write_sb2",
]
