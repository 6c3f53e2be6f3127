"""Frames to MP4 and GIF. The encoder comes with imageio-ffmpeg: no program of the system's is needed."""

from __future__ import annotations

import io
import os
import pathlib
import subprocess
import tempfile

import imageio_ffmpeg
import numpy as np
from PIL import Image

from sb3_ext.saving import write_whole

SUFFIXES = (".mp4", ".gif")
WITHOUT_A_DISPLAY = "MuJoCo needs MUJOCO_GL=egl and pygame SDL_VIDEODRIVER=dummy"
DARKEST = 0.5  # mean grey level of 0..255 over a video; PendulumPixels, nearly all black, has 13


def write_video(frames: np.ndarray, path: str | os.PathLike[str], fps: float) -> pathlib.Path:
    """
    :param frames: [T, height, width, 3] uint8. MP4 has even sides: an odd one loses its last row or column
    :param path: ending in ``.mp4`` (H.264, plays everywhere) or ``.gif``; appears whole or not at all
    :param fps: frames per second. GIF counts in hundredths of a second, and 50 is its highest rate
    :return: the path
    :raises ValueError: for another ending, another shape, ``fps`` <= 0, and for black frames, which a renderer gives
        that does not work
    """
    path = pathlib.Path(path)
    check_suffix(path)
    check_frames(frames)
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps {fps} must be > 0")
    content = _mp4(frames, fps) if path.suffix.lower() == ".mp4" else _gif(frames, fps)
    write_whole(path, path.suffix[1:], lambda file: _write(file, content))
    return path


def check_suffix(path: pathlib.Path) -> None:
    """:raises ValueError: where `write_video` would not know the format"""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: a video ends in {' or '.join(SUFFIXES)}")


def check_frames(frames: np.ndarray) -> None:
    """
    :param frames: [T, height, width, 3] uint8
    :raises ValueError: for another shape or dtype, and for black frames
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or frames.size == 0:
        raise ValueError(
            f"frames have shape {frames.shape} of {frames.dtype}, not (T, height, width, 3) of uint8; was the episode "
            "filmed?"
        )
    brightness = float(frames.mean())
    if brightness < DARKEST:
        raise ValueError(
            f"{len(frames)} frames are black (mean {brightness:.2f} of 255): the renderer does not work here. "
            f"Without a display, {WITHOUT_A_DISPLAY}"
        )


def _mp4(frames: np.ndarray, fps: float) -> bytes:
    _, height, width, _ = frames.shape
    height, width = max(height // 2 * 2, 2), max(width // 2 * 2, 2)  # the format halves the resolution of colours
    if min(frames.shape[1:3]) < 2:
        raise ValueError(f"frames of {frames.shape[1]} x {frames.shape[2]} pixels are too small for MP4")
    even = np.ascontiguousarray(frames[:, :height, :width])
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "video.mp4"
        source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps}", "-i", "-")
        # yuv420p is what browsers play; faststart lets them begin before the file is complete.
        target = ("-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path))
        # Not imageio-ffmpeg's own writer, which leaves its pipes open.
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *source, *target]
        result = subprocess.run(command, input=even.data, capture_output=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"the video encoder failed: {result.stderr.decode(errors='replace').strip()}")
        return path.read_bytes()


def _gif(frames: np.ndarray, fps: float) -> bytes:
    # One palette for all: of their own, the colours of a resting background flicker.
    sample = frames[:: max(len(frames) // 16, 1)]
    palette = Image.fromarray(np.concatenate(list(sample))).quantize(256)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    duration = max(round(100 / fps), 2) * 10  # ms; browsers slow down what is faster
    images[0].save(buffer, "gif", save_all=True, append_images=images[1:], duration=duration, loop=0, optimize=False)
    return buffer.getvalue()


def _write(file: io.BufferedIOBase, content: bytes) -> None:
    file.write(content)
