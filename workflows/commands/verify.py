"""Verification of a cube: `stefaland verify runs/quickstart/cubes/global.zarr --repair`.

Metadata, coordinates and every shard are checked; with --repair the next run rewrites what is
damaged.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import bad_input
from pipeline.cube.integrity import Problem, remove_damaged, repair, verify_cube
from pipeline.execution.ledger import Ledger

STAGES = {"cubes": "regrid", "predictions": "predict"}


def ledger_of(cube: Path) -> Ledger:
    """The ledger of the tiles of a cube in a run folder, under the latest settings."""
    stage = STAGES.get(cube.parent.name)
    folder = cube.parent.parent / "ledger" / f"{stage}-{cube.stem}"
    used = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    if stage is None or not used:
        raise bad_input(
            str(cube), "no ledger of its tiles", "a cube below cubes/ or predictions/ of a run"
        )
    return Ledger(folder, max(used, key=lambda path: path.stat().st_mtime).name)


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
    stage = STAGES[cube.parent.name]
    (cube.parent.parent / ".stages" / f"{stage}.finished.json").unlink(missing_ok=True)
    return problems, names
