"""Weights of another architecture are refused by name."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm


class WrongWeightsError(ValueError, RuntimeError):
    """Weights of another architecture. SB3's `load` takes a ValueError alone for an old file."""


class NamedWeightsMixin(BaseAlgorithm):
    """Goes before an algorithm among the bases of a class."""

    def set_parameters(
        self,
        load_path_or_dict: str | pathlib.Path | io.BufferedIOBase | dict[str, Any],
        exact_match: bool = True,
        device: th.device | str = "auto",
    ) -> None:
        """
        Parameters as in SB3.

        :raises WrongWeightsError: for weights of another architecture
        """
        try:
            super().set_parameters(load_path_or_dict, exact_match, device)  # type: ignore[arg-type]
        except (ValueError, KeyError, RuntimeError) as error:
            if isinstance(error, th.cuda.OutOfMemoryError):
                raise
            lines = [line.strip() for line in str(error).splitlines()]
            # PyTorch's first line names the class, the second what does not fit.
            raise WrongWeightsError(
                f"these weights are not of this {type(self).__name__}: {lines[min(1, len(lines) - 1)]} "
                "Give the policy and policy_kwargs that they were saved with"
            ) from error
