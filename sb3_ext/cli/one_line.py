"""
What an error says to the user, in one line: a missing extra by its name, wrong input by its message, whoever raised it.
Errors that nobody wrote for the user have no such line.
"""

from __future__ import annotations

import dis
import os
import traceback
from types import TracebackType

from sb3_ext.errors import CannotSetUp, UserError

# Top-level module -> the extra that brings it.
EXTRAS = {
    "huggingface_hub": "zoo",
    "huggingface_sb3": "zoo",
    "captum": "viz",
    "imageio_ffmpeg": "viz",
    "matplotlib": "zoo",
    "moviepy": "zoo",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "optuna": "zoo",
    "pandas": "zoo",
    "PIL": "viz",
    "pygame": "zoo",
    "pytablewriter": "zoo",
    "requests": "zoo",
    "rliable": "viz",
    "rich": "zoo",
    "rl_zoo3": "zoo",
    "safetensors": "zoo",
    "scipy": "lab",
    "seaborn": "zoo",
    "tensorboard": "zoo",
    "tqdm": "zoo",
    "yaml": "zoo",
    "ale_py": "atari",
    "cv2": "atari",
    "Box2D": "box2d",
    "mujoco": "mujoco",
    "minari": "demos",
    "ray": "ray",
}

# Packages whose `raise` and `assert` messages address the user.
SPEAKING_PACKAGES = {"sb3_ext", "rl_zoo3", "stable_baselines3", "sb3_contrib", "gymnasium", "yaml"}


def one_line(error: Exception) -> str | None:
    """:return: what to print of an error that the user can mend, after the name of the command; None for any other"""
    text = " ".join(str(error).split())
    if isinstance(error, CannotSetUp) and isinstance(error.__cause__, Exception):
        return one_line(error.__cause__) or f": {text}"
    extra = _missing_extra(error, text)
    if extra is not None:
        return f' needs the {extra} extra: pip install "sb3-ext[{extra}]"'
    if "OpenGL" in _packages_of(error):
        chosen = os.environ.get("MUJOCO_GL", "not set")
        return f": MuJoCo finds no OpenGL library, MUJOCO_GL is {chosen} ({text}). Without a display set MUJOCO_GL=egl"
    if isinstance(error, UserError):
        return f": {text}"
    if _in_expression(error):
        return f""": {text}. Values of -params and --env-kwargs are Python: -params "state_init:'zero'\""""
    if isinstance(error, OSError) and error.filename is not None:
        return f": {_about_a_file(error)}"
    if text and _is_message(error.__traceback__):
        return f": {text}"
    return None


def _about_a_file(error: OSError) -> str:
    """:return: what is wrong with it, without the number that the system has for that"""
    said = {
        FileNotFoundError: f"there is no {error.filename}",
        FileExistsError: f"{error.filename} exists",
        IsADirectoryError: f"{error.filename} is a folder, where a file is meant",
        NotADirectoryError: f"{error.filename}: a file stands where a folder is meant",
        PermissionError: f"{error.filename} may not be read or written by you",
    }
    return said.get(type(error), f"{error.filename}: {error.strerror}")


def _missing_extra(error: Exception, text: str) -> str | None:
    """:return: the extra without which it came to the error"""
    if isinstance(error, ModuleNotFoundError):
        return EXTRAS.get((error.name or "").partition(".")[0])
    if "DependencyNotInstalled" in type(error).__name__:
        return next((extra for extra in ("mujoco", "box2d") if extra in text.lower()), None)
    return None


def _packages_of(error: Exception) -> set[str]:
    """:return: of the code that it passed through"""
    frames = traceback.walk_tb(error.__traceback__)
    return {frame.f_globals.get("__name__", "").partition(".")[0] for frame, _line in frames}


def _is_message(trace: TracebackType | None) -> bool:
    """Whether the error comes from a written `raise` or `assert` in a package that speaks to its users."""
    innermost = _innermost(trace)
    package = innermost.tb_frame.f_globals.get("__name__", "").partition(".")[0]
    instruction = innermost.tb_frame.f_code.co_code[innermost.tb_lasti]
    return package in SPEAKING_PACKAGES and dis.opname[instruction] == "RAISE_VARARGS"


def _in_expression(error: Exception) -> bool:
    """Whether it is about a value of the command line, which rl-zoo3 evaluates."""
    if isinstance(error, SyntaxError):
        return error.filename == "<string>"
    return _innermost(error.__traceback__).tb_frame.f_code.co_filename == "<string>"


def _innermost(trace: TracebackType | None) -> TracebackType:
    assert trace is not None  # it was caught
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace
