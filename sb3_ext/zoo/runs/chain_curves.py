"""
The returns of one run out of all of its folders: it was interrupted and gone on with, however often. Each step counts
in one folder alone, and steps go on over their ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from sb3_ext.viz.curves import Curve, NoReturns, read_evaluation_arrays, read_monitor
from sb3_ext.zoo.runs.chains import Chain, chains_of
from sb3_ext.zoo.runs.folders import steps_of
from sb3_ext.zoo.runs.manifests import Manifest
from sb3_ext.zoo.typed_ids import name_in_folders

Source = Literal["evaluations", "monitor"]
T = TypeVar("T")


def chain_to(run: Path) -> tuple[Chain, list[str]]:
    """
    :param run: folder
    :return: the run up to there, and lines about what is odd
    """
    (chain,), notes = chains_of([run])
    return chain, notes


def read_chain(chain: Chain, source: Source, notes: list[str], name: str | None = None) -> Curve:
    """
    :param chain: a run
    :param source: evaluations on the way, or training episodes
    :param notes: gets a line for each earlier folder whose file is broken: the curve is without it
    :param name: of the curve; None = the last folder's
    :raises NoReturns: where there are none
    :raises ValueError: where the last folder's file is broken, which is named
    """
    name = name or chain.last.resolve().name
    if source == "evaluations":
        arrays = chain_evaluations(chain, notes)
        return Curve(name, arrays["timesteps"], arrays["results"], source)
    parts = [curve for _, curve in chain_episodes(chain, notes)]
    steps, returns = (np.concatenate([getattr(curve, x) for curve in parts]) for x in ("steps", "returns"))
    return Curve(name, steps, returns, source)


def curves_to(run: Path, name: str, notes: list[str]) -> list[Curve]:
    """
    :param run: folder of an agent, which need not be one that was trained here
    :param name: of the curves
    :param notes: gets a line about each thing that is odd
    :return: of both sources what there is, evaluations first
    """
    chain, lines = chain_to(run)
    curves = []
    sources: tuple[Source, Source] = ("evaluations", "monitor")
    for source in sources:
        try:
            curves.append(read_chain(chain, source, lines, name))
        except NoReturns:  # an agent of the Hub comes without, a short run has no episode
            continue
        except ValueError as error:
            lines.append(str(error))
    notes += lines
    return curves


def chain_evaluations(chain: Chain, notes: list[str]) -> dict[str, np.ndarray]:
    """
    Newest first: a folder has the evaluations of the earlier ones up to where it began, unless they were of another
    number of episodes; then each evaluation is the mean of its episodes.

    :param chain: a run
    :param notes: as in `read_chain`
    :return: as `read_evaluation_arrays`
    :raises ValueError: as in `read_chain`
    """
    found: list[dict[str, np.ndarray]] = []
    begin = math.inf
    for part, cut in zip(reversed(chain.parts), reversed(chain.cuts), strict=True):
        arrays = _read(read_evaluation_arrays, part, chain, notes)
        if arrays is None:
            continue
        kept = (arrays["timesteps"] <= cut) & (arrays["timesteps"] < begin)
        if kept.any():
            found.insert(0, {key: x[kept] for key, x in arrays.items()})
            begin = float(found[0]["timesteps"][0])
    if not found:
        return read_evaluation_arrays(chain.last)  # which has none, and says so
    keys = [key for key in found[-1] if all(key in arrays for arrays in found)]
    return {key: _put_together([arrays[key] for arrays in found]) for key in keys}


def chain_episodes(chain: Chain, notes: list[str]) -> list[tuple[Path, Curve]]:
    """
    Of a folder that a run was killed or failed in, the episodes after the checkpoint that it goes on from do not count:
    it makes them again. Where wrappers skip frames, `Monitor` counts more steps than the checkpoint, and too few are
    left.

    :param chain: a run
    :param notes: as in `read_chain`
    :return: folders with the first of their training episodes, whose steps go on from one to the next
    :raises ValueError: as in `read_chain`
    """
    found: list[tuple[Path, Curve]] = []
    last = 0
    for part, cut, manifest in zip(chain.parts, chain.cuts, chain.manifests, strict=True):
        curve = _read(read_monitor, part, chain, notes)
        if curve is None:
            continue
        ended_there = manifest is not None and manifest.num_timesteps <= cut and _is_saved_to_its_end(part, manifest)
        steps = curve.steps + max(last, 0 if manifest is None else manifest.parent_steps)
        kept = len(steps) if ended_there else int(np.searchsorted(steps, cut, side="right"))
        if kept > 0:
            found.append((part, Curve(curve.name, steps[:kept], curve.returns[:kept], "monitor")))
            last = int(steps[kept - 1])
    if not found:
        read_monitor(chain.last)
        raise NoReturns(f"{chain.last}: no episode of it counts")
    return found


def _is_saved_to_its_end(part: Path, manifest: Manifest) -> bool:
    """:return: False where it went on after the steps that its manifest tells, which are those of a checkpoint"""
    if manifest.ended == "failed":  # by what leaves time to save, such as a dead worker, or by an error
        return steps_of(part / f"{name_in_folders(manifest.env_id)}.zip") == manifest.num_timesteps
    return manifest.ended != "running"


def _put_together(parts: Sequence[np.ndarray]) -> np.ndarray:
    """:return: means, where parts are of different numbers of episodes"""
    if len({x.shape[1:] for x in parts}) > 1:
        parts = [x.mean(axis=1, keepdims=True) for x in parts]
    return np.concatenate(parts)


def _read(read: Callable[[Path], T], part: Path, chain: Chain, notes: list[str]) -> T | None:
    """:return: None where it has none, and where an earlier folder's file is broken"""
    try:
        return read(part)
    except NoReturns:
        return None
    except ValueError as error:
        if part == chain.last:
            raise
        notes.append(f"{error}; the curve of {chain.last} is without it")
        return None
