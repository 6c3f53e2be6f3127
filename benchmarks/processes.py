"""What other processes cost, read from Linux's /proc: CPU seconds and memory of all that a process has begun."""

from __future__ import annotations

import os
import pathlib

PROC = pathlib.Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
MIB = 2**20


def _stat(pid: int) -> list[str] | None:
    """:return: fields of /proc/<pid>/stat from the third on (state), None where the process is gone"""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the second field, a name in brackets, may hold anything


def descendants(pid: int) -> list[int]:
    """:return: children of ``pid``, theirs, and so on, as far as they run; none where there is no /proc"""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        fields = _stat(int(entry.name)) if entry.name.isdecimal() else None
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    open_ends = [pid]
    while open_ends:
        born = children.get(open_ends.pop(), [])
        found += born
        open_ends += born
    return found


def cpu_seconds(pid: int) -> tuple[float, float]:
    """:return: of the process itself, and of its children that have ended and were waited for; 0 where it is gone"""
    fields = _stat(pid)
    if fields is None:
        return 0.0, 0.0
    own, of_children = (sum(map(int, fields[first : first + 2])) for first in (11, 13))
    return own / TICKS_PER_SECOND, of_children / TICKS_PER_SECOND


def others_cpu_seconds() -> float:
    """:return: of all processes that this one has begun, running or ended"""
    of_the_ended = cpu_seconds(os.getpid())[1]
    return of_the_ended + sum(sum(cpu_seconds(pid)) for pid in descendants(os.getpid()))


def memory_mib(pid: int) -> tuple[float, float]:
    """:return: what ending the process would free (USS), and what it maps in all (RSS)"""
    sizes: dict[str, int] = {}
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        name, kib = line.split()[:2]
        sizes[name.rstrip(":")] = int(kib) * 1024
    return (sizes["Private_Clean"] + sizes["Private_Dirty"]) / MIB, sizes["Rss"] / MIB


def load_average() -> float:
    """:return: of the last minute"""
    return round(os.getloadavg()[0], 1)
