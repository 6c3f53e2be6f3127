"""
Formats that demonstrations are read from and written to. A format is one class and its row in `FORMATS`, from which
`load`, `save`, the commands and the documentation take it; a user's own is added by ``FORMATS["mine"] = Mine``.
"""

from __future__ import annotations

from sb3_ext.demonstrations.formats.base import Format as Format
from sb3_ext.demonstrations.formats.base import Option as Option
from sb3_ext.demonstrations.formats.base import Task as Task
from sb3_ext.demonstrations.formats.d3rlpy_files import D3rlpy as D3rlpy
from sb3_ext.demonstrations.formats.imitation_folders import Imitation as Imitation
from sb3_ext.demonstrations.formats.minari_datasets import Minari as Minari
from sb3_ext.demonstrations.formats.npz import Npz as Npz
from sb3_ext.demonstrations.formats.sb2 import SB2 as SB2

FORMATS: dict[str, type[Format]] = {kind.name: kind for kind in (Npz, Minari, Imitation, SB2, D3rlpy)}
"""short name -> class"""
