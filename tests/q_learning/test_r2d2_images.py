"""R2D2 on pictures."""

from __future__ import annotations

import numpy as np
from support.q_models import make_image_model


def test_the_image_policy_has_the_sizes_of_the_paper() -> None:
    model = make_image_model()
    assert model.policy.lstm_hidden_size == 512
    assert model.policy.net_arch == [512]


def test_pictures_are_stored_once_as_bytes() -> None:
    model = make_image_model(gradient_steps=0, policy_kwargs=dict(lstm_hidden_size=8))
    model.learn(60)
    assert model.replay_buffer is not None
    cells = model.replay_buffer._cells.observations[""]
    assert cells.dtype == np.uint8 and cells.shape == (1000, 1, 36, 36)
