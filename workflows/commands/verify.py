"""Verification of a run, or of one cube of it: `stefaland verify runs/quickstart --repair`.

All files of finished stages are compared with the stages' manifests, and every shard of cubes with
its checksums; with --repair the next run makes again what was lost or damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import InputError, bad_input
from pipeline.cube.integrity import Problem, remove_damaged, repair, verify_cube
from pipeline.execution.ledger import Ledger
from workflows.config.load import load_config
from workflows.fingerprints import NEEDS
from workflows.stages.manifest import Damage
from workflows.stages.markers import StageState, run_lock
from workflows.stages.order import withdraw_after

STAGES = {"cubes": "regrid", "predictions": "predict", "mosaics": "mosaic"}


def ledger_of(cube: Path) -> Ledger:
    """The ledger of the tiles of a cube in a run folder, under the latest settings."""
    stage = STAGES.get(cube.parent.name)
    folder = cube.with_suffix(".ledger")
    if stage is not None:
        # That of a map store is named by its product, the end of the store's name.
        ledgers = (cube.parent.parent / "ledger").glob(f"{stage}-*")
        names = [path.name.removeprefix(f"{stage}-") for path in ledgers]
        mine = [n for n in names if n == cube.stem or (stage == "mosaic" and _ends(cube.stem, n))]
        folder = cube.parent.parent / "ledger" / f"{stage}-{max(mine, key=len, default='')}"
    used = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    if not used:
        raise bad_input(
            str(cube), "no ledger of its tiles", "a cube below cubes/ or predictions/ of a run"
        )
    return Ledger(folder, max(used, key=lambda path: path.stat().st_mtime).name)


def _ends(name: str, end: str) -> bool:
    return name.endswith(f"_{end}")


def run_folder(text: str) -> Path | None:
    """The run folder that a path or a config names; None for a path below a run folder."""
    path = Path(text)
    if (path / ".stages").is_dir():
        return path
    if path.is_dir() or path.suffix == ".zarr":
        return None
    return load_config(text).folder


def verify(cube: Path, mend: bool = False) -> tuple[list[Problem], list[str]]:
    """Problems of a cube, and the tiles and files that the next run rewrites (with `mend`).

    Values must lie in the ranges of `variables.yml`. Raises `InputError` for a store that is no
    cube of a run.
    """
    cube = cube.resolve()
    ledger = ledger_of(cube)
    problems = verify_cube(cube, read_variables(), ledger)
    if not (mend and problems):
        return problems, []
    names = repair(ledger, problems) + remove_damaged(cube, problems)
    # Otherwise the next run would skip the stage as finished.
    if (stage := STAGES.get(cube.parent.name)) is not None:
        StageState(cube.parent.parent, stage, "").withdraw(resumable=True)
    return problems, names


def verify_run(folder: Path, mend: bool = False) -> tuple[list[str], list[str]]:
    """Faults of a run's files, one line each, and notes on stages that could not be verified.

    With `mend`, what is lost or damaged is removed, and its stages and those after them run again.
    Raises `InputError` where `folder` is not a run folder, or is in use (with `mend`).
    """
    if not (folder / ".stages").is_dir():
        raise bad_input(str(folder), "no run", "a run folder, such as runs/quickstart")
    faults: list[str] = []
    notes: list[str] = []
    damaged: dict[str, list[Damage]] = {}
    for name in (name for name in NEEDS if name != "check"):
        state = StageState(folder, name, "")
        if not (record := state.record()):
            notes.append(f"{name}: not finished, and not verified")
        elif "manifest" in record:
            damaged[name] = state.damage(deep=True)
        else:
            notes.append(f"{name}: unsealed, as its version recorded no digests of its files")
            damaged[name] = [*state.damage(), *_damaged_cubes(folder, name)]
        faults += [f"{name}: {one}" for one in damaged.get(name, [])]
    if mend and faults:
        with run_lock(folder):
            for name, found in damaged.items():
                _repair(folder, name, found)
    return faults, notes


def _damaged_cubes(folder: Path, stage: str) -> Iterator[Damage]:
    """Damage of the cubes of a stage without a manifest, as far as their ledgers show it."""
    for kind, of in STAGES.items():
        for cube in sorted((folder / kind).glob("*.zarr")) if of == stage else ():
            try:
                ledger = ledger_of(cube)
            except InputError:
                continue  # a store of locations
            name = str(cube.relative_to(folder))
            for problem in verify_cube(cube, read_variables(), ledger):
                what = f"{problem.variable}: {problem.detail}" if problem.variable else ""
                yield Damage(name, what or problem.detail, problem.tile)


def _repair(folder: Path, stage: str, damage: list[Damage]) -> None:
    if not damage:
        return
    state = StageState(folder, stage, "")
    if state.manifest() is None:
        for cube in {folder / one.file for one in damage if one.file.endswith(".zarr")}:
            verify(cube, mend=True)
    resumes = state.mend(damage) or all(one.file.endswith(".zarr") for one in damage)
    if all(one.is_spare for one in damage):
        return
    state.withdraw(resumable=resumes)
    withdraw_after(folder, stage, resumes)
