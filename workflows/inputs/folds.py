"""The folds of a run, made on the cells with a target, and the files that hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, InputError, bad_input
from pipeline.core.files import read_json
from stefaland.data.cell_data import period_steps
from stefaland.data.normalise import Normaliser
from stefaland.folds.split import Fold, Locations, make_folds
from workflows.config.folds import FoldSettings, Period


@dataclass(frozen=True)
class FoldFiles:
    """Files of all folds in a run folder: their cells and days, and their statistics."""

    folder: Path
    """The run folder."""

    @property
    def patterns(self) -> list[Path]:
        """Patterns of all files of all folds."""
        return [
            self.cells("*"), self.pretraining_cells("*"), self.pretraining_cells("*", "*"),
            self.statistics("*"), self.seal("*"),
        ]  # fmt: skip

    def names(self) -> list[str]:
        """Names of the folds, sorted; `InputError` where there are none."""
        folder = self.folder / "folds"
        names = sorted(path.stem for path in folder.glob("*.json"))
        if not names:
            hint = "Run `stefaland run CONFIG --until stats`."
            raise bad_input(str(folder), "no fold", "at least one", hint)
        return names

    def cells(self, name: str) -> Path:
        """File of a fold's cells with a target: those that train, validate and test."""
        return self.folder / "folds" / f"{name}.json"

    def pretraining_cells(self, name: str, cube: str = "") -> Path:
        """File of the same fold over the cells that pretrain, or over those of a further cube."""
        return self.folder / "folds" / "pretrain" / cube / f"{name}.json"

    def statistics(self, name: str) -> Path:
        """File of the statistics of a fold's training cells."""
        return self.folder / "stats" / f"{name}.json"

    def seal(self, name: str) -> Path:
        """File that records what a fold's statistics were computed from."""
        return self.folder / "stats" / "training" / f"{name}.json"

    def fold(self, name: str) -> Fold:
        """The fold of that name, over the cells with a target."""
        return Fold.load(self.cells(name))

    def pretraining_fold(self, name: str, cube: str = "") -> Fold:
        """The fold of that name, over the cells that pretrain, or over those of a further cube."""
        return Fold.load(self.pretraining_cells(name, cube))

    def normaliser(self, name: str) -> Normaliser:
        """The normaliser with a fold's statistics."""
        return Normaliser.from_dict(read_json(self.statistics(name)))


@dataclass(frozen=True)
class WindowSteps:
    """Lengths, in time steps, of the windows that must fit into a fold's periods."""

    pretrain: int
    finetune: int
    warmup: int
    """Number of first steps of a finetuning window without a prediction."""


def locations(table: xr.Dataset) -> Locations:
    """Ids, coordinates and labels of the cells of a labelled table."""
    return Locations(
        table["cell"].values.astype(np.int64),
        np.stack([table["lon"].values, table["lat"].values], 1),
        table["group"].values,
        table["region"].values,
    )


def run_folds(table: xr.Dataset, settings: FoldSettings, windows: WindowSteps) -> list[Fold]:
    """The configured folds over a labelled table's cells; `table` needs `time` for periods.

    Raises `InputError` for every leak, and for periods that the time axis or a window does not fit.
    """
    periods = {f"{part}_period": period for part, period in settings.periods.items()}
    if periods:
        _check_lengths(settings.periods, windows, table["time"].values)
    return make_folds(
        settings.kind,
        locations(table),
        k=settings.k,
        seed=settings.seed,
        validation_share=settings.validation_share,
        buffer_km=settings.buffer_km,
        block_deg=settings.block_deg,
        min_cells=settings.min_cells,
        validation_by=settings.validation_by,
        regions=settings.regions.folds or None,
        warmup_days=warmup_days(table, settings, windows.warmup),
        **periods,
    )


def warmup_days(table: xr.Dataset, settings: FoldSettings, warmup_steps: int) -> int:
    """Number of days read before the test period; 0 where no period is held out."""
    if not settings.periods:
        return 0
    time = table["time"].values
    longest = np.diff(time).max() / np.timedelta64(1, "D") if len(time) > 1 else 1.0
    return math.ceil(warmup_steps * longest)


def _check_lengths(periods: Mapping[str, Period], windows: WindowSteps, time: np.ndarray) -> None:
    """Raise `InputError` for periods outside the time axis or shorter than a window."""
    faults = Faults()
    for part, period in periods.items():
        where = f"folds.{part}_period"
        try:
            steps = period_steps(time, period)
        except InputError as error:
            faults.faults += [replace(fault, where=where) for fault in error.faults]
            continue
        length, need = steps.stop - steps.start, max(windows.pretrain, windows.finetune)
        if part == "test":
            # Windows of the test period begin in the warm-up before it.
            length += min(windows.warmup, steps.start)
            need = windows.finetune
        if length < need:
            faults.add(
                where, f"{length} time steps", f"at least {need}, the length of a window",
                "Lengthen the period, or shorten pretrain.window and finetune.window.",
            )  # fmt: skip
    faults.raise_if_any()


def without_sparse(
    table: xr.Dataset, targets: Sequence[str], settings: FoldSettings
) -> xr.Dataset:  # fmt: skip
    """The table without the series of several targets that have too few values in a period.

    With `min_observed`, a target is missing (NaN) at a cell in each period of the folds of which
    it has fewer values; a cell with too few of all is in no part. A single target decides the
    parts alone.
    """
    if not settings.min_observed or len(targets) < 2:
        return table
    made, periods = {}, list[Period | None](settings.periods.values()) or [None]
    for name in targets:
        if "time" not in table[name].dims:
            continue
        made[name] = table[name].copy()
        for period in periods:
            when = {"time": period_steps(table["time"].values, period)}
            part = made[name][when]
            made[name][when] = part.where(part.notnull().mean("time") >= settings.min_observed)
    return table.assign(made)


def with_target(fold: Fold, known: Mapping[str, np.ndarray]) -> Fold:
    """The fold restricted to cells with a target in the period of their part.

    `known` has the ids of such cells by part.
    """

    def kept(part: str, ids: np.ndarray) -> np.ndarray:
        return ids[np.isin(ids, known[part])]

    return replace(
        fold,
        train=kept("train", fold.train),
        validation=kept("validation", fold.validation),
        test=kept("test", fold.test),
    )
