"""Folds and statistics as the run folder has them, checked anew by every stage that rests on them.

Upstream: the files of the stats stage, which anything may have changed since. Downstream: pretrain,
finetune, sweep and score begin with these checks.
"""

from __future__ import annotations

from collections.abc import Iterable
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
from workflows.inputs.carried_folds import check_carried
from workflows.inputs.folds import FoldFiles, locations, warmup_days

AGAIN = "Run `stefaland stats CONFIG --restart`, then the stages after it."


def fold_identity(fold: Fold) -> str:
    """A hash of a fold's cells and days."""
    return fingerprint(fold.to_dict())


def _identity_of_statistics(fold: Fold, wider: Fold, scaling: Normaliser) -> str:
    """A hash of statistics with the cells and days they are of: inputs of those that pretrain."""
    return fingerprint([wider.train, fold.train, fold.train_period, scaling.to_dict()])


def write_statistics(files: FoldFiles, fold: Fold, wider: Fold, scaling: Normaliser) -> None:
    """The scalings of a fold, and beside them what they were computed from."""
    write_json(files.statistics(fold.name), scaling.to_dict())
    seal = {
        "pretraining_cells": len(wider.train),
        "target_cells": len(fold.train),
        "period": fold.train_period,
        "identity": _identity_of_statistics(fold, wider, scaling),
    }
    write_json(files.seal(fold.name), seal)


def check_folds(
    files: FoldFiles, settings: FoldSettings, warmup_steps: int, table: xr.Dataset,
    other: xr.Dataset,
) -> None:  # fmt: skip
    """Raise `InputError` with every leak of the run's folds and of their statistics, by file.

    `table` has the labelled cells with a target, `other` those that pretrain.
    """
    wanted: dict[str, Any] = {
        "kind": settings.kind,
        "buffer_km": settings.buffer_km,
        **{f"{part}_period": settings.periods.get(part) for part in PARTS},
        "warmup_days": warmup_days(table, settings, warmup_steps),
    }
    faults = Faults()
    for name in files.names():
        own, carried = files.cells(name), files.pretraining_cells(name)
        fold, wider = Fold.load(own), Fold.load(carried)
        for path, check in (
            (own, partial(_check_settings, fold, wanted)),
            (carried, partial(_check_settings, wider, wanted)),
            (own, partial(check_fold, fold, locations(table))),
            (carried, partial(check_parts, wider, locations(other))),
            (carried, partial(check_carried, fold, wider, table, other)),
        ):
            try:
                check()
            except InputError as error:
                # The file says more than the fold's name.
                faults.faults += [_in_file(fault, f"fold {name}", path) for fault in error.faults]
        _check_seal(files, fold, wider, faults)
    faults.raise_if_any()


def _in_file(fault: Fault, name: str, path: Path) -> Fault:
    where = fault.where.replace(name, str(path), 1)
    return replace(fault, where=where, hint=fault.hint or AGAIN)


def _check_settings(fold: Fold, wanted: dict[str, Any]) -> None:
    """Raise `InputError` for a fold of other settings than the run's: what a leak is rests on
    them.
    """
    faults = Faults()
    for name, value in wanted.items():
        found = getattr(fold, name)
        if found != value:
            expected = f"{value}, as the settings have it"
            faults.add(f"fold {fold.name}: {name}", str(found), expected)
    faults.raise_if_any()


def _check_seal(files: FoldFiles, fold: Fold, wider: Fold, faults: Faults) -> None:
    path, seal = files.statistics(fold.name), files.seal(fold.name)
    if not seal.exists():
        faults.add(str(path), "no record of what it was computed from", f"{seal}", AGAIN)
        return
    scaling = files.normaliser(fold.name)
    if read_json(seal).get("identity") != _identity_of_statistics(fold, wider, scaling):
        faults.add(
            str(path),
            "statistics that were changed, or are of other cells or days than train in "
            f"{files.cells(fold.name)} and {files.pretraining_cells(fold.name)}",
            "those that the stats stage computed from these cells",
            AGAIN,
        )


def check_encoders(files: FoldFiles, encoders: Path) -> None:
    """Raise `InputError` for pretrained encoders (`encoders`/FOLD) of other folds than those in the
    run folder.

    A checkpoint that does not say what it was pretrained on was not pretrained here.
    """
    faults = Faults()
    for name in files.names():
        folder = encoders / name
        path, about = files.pretraining_cells(name), folder / "data.json"
        # Loading tells of a folder that holds no checkpoint.
        own = read_json(about).get("fold") if about.exists() else None
        if own is not None and own != fold_identity(Fold.load(path)):
            faults.add(
                str(folder), f"an encoder pretrained on other cells or days than {path} has",
                "one of that fold",
                "Run `stefaland pretrain CONFIG --restart`, then the stages after it.",
            )  # fmt: skip
    faults.raise_if_any()


def check_heldout(files: FoldFiles, stores: Iterable[tuple[str, Path]]) -> None:
    """Raise `InputError` for predictions (fold's name, store) of a fold that has changed since."""
    faults = Faults()
    known = {name: fold_identity(files.fold(name)) for name in files.names()}
    for name, path in stores:
        # Reading them tells of stores that are not there.
        own = open_cube(path).attrs.get("fold") if path.exists() else None
        if own is not None and own != known[name]:
            faults.add(
                str(path), f"predictions of a model of other cells or days than "
                f"{files.cells(name)} has", "those of that fold",
                "Run `stefaland finetune CONFIG --restart`, then the stages after it.",
            )  # fmt: skip
    faults.raise_if_any()
