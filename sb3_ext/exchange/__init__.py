"""
Agents and data as files that cannot run code, and on the Hugging Face Hub, which no other room knows.

Importing it is quick: torch comes with `allow`, and who lists runs or blanks passwords needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_ext.exchange.allowed import allow

__all__ = ["allow"]


def __getattr__(name: str) -> Any:  # Any: what a module attribute may be
    if name != "allow":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sb3_ext.exchange.allowed import allow

    return allow
