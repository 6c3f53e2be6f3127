"""Agents and data as files that cannot run code, and on the Hugging Face Hub, which no other room knows."""

from sb3_ext.exchange.allowed import allow

__all__ = ["allow"]
