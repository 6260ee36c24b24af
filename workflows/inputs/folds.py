"""Folds of a run, made on the target's cells.

Downstream: carried_folds.py carries them over to the cells that pretrain, checked_folds.py reads
them back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, InputError, bad_input
from stefaland.data.cell_data import period_steps
from stefaland.folds.split import Fold, Locations, make_folds
from workflows.run import Run


def fold_names(run: Run) -> list[str]:
    """Names of the run's folds, in a fixed order; `InputError` where none was made."""
    names = sorted(path.stem for path in (run.folder / "folds").glob("*.json"))
    if not names:
        raise bad_input(str(run.folder / "folds"), "no fold", "the stats stage to have run")
    return names


def locations(table: xr.Dataset) -> Locations:
    """Ids, places and labels of a labelled table."""
    return Locations(
        table["cell"].values.astype(np.int64),
        np.stack([table["lon"].values, table["lat"].values], 1),
        table["group"].values,
        table["region"].values,
    )


def run_folds(run: Run, table: xr.Dataset) -> list[Fold]:
    """The configured folds over a labelled table's cells; `table` needs `time` for periods.

    Raises `InputError` for every leak, and for periods that the time axis or a window does not fit.
    """
    settings = run.config.folds
    periods = {f"{part}_period": period for part, period in settings.periods.items()}
    if periods:
        _check_lengths(run, table["time"].values)
    return make_folds(
        settings.kind,
        locations(table),
        k=settings.k,
        seed=settings.seed,
        validation_share=settings.validation_share,
        buffer_km=settings.buffer_km,
        block_deg=settings.block_deg,
        min_cells=settings.min_cells,
        regions=settings.regions.folds or None,
        warmup_days=warmup_days(run, table),
        **periods,
    )


def warmup_days(run: Run, table: xr.Dataset) -> int:
    """Days that a prediction reads before the test period; 0 where no period is held out."""
    if not run.config.folds.periods:
        return 0
    time = table["time"].values
    longest = np.diff(time).max() / np.timedelta64(1, "D") if len(time) > 1 else 1.0
    return math.ceil(run.config.finetune.warmup_steps * longest)


def _check_lengths(run: Run, time: np.ndarray) -> None:
    """`InputError` for periods outside the time axis, or shorter than the window they must hold."""
    config = run.config
    faults = Faults()
    window = max(config.pretrain.window, config.finetune.window)
    for part, period in config.folds.periods.items():
        where = f"folds.{part}_period"
        try:
            steps = period_steps(time, period)
        except InputError as error:
            faults.faults += [replace(fault, where=where) for fault in error.faults]
            continue
        length, need = steps.stop - steps.start, window
        if part == "test":
            # Windows of the test begin in the warm-up before it.
            length += min(config.finetune.warmup_steps, steps.start)
            need = config.finetune.window
        if length < need:
            faults.add(
                where, f"{length} time steps", f"at least {need}, the length of a window",
                "Lengthen the period, or shorten pretrain.window and finetune.window.",
            )  # fmt: skip
    faults.raise_if_any()


def with_target(fold: Fold, known: Mapping[str, np.ndarray]) -> Fold:
    """`fold` with the cells alone whose ids are `known` to have a target in their part's period."""

    def kept(part: str, ids: np.ndarray) -> np.ndarray:
        return ids[np.isin(ids, known[part])]

    return replace(
        fold,
        train=kept("train", fold.train),
        validation=kept("validation", fold.validation),
        test=kept("test", fold.test),
    )
