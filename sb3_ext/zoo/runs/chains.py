"""
Folders that are one run: it was interrupted and gone on with, however often. A chain begins at step 0, as far back as
its folders are there, and each step counts in one part alone.

```
ENV_1   0 ------- 200 ... 250 killed        counts up to 200, where ENV_2 goes on
ENV_2             200 ------- 700           counts up to 700
ENV_3                         700 -- 1000   is where the run stands
```
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sb3_ext.errors import UserError
from sb3_ext.zoo.runs.manifests import EARLIER, NAME, Manifest, is_under_way


@dataclass(frozen=True)
class Chain:
    """One run."""

    parts: tuple[Path, ...]
    """folders, oldest first"""
    cuts: tuple[float, ...]
    """env step up to which each counts, where the next one goes on; inf for the last"""
    manifests: tuple[Manifest | None, ...]
    """None: of an earlier version, of rl-zoo3 itself, or broken"""

    @property
    def last(self) -> Path:
        """where the run stands"""
        return self.parts[-1]

    @property
    def manifest(self) -> Manifest | None:
        """of the last part"""
        return self.manifests[-1]


def state_of(part: Path, manifest: Manifest | None) -> str:
    """
    :param part: folder of a run
    :param manifest: its own
    :return: how it ended, or "running"; "killed": nobody was left to say so; "-": not known
    """
    if manifest is None:
        return "not ended" if (part / EARLIER).is_file() else "-"
    if manifest.ended == "running" and not is_under_way(part):
        return "killed"
    return manifest.ended


def chains_of(runs: Iterable[Path]) -> tuple[list[Chain], list[str]]:
    """
    A run that has finished stays one of its own where another goes on from its middle; where it goes on from the end,
    both are one. Killed before it had saved a step, it is none where another goes on from the same. One that only
    begins with another's model, and counts from 0 or learns another task, is one of its own.

    :param runs: folders
    :return: chains that end in them, in their order, with the parts that lie elsewhere; and lines about what is odd
    """
    folders = _Folders()
    given = folders.without_copies(runs)
    chains = [folders.chain(run) for run in given]
    children: dict[Path, dict[Path, None]] = {}
    for chain in chains:
        for parent, child in pairwise(chain.parts):
            children.setdefault(parent, {})[child] = None
    vain: set[Path] = set()
    for parent, found in children.items():
        tried = folders.in_vain([child for child in found if child not in children], len(found))
        folders.note_fork(parent, [child for child in found if child not in tried])
        vain.update(tried)
    ends = [x for x in chains if not folders.is_gone_on_with(x.last, children.get(x.last, ()))]
    return [chain for chain in ends if chain.last not in vain], folders.notes


class _Folders:
    """What was read of them, each once; one folder is one path, however it was named."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._shown: dict[Path, Path] = {}
        self._manifests: dict[Path, Manifest | None] = {}
        self._broken: dict[Path, str] = {}
        self._siblings: dict[Path, dict[str, Path]] = {}

    def without_copies(self, runs: Iterable[Path]) -> list[Path]:
        """:return: each run once; of a folder that was copied, the one that came farthest"""
        by_id: dict[str, Path] = {}
        given = list(dict.fromkeys(map(self.shown, runs)))
        for run in given:
            manifest = self.read(run)
            if manifest is None:
                continue
            other = by_id.get(manifest.id, run)
            kept = max(other, run, key=self._steps)
            by_id[manifest.id] = kept
            if other != run:
                self.notes.append(f"{other if kept == run else run}: a copy of {kept}, and is left out")
        return [run for run in given if (manifest := self.read(run)) is None or by_id[manifest.id] == run]

    def chain(self, run: Path) -> Chain:
        """:return: that ends there"""
        parts = [run]
        cuts = [math.inf]
        while (manifest := self.read(parts[0])) is not None and manifest.parent_steps > 0:
            parent = self._parent(parts[0], manifest)
            if parent in parts:
                self._note(f"{parts[0]}: says that it goes on from {parent}, which goes on from it")
                break
            if parent is None:
                where = f", {manifest.parent_folder}," if manifest.parent_folder else ""
                self._note(f"{parts[0]}: goes on after step {manifest.parent_steps} of a run{where} that is not there")
                break
            if not self._is_same_task(manifest, parent):
                break
            parts.insert(0, parent)
            cuts.insert(0, min(manifest.parent_steps, *cuts))
        for part in parts:
            if part in self._broken:
                self._note(self._broken[part])
        return Chain(tuple(parts), tuple(cuts), tuple(map(self.read, parts)))

    def is_gone_on_with(self, run: Path, children: Iterable[Path]) -> bool:
        """:return: whether it is a part of others alone"""
        manifest = self.read(run)
        has_finished = manifest is not None and manifest.ended == "finished"
        begins = [self._begin(child) for child in children]
        return bool(begins) and not (has_finished and max(begins) < self._steps(run))

    def in_vain(self, ends: list[Path], n_children: int) -> set[Path]:
        """
        :param ends: runs that go on from one run, and from which none goes on
        :param n_children: all that go on from it
        :return: those that have made no step that was kept; one stands for all where there is no other
        """
        began = {run: manifest.began for run in ends if (manifest := self.read(run)) and is_idle(manifest)}
        if began and len(began) == n_children:
            del began[max(began, key=lambda run: began[run])]
        return set(began)

    def note_fork(self, parent: Path, children: list[Path]) -> None:
        """Several that go on from one, or one from the middle of a run that stands for itself, have steps in common."""
        if len(children) > 1:
            names = f"{', '.join(map(str, children[:-1]))} and {children[-1]}"
            self._note(f"{names} go on from {parent}: they share its steps")
        elif not self.is_gone_on_with(parent, children):
            step = self._begin(children[0])
            self._note(f"{children[0]} goes on from step {step} of {parent}, which has finished: they share its steps")

    def read(self, run: Path) -> Manifest | None:
        """:return: its manifest, None where it has none, or a broken one"""
        if run not in self._manifests:
            try:
                self._manifests[run] = Manifest.read(run)
            except UserError as error:
                self._manifests[run] = None
                self._broken[run] = str(error)
        return self._manifests[run]

    def shown(self, run: Path) -> Path:
        """:return: the path by which it was named first"""
        return self._shown.setdefault(run.resolve(), run)

    def _parent(self, run: Path, manifest: Manifest) -> Path | None:
        named = manifest.parent_folder
        if named is not None:
            folder = Path(os.path.normpath(run / named))
            found = self.read(folder)
            if folder.is_dir() and (None if found is None else found.id) == manifest.parent:
                return self.shown(folder)
        beside = None if manifest.parent is None else self._beside(run).get(manifest.parent)
        return None if beside is None else self.shown(beside)

    def _is_same_task(self, manifest: Manifest, parent: Path) -> bool:
        """:return: False where its model was taken to learn something else"""
        before = self.read(parent)
        told = (manifest.algorithm, manifest.env_id)
        return before is None or (before.algorithm, before.env_id) == told

    def _beside(self, run: Path) -> dict[str, Path]:
        """:return: runs in the folder that it is in, by their ids"""
        folder = Path(os.path.normpath(run / ".."))
        if folder not in self._siblings:
            runs = [path.parent for path in sorted(folder.glob(f"*/{NAME}"), reverse=True)]
            self._siblings[folder] = {found.id: run for run in runs if (found := self.read(run)) is not None}
        return self._siblings[folder]

    def _steps(self, run: Path) -> int:
        manifest = self.read(run)
        return 0 if manifest is None else manifest.num_timesteps

    def _begin(self, run: Path) -> int:
        manifest = self.read(run)
        assert manifest is not None, run  # it goes on from another
        return manifest.parent_steps

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)


def is_idle(manifest: Manifest) -> bool:
    """:return: whether it has saved no step beyond those with which it went on"""
    return manifest.ended != "finished" and manifest.num_timesteps <= manifest.parent_steps
