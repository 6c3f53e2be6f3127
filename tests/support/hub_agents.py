"""Agents pushed to the Hub's stand-in and loaded from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from support.hub_server import TOKEN, Hub

from sb3_ext.exchange.hub import load_from_hub, push_to_hub

REPO = "me/agent"


def push(model: BaseAlgorithm, hub: Hub, **keywords: Any) -> str:
    return push_to_hub(model, REPO, "Some-v0", endpoint=hub.endpoint, **{"token": TOKEN, **keywords})


def load(hub: Hub, cache: Path, **keywords: Any) -> BaseAlgorithm:
    given = {"token": TOKEN, "device": "cpu", "endpoint": hub.endpoint, "cache_dir": cache, **keywords}
    return load_from_hub(keywords.pop("repo_id", REPO), **{k: v for k, v in given.items() if k != "repo_id"})


def files_of(hub: Hub) -> dict[str, bytes]:
    return hub.repositories[REPO].commits[-1][1]
