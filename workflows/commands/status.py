"""The progress of a run, read from the files of its folder: `stefaland status runs/quickstart`."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from pipeline.core.errors import InputError, bad_input
from pipeline.core.files import read_json
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.cube.open import cube_tiles
from pipeline.execution.ledger import Ledger
from workflows.commands.submit import job_states
from workflows.console import REPORT
from workflows.fingerprints import NEEDS
from workflows.stages.markers import StageState

STORES = {"regrid": "cubes/{}.zarr", "predict": "predictions/{}.zarr"}
RECENT = 600.0
"""Length in seconds of the period over which a rate is computed."""


@dataclass(frozen=True, kw_only=True)
class TileCounts:
    """Counts of the tiles of one cube in one stage, under the latest settings."""

    cube: str
    done: int
    failed: int
    total: int | None
    per_minute: float
    last_error: str


def stages(folder: Path) -> dict[str, dict[str, Any]]:
    """State of each stage by name: `state`, and `seconds` and `peak_bytes` of finished ones."""
    found = {}
    for name in NEEDS:
        markers = StageState(folder, name, "")
        if record := markers.record():
            state = "output gone" if markers.lost() else "finished"
            found[name] = {"state": state, **record}
        elif (folder / ".stages" / f"{name}.started.json").is_file():
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
            cube=cube,
            done=len(ledger.names_done()),
            failed=len(failures),
            total=_total(folder, stage, cube),
            per_minute=_rate(newest),
            last_error=errors[-1] if errors else "",
        )


def _total(folder: Path, stage: str, cube: str) -> int | None:
    if stage not in STORES:
        return None
    try:
        return len(cube_tiles(folder / STORES[stage].format(cube)))
    except InputError:
        return None


def _rate(markers: Path) -> float:
    """Tiles a minute over the last ten minutes of work."""
    with os.scandir(markers) as entries:
        times = np.sort(
            [entry.stat().st_mtime for entry in entries if entry.name.endswith(".done.json")]
        )
    times = times[times > times[-1] - RECENT] if times.size else times
    span = times[-1] - times[0] if times.size > 1 else 0.0
    return float(60 * (times.size - 1) / span) if span > 0 else 0.0


def training(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The last line of each training log, by its folder."""
    for log in sorted([*folder.glob("pretrained/*/log.jsonl"),
                       *folder.glob("finetuned/*/*/log.jsonl")]):  # fmt: skip
        for line in reversed(log.read_bytes().splitlines()):
            try:
                record = parse_json(line)
            except ValueError:
                continue  # A line that is just being written, or damaged.
            if isinstance(record, dict):
                yield str(log.parent.relative_to(folder)), record
                break


def jobs(folder: Path) -> list[dict[str, str]]:
    """Name, id and state of each job of the last submission.

    The state is empty where SLURM cannot be asked.
    """
    submitted = folder / "slurm" / "jobs.json"
    if not submitted.is_file():
        return []
    ids = {name: str(id_) for name, id_ in read_json(submitted).items()}
    states = job_states(list(ids.values()))
    return [{"name": name, "id": id_, "state": states.get(id_, "")} for name, id_ in ids.items()]


def run_status(folder: Path) -> dict[str, Any]:
    """Stages with the tiles of their cubes, trainings and jobs of a run, as plain values.

    `InputError` where `folder` is not a run folder. docs/json.md describes every key.
    """
    if not (folder / ".stages").is_dir():
        raise bad_input(str(folder), "no run", "a run folder, such as runs/quickstart")
    states = {name: state for name, state in stages(folder).items() if name != "check"}
    return {
        "folder": str(folder),
        "stages": [
            {
                "name": name,
                "state": state["state"],
                "seconds": _finite(state.get("seconds")),
                "peak_bytes": _finite(state.get("peak_bytes")),
                "cubes": [_cube(counts) for counts in tiles(folder, name)],
            }
            for name, state in states.items()
        ],
        "trainings": [_training(folder, name, record) for name, record in training(folder)],
        "jobs": jobs(folder),
    }


def _cube(counts: TileCounts) -> dict[str, Any]:
    missing = None if counts.total is None else counts.total - counts.done
    return {**dataclasses.asdict(counts), "missing": missing}


def _number(value: Any) -> float:
    """A number of a log; NaN for other values, as of a damaged line."""
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else math.nan


def _finite(value: Any) -> Any:
    return value if math.isfinite(_number(value)) else None


def _training(folder: Path, name: str, record: dict[str, Any]) -> dict[str, Any]:
    loss = _number(record.get("validation_loss", record.get("loss")))
    epoch = _number(record.get("epoch", 0))
    return {
        "folder": name,
        "epoch": int(epoch) if math.isfinite(epoch) else 0,
        "loss": loss if math.isfinite(loss) else None,
        "seconds_ago": time.time() - (folder / name / "log.jsonl").stat().st_mtime,
    }


def print_status(status: dict[str, Any]) -> None:
    """Print the result of `run_status`: tables, then trainings, jobs and the last errors."""
    table = Table("stage", "state", "tiles done", "failed", "missing", "tiles a minute",
                  "seconds", title=status["folder"])  # fmt: skip
    errors = []
    for stage in status["stages"]:
        seconds = "" if stage["seconds"] is None else f"{stage['seconds']:.0f}"
        table.add_row(stage["name"], stage["state"], "", "", "", "", seconds)
        for cube in stage["cubes"]:
            missing = "" if cube["missing"] is None else str(cube["missing"])
            table.add_row(f"  {cube['cube']}", "", str(cube["done"]), str(cube["failed"]), missing,
                          f"{cube['per_minute']:.0f}", "")  # fmt: skip
            if cube["last_error"]:
                errors.append(f"{stage['name']} {cube['cube']}: {cube['last_error']}")
    REPORT.print(table)
    for training in status["trainings"]:
        loss = math.nan if training["loss"] is None else training["loss"]
        REPORT.print(f"{training['folder']}: epoch {training['epoch']}, loss {loss:.4g}, "
                     f"{training['seconds_ago']:.0f} s ago")  # fmt: skip
    for job in status["jobs"]:
        state = job["state"] or "state unknown: no squeue on this machine"
        REPORT.print(f"job {job['id']} ({job['name']}): {state}")
    for error in errors:
        REPORT.print(f"last error: {error}")
