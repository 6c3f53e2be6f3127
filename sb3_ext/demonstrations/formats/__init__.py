"""
Formats that demonstrations are read from and written to. A format is one class and its row in `FORMATS`, from which
`load`, `save`, the commands and the documentation take it; a user's own is added by ``FORMATS["mine"] = Mine``.
"""

from __future__ import annotations

from sb3_ext.demonstrations.formats.arrays import FinalObservation, from_arrays
from sb3_ext.demonstrations.formats.base import Format, Option, Path, Task, is_path
from sb3_ext.demonstrations.formats.d3rlpy_files import D3rlpy
from sb3_ext.demonstrations.formats.imitation_folders import Imitation
from sb3_ext.demonstrations.formats.minari_datasets import Minari
from sb3_ext.demonstrations.formats.npz import Npz
from sb3_ext.demonstrations.formats.sb2 import SB2
from sb3_ext.demonstrations.formats.trajectories import from_trajectories, to_trajectories

FORMATS: dict[str, type[Format]] = {
    "npz": Npz,
    "minari": Minari,
    "imitation": Imitation,
    "sb2": SB2,
    "d3rlpy": D3rlpy,
}
"""short name -> class"""

__all__ = [
    "FORMATS",
    "SB2",
    "D3rlpy",
    "FinalObservation",
    "Format",
    "Imitation",
    "Minari",
    "Npz",
    "Option",
    "Path",
    "Task",
    "from_arrays",
    "from_trajectories",
    "is_path",
    "to_trajectories",
]
