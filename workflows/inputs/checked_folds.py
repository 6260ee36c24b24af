"""Checks of the folds and statistics in a run folder, before every stage that depends on them.

The files were written by the stats stage and may have been changed since. The stages pretrain,
finetune and score, and the command sweep, begin with these checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from pipeline.core.errors import Fault, Faults, InputError
from pipeline.core.files import read_json, write_json
from pipeline.core.provenance import fingerprint
from pipeline.cube.open import open_cube
from stefaland.data.normalise import Normaliser
from stefaland.folds.leakage import check_fold, check_parts
from stefaland.folds.split import Fold
from workflows.config.folds import PARTS, FoldSettings
from workflows.inputs.carried_folds import check_carried, check_further
from workflows.inputs.folds import FoldFiles, locations, warmup_days

AGAIN = "Run `stefaland stats CONFIG --restart`, then the stages after it."


def fold_identity(fold: Fold) -> str:
    """Hash of a fold's cells and days."""
    return fingerprint(fold.to_dict())


def _identity_of_statistics(fold: Fold, pretraining_fold: Fold, scaling: Normaliser) -> str:
    """Hash of statistics with the cells and days from which they were computed."""
    return fingerprint([pretraining_fold.train, fold.train, fold.train_period, scaling.to_dict()])


def write_statistics(
    files: FoldFiles, fold: Fold, pretraining_fold: Fold, scaling: Normaliser
) -> None:
    """Write the statistics of a fold, and beside them a record of the cells and days used."""
    write_json(files.statistics(fold.name), scaling.to_dict())
    seal = {
        "pretraining_cells": len(pretraining_fold.train),
        "target_cells": len(fold.train),
        "period": fold.train_period,
        "identity": _identity_of_statistics(fold, pretraining_fold, scaling),
    }
    write_json(files.seal(fold.name), seal)


def check_folds(
    files: FoldFiles, settings: FoldSettings, warmup_steps: int, table: xr.Dataset,
    other: xr.Dataset, further: Mapping[str, xr.Dataset],
) -> None:  # fmt: skip
    """Raise `InputError` with every leak of the run's folds and of their statistics, by file.

    `table` has the labelled cells with a target, `other` those that pretrain, `further` those of
    further cubes by name.
    """
    required: dict[str, Any] = {
        "kind": settings.kind,
        "buffer_km": settings.buffer_km,
        **{f"{part}_period": settings.periods.get(part) for part in PARTS},
        "warmup_days": warmup_days(table, settings, warmup_steps),
    }
    faults = Faults()
    for name in files.names():
        made, carried = files.cells(name), files.pretraining_cells(name)
        fold, pretraining_fold = Fold.load(made), Fold.load(carried)
        checks: list[tuple[Path, Callable[[], None]]] = [
            (made, partial(_check_settings, fold, required)),
            (carried, partial(_check_settings, pretraining_fold, required)),
            (made, partial(check_fold, fold, locations(table))),
            (carried, partial(check_parts, pretraining_fold, locations(other))),
            (carried, partial(check_carried, fold, pretraining_fold, table, other)),
        ]
        for cube, cells in further.items():
            path, of_cube = files.pretraining_cells(name, cube), files.pretraining_fold(name, cube)
            checks += [
                (path, partial(_check_settings, of_cube, required)),
                (path, partial(check_parts, of_cube, locations(cells))),
                (path, partial(check_further, fold, of_cube, table, cells)),
            ]
        for path, check in checks:
            try:
                check()
            except InputError as error:
                # The path helps the user more than the name of the fold.
                faults.faults += [_in_file(fault, f"fold {name}", path) for fault in error.faults]
        _check_seal(files, fold, pretraining_fold, faults)
    faults.raise_if_any()


def _in_file(fault: Fault, name: str, path: Path) -> Fault:
    where = fault.where.replace(name, str(path), 1)
    return replace(fault, where=where, hint=fault.hint or AGAIN)


def _check_settings(fold: Fold, required: dict[str, Any]) -> None:
    """Raise `InputError` for a fold of other settings than the run's, which define a leak."""
    faults = Faults()
    for name, value in required.items():
        found = getattr(fold, name)
        if found != value:
            expected = f"{value}, as in the settings"
            faults.add(f"fold {fold.name}: {name}", str(found), expected)
    faults.raise_if_any()


def _check_seal(files: FoldFiles, fold: Fold, pretraining_fold: Fold, faults: Faults) -> None:
    path, seal = files.statistics(fold.name), files.seal(fold.name)
    if not seal.exists():
        faults.add(str(path), "no record of what it was computed from", f"{seal}", AGAIN)
        return
    scaling = files.normaliser(fold.name)
    if read_json(seal).get("identity") != _identity_of_statistics(fold, pretraining_fold, scaling):
        faults.add(
            str(path),
            "statistics that were changed, or are of other cells or days than train in "
            f"{files.cells(fold.name)} and {files.pretraining_cells(fold.name)}",
            "those that the stats stage computed from these cells",
            AGAIN,
        )


def check_encoders(files: FoldFiles, encoders: Path) -> None:
    """Raise `InputError` where an encoder (`encoders`/FOLD) was pretrained on another fold.

    A checkpoint without a record of its fold was not pretrained by this run and is not checked.
    """
    faults = Faults()
    for name in files.names():
        folder = encoders / name
        metadata = folder / "data.json"
        # A missing checkpoint is reported when it is loaded.
        stored = read_json(metadata) if metadata.exists() else {}
        seen = {"": stored.get("fold"), **stored.get("further_folds", {})}
        for cube, identity in seen.items():
            path = files.pretraining_cells(name, cube)
            if identity is not None and identity != fold_identity(Fold.load(path)):
                faults.add(
                    str(folder), f"an encoder pretrained on other cells or days than {path} has",
                    "one of that fold",
                    "Run `stefaland pretrain CONFIG --restart`, then the stages after it.",
                )  # fmt: skip
    faults.raise_if_any()


def check_heldout(files: FoldFiles, stores: Iterable[tuple[str, Path]]) -> None:
    """Raise `InputError` for held-out predictions (fold name, store) of a fold that has changed."""
    faults = Faults()
    known = {name: fold_identity(files.fold(name)) for name in files.names()}
    for name, path in stores:
        # A missing store is reported when it is read.
        identity = open_cube(path).attrs.get("fold") if path.exists() else None
        if identity is not None and identity != known[name]:
            faults.add(
                str(path), f"predictions of a model of other cells or days than "
                f"{files.cells(name)} has", "those of that fold",
                "Run `stefaland finetune CONFIG --restart`, then the stages after it.",
            )  # fmt: skip
    faults.raise_if_any()
