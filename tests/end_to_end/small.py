"""The two cases at a size that takes seconds, for end-to-end tests."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REGISTRY, ROOT

QUICKSTART = (
    "cubes.global={grid: global_2deg, tile: [36, 90]}",
    "cubes.conus={grid: conus_1deg, tile: [13, 30]}",
    "publish.products=[{cube: global, suffix: global}, {cube: conus, suffix: conus},"
    " {cube: global, grid: global_36km, suffix: global_ease2},"
    " {cube: conus, grid: conus_5070_25km, suffix: conus_5070},"
    " {cube: conus, suffix: conus_seasonal, aggregate: seasonal}]",
    "folds.regions.folds={americas: [North America, South America],"
    " others: [Africa, Oceania, Europe, Asia]}",
    "pretrain.epochs=2",
    "finetune.epochs=3",
    "cluster.kind=none",
)
DELAWARE = (
    "pretrain.window=120",
    "finetune.window=120",
    "finetune.warmup_steps=30",
    "pretrain.epochs=1",
    "pretrain.steps_per_epoch=3",
    "finetune.epochs=1",
    "finetune.steps_per_epoch=3",
    "folds.k=2",
    "cluster.kind=none",
)


def settings(overrides: tuple[str, ...]) -> list[str]:
    """`--set` arguments."""
    return [part for override in overrides for part in ("--set", override)]


def environment(runs: Path) -> dict[str, str]:
    """The environment of a run whose folder is below `runs`; one thread, as tests share cores."""
    return {
        **os.environ,
        "STEFALAND_RUNS": str(runs),
        "STEFALAND_DATA": str(REGISTRY),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }


def command(config: str, overrides: tuple[str, ...], *arguments: str) -> list[str]:
    """The command line of a run."""
    return [sys.executable, "-m", "workflows.cli", *arguments, config, *settings(overrides)]


def stefaland(
    runs: Path, config: str, overrides: tuple[str, ...], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run `stefaland ARGUMENTS CONFIG` as a user would."""
    return subprocess.run(
        command(config, overrides, *(arguments or ("run",))),
        cwd=ROOT, env=environment(runs), capture_output=True, text=True, check=False, timeout=800,
    )  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    """Path below `folder` → sha256 of every file; what a kill left half-written is hidden."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
