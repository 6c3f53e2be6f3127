"""Manifests of runs that nobody made."""

from __future__ import annotations

from typing import Any

from sb3_ext.zoo.runs.manifests import Manifest


def manifest(**changes: Any) -> Manifest:
    """Of a run that is under way, but for what is given."""
    usual: dict[str, Any] = {
        "id": "0" * 32,
        "algorithm": "ppo",
        "env_id": "CartPole-v1",
        "seed": 0,
        "n_timesteps": 1000,
        "num_timesteps": 100,
        "parent": None,
        "parent_folder": None,
        "parent_steps": 0,
        "ended": "running",
        "trouble": None,
        "command": "sb3-ext train --algo ppo --env CartPole-v1",
        "versions": {"python": "3.11"},
        "commit": None,
        "began": "2026-01-01T00:00:00+00:00",
        "ended_at": None,
        "cpu_seconds": 1.5,
        "tensorboard": None,
        "actors": None,
    }
    return Manifest(**{**usual, **changes})
