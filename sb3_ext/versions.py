"""Versions of packages: what is installed, and what a file depends on."""

from __future__ import annotations

import platform
from importlib import metadata

import sb3_ext

CORE = ("stable_baselines3", "gymnasium", "numpy", "torch")
"""distributions that no episode and no agent is independent of"""


def version_of(distribution: str) -> str | None:
    """:return: None where it is not installed"""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def package_versions() -> dict[str, str]:
    """:return: of what a file depends on: Python, this package, and the core"""
    versions = {"python": platform.python_version(), "sb3_ext": sb3_ext.__version__}
    return versions | {name: version_of(name) or "unknown" for name in CORE}
