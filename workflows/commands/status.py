"""stefaland status runs/quickstart

Where a run stands, from its files alone: no service, any node that sees the folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from pipeline.core.errors import InputError, bad_input
from pipeline.core.files import read_json
from pipeline.cube.open import cube_tiles
from pipeline.execution.ledger import Ledger
from workflows.commands.submit import job_states
from workflows.fingerprints import NEEDS
from workflows.run import CONSOLE
from workflows.stages.markers import StageState

STORES = {"regrid": "cubes/{}.zarr", "predict": "predictions/{}.zarr"}
RECENT = 600.0
"""Seconds over which a rate is told."""


@dataclass(frozen=True)
class TileCounts:
    """Tiles of one cube in one stage, under the latest settings."""

    cube: str
    done: int
    failed: int
    total: int | None
    per_minute: float
    last_error: str


def stages(folder: Path) -> dict[str, dict[str, Any]]:
    """State of each stage by name: `state`, and `seconds` and `peak_bytes` where it ended."""
    found = {}
    for name in NEEDS:
        started, finished = (
            folder / ".stages" / f"{name}.{kind}.json" for kind in ("started", "finished")
        )
        if finished.is_file():
            state = "output gone" if StageState(folder, name, "").lost() else "finished"
            found[name] = {"state": state, **read_json(finished)}
        elif started.is_file():
            found[name] = {"state": "begun"}
        else:
            found[name] = {"state": "not begun"}
    return found


def tiles(folder: Path, stage: str) -> Iterator[TileCounts]:
    """Counts of every cube that a stage fills tile by tile."""
    for ledgers in sorted((folder / "ledger").glob(f"{stage}-*")):
        newest = max(ledgers.iterdir(), key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            continue
        ledger = Ledger(ledgers, newest.name)
        cube = ledgers.name.removeprefix(f"{stage}-")
        failures = ledger.failures()
        errors = [str(record.get("error", "")) for record in failures.values()]
        yield TileCounts(
            cube, len(ledger.names_done()), len(failures), _total(folder, stage, cube),
            _rate(newest), errors[-1] if errors else "",
        )  # fmt: skip


def _total(folder: Path, stage: str, cube: str) -> int | None:
    if stage not in STORES:
        return None
    try:
        return len(cube_tiles(folder / STORES[stage].format(cube)))
    except InputError:
        return None


def _rate(markers: Path) -> float:
    """Tiles a minute over the last ten minutes of work."""
    times = np.sort([path.stat().st_mtime for path in markers.glob("*.done.json")])
    times = times[times > times[-1] - RECENT] if times.size else times
    span = times[-1] - times[0] if times.size > 1 else 0.0
    return float(60 * (times.size - 1) / span) if span > 0 else 0.0


def training(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The last line of each training log, by its folder."""
    for log in sorted([*folder.glob("pretrained/*/log.jsonl"),
                       *folder.glob("finetuned/*/*/log.jsonl")]):  # fmt: skip
        lines = log.read_text().splitlines()
        for line in reversed(lines):
            try:
                yield str(log.parent.relative_to(folder)), json.loads(line)
                break
            except ValueError:
                continue  # a line that is being written


def jobs(folder: Path) -> Iterator[str]:
    """A line for each job of the last submission, with its state where SLURM can be asked."""
    submitted = folder / "slurm" / "jobs.json"
    if not submitted.is_file():
        return
    ids = read_json(submitted)
    states = job_states(list(ids.values()))
    for name, id_ in ids.items():
        yield f"job {id_} ({name}): {states.get(id_, 'no squeue here to ask')}"


def print_status(folder: Path) -> None:
    """Print stages, tiles done, failed and missing, rates, last errors, and trainings."""
    if not (folder / ".stages").is_dir():
        raise bad_input(str(folder), "no run", "a run folder, such as runs/quickstart")
    table = Table("stage", "state", "tiles done", "failed", "missing", "tiles a minute",
                  "seconds", title=str(folder))  # fmt: skip
    errors = []
    for name, state in stages(folder).items():
        if name == "check":
            continue
        seconds = f"{state['seconds']:.0f}" if "seconds" in state else ""
        table.add_row(name, state["state"], "", "", "", "", seconds)
        for counts in tiles(folder, name):
            missing = "" if counts.total is None else str(counts.total - counts.done)
            table.add_row(f"  {counts.cube}", "", str(counts.done), str(counts.failed), missing,
                          f"{counts.per_minute:.0f}", "")  # fmt: skip
            if counts.last_error:
                errors.append(f"{name} {counts.cube}: {counts.last_error}")
    CONSOLE.print(table)
    for place, record in training(folder):
        ago = time.time() - (folder / place / "log.jsonl").stat().st_mtime
        loss = record.get("validation_loss", record.get("loss", float("nan")))
        CONSOLE.print(f"{place}: epoch {record.get('epoch', 0):.0f}, loss {loss:.4g}, "
                      f"{ago:.0f} s ago")  # fmt: skip
    for line in jobs(folder):
        CONSOLE.print(line)
    for error in errors:
        CONSOLE.print(f"last error: {error}")
