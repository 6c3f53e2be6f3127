"""The heads that have a short name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from sb3_ext.networks.heads import C51, Head, Quantile, Scalar
from sb3_ext.networks.iqn import IQN

HEADS: dict[str, type[Head]] = {"scalar": Scalar, "c51": C51, "quantile": Quantile, "iqn": IQN}
"""Short names, as in ``head="c51"`` and ``head={"c51": {"noise": 0.5}}``"""
HeadLike: TypeAlias = Head | str | Mapping[str, Mapping[str, Any] | None]  # Any: of a yml
