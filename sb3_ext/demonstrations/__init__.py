"""Expert episodes: the type, and everything that makes, reads, writes and checks them."""

from sb3_ext.demonstrations.check import Finding, check, compare_spaces, inconsistency
from sb3_ext.demonstrations.data import Demonstrations, Episode, Observations, Transitions
from sb3_ext.demonstrations.files import load, save
from sb3_ext.demonstrations.formats import (
    from_arrays,
    from_trajectories,
    read_d3rlpy,
    read_imitation,
    read_minari,
    read_sb2,
    to_trajectories,
    write_d3rlpy,
    write_imitation,
    write_minari,
    write_sb2,
)
from sb3_ext.demonstrations.info import info, plot
from sb3_ext.demonstrations.play import play
from sb3_ext.demonstrations.record import record

__all__ = [
    "Demonstrations",
    "Episode",
    "Finding",
    "Observations",
    "Transitions",
    "check",
    "compare_spaces",
    "from_arrays",
    "from_trajectories",
    "inconsistency",
    "info",
    "load",
    "play",
    "plot",
    "read_d3rlpy",
    "read_imitation",
    "read_minari",
    "read_sb2",
    "record",
    "save",
    "to_trajectories",
    "write_d3rlpy",
    "write_imitation",
    "write_minari",
    "write_sb2",
]
