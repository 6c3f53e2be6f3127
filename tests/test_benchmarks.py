"""Every benchmark runs, with `--quick`, and leaves the tables and pictures of the repository alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = {"common", "learning", "both_ends_tasks", "gail_peer", "planning_rows", "processes"}
SHARED |= {
    f"scale_out_{name}" for name in ("faults", "gpu", "ingest", "runs", "throughput", "worlds")
}  # what benchmarks are made of
BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in SHARED)


def kept() -> dict[Path, bytes]:
    """:return: what benchmarks write when they are not quick"""
    folders = (ROOT / "benchmarks" / "results", ROOT / "docs" / "images")
    return {path: path.read_bytes() for folder in folders for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    before = kept()
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--quick"]
    environment = {**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    # 1 says that a bound is not kept, which so few steps cannot promise.
    assert result.returncode in (0, 1) and "Traceback" not in result.stderr, result.stderr[-2000:]
    assert result.stdout.strip(), "it prints what it measured"
    assert kept() == before
