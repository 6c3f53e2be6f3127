"""Pictures for a page: WebP in base64, as fine as a budget allows."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

# Tried in turn until the pictures fit: a divisor of the sides, and a quality; None = every pixel as it was. That is the
# smallest too for pictures that were drawn and not photographed: 0.5 kB for a frame of CartPole, 0.2 to 0.6 for Atari.
ENCODINGS: tuple[tuple[int, int | None], ...] = ((1, None), (1, 85), (1, 70), (1, 50), (2, 70), (2, 40), (4, 40))


def pictures(images: np.ndarray, budget: int) -> dict[str, Any]:
    """
    :param images: [N, rows, columns] or [N, rows, columns, 3] uint8
    :param budget: characters of base64 for all of them, exceeded only where the coarsest encoding does
    :return: size in pixels, and each as a WebP in base64
    """
    encoded: list[str] = []
    # Every tenth of them tells whether all would fit.
    sample = images[:: max(len(images) // 10, 1)]
    for divisor, quality in ENCODINGS:
        is_last = (divisor, quality) == ENCODINGS[-1]
        per_picture = sum(len(_webp(picture, divisor, quality)) for picture in sample) / len(sample)
        if per_picture * len(images) > budget and not is_last:
            continue
        encoded = [_webp(picture, divisor, quality) for picture in images]
        if sum(map(len, encoded)) <= budget:
            break
    return {"height": images.shape[1], "width": images.shape[2], "images": encoded}


def _webp(picture: np.ndarray, divisor: int, quality: int | None) -> str:
    image = Image.fromarray(picture)
    if divisor > 1:
        image = image.resize((max(image.width // divisor, 1), max(image.height // divisor, 1)), Image.Resampling.BOX)
    file = io.BytesIO()
    if quality is None:
        image.save(file, "WEBP", lossless=True, quality=20, method=1)  # more effort gains nothing here
    else:
        image.save(file, "WEBP", quality=quality, method=2)
    return base64.b64encode(file.getvalue()).decode()
