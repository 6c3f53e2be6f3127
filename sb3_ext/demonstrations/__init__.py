"""Expert episodes: the type, and everything that makes, reads, writes and checks them."""

from sb3_ext.demonstrations.check import check
from sb3_ext.demonstrations.compare import compare_spaces
from sb3_ext.demonstrations.consistency import inconsistency
from sb3_ext.demonstrations.data import Demonstrations, Episode, Observations, Transitions
from sb3_ext.demonstrations.files import load, save
from sb3_ext.demonstrations.findings import Finding
from sb3_ext.demonstrations.formats.arrays import from_arrays
from sb3_ext.demonstrations.formats.trajectories import from_trajectories, to_trajectories
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
    "record",
    "save",
    "to_trajectories",
]
