"""What is sent of a network."""

from __future__ import annotations

import numpy as np
import torch as th
from torch import nn

from sb3_ext.distributed.weights import Packer


class Counts(nn.Module):
    """A layer and a statistic of which each step makes a new tensor."""

    mean: th.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.register_buffer("mean", th.zeros(2))

    def step(self) -> None:
        self.mean = self.mean + 1.0
        self.layer = self.layer.double().float()  # as `to` does


def test_tensors_that_others_took_the_place_of_are_sent() -> None:
    module = Counts()
    packer = Packer(module)
    for version in (1, 2):
        module.step()
        with th.no_grad():
            module.layer.weight += 1.0
        [vector] = packer.pack(None, version, 0).vectors
        np.testing.assert_array_equal(vector, th.cat([x.reshape(-1) for x in module.state_dict().values()]).numpy())
