"""A checkpoint made elsewhere as the pretrained encoder of every fold: `pretrain.from_checkpoint`.

The check stage compares it with the config, the pretrain stage copies it with its scaler, and the
scorecard and the report carry its caveats.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.core.units import linear_conversion
from pipeline.core.written.references import as_written
from stefaland.checkpoints.checkpoint import (
    CONFIG,
    DATA,
    check_compatible,
    load_checkpoint,
    load_encoder,
    save_checkpoint,
    stored_normaliser,
)
from stefaland.config import ModelConfig
from stefaland.data.batch import Batch
from stefaland.data.normalise import Normaliser
from stefaland.distributed import barrier, is_main
from stefaland.folds.split import Fold
from stefaland.model.mae import StefaLand
from workflows.inputs.encoder_inputs import hidden_inputs, never_absent
from workflows.inputs.pretraining_cells import PretrainingCells, check_seen, records

logger = logging.getLogger(__name__)

FAR = 8.0
"""Maximum distance of the run's mean of a forcing from the checkpoint's, in the checkpoint's
standard deviations; beyond it the units must differ. Static attributes are not compared, because
those of a region may be as far from those of the globe."""
UNKNOWN = (
    "An encoder cannot read variables that it was not pretrained with, and neither can the adapter "
    "on it: leave them out of inputs, or pretrain with them (`pretrain.also`)."
)
SEEN = (
    "Hold out other cells, take an encoder that was pretrained without these, or set "
    "pretrain.seen_cells: warn; the scorecard then states it."
)
WITHOUT = (
    "The encoder was never pretrained without these: add them to inputs, use one that was "
    "pretrained on cubes without them (`pretrain.also`), or set pretrain.hide_absent: true."
)
WIDE = 50.0
"""Maximum ratio of a variable's standard deviation in the run to that in the checkpoint."""


@dataclass(frozen=True)
class EncoderRequirements:
    """Requirements of a run on an encoder that it did not pretrain."""

    forcings: tuple[str, ...]
    statics: Sequence[str]
    """Names, or patterns that are matched with the encoder's names."""
    units: Mapping[str, str]
    """Unit of each canonical variable, by name."""
    window: int
    """Number of time steps that the encoder must accept."""
    hide_absent: bool = False
    """Whether an encoder that was never pretrained without an absent forcing is used all the same.
    """


def fold_checkpoint(checkpoint: Path, fold: str) -> Path:
    """The folder with the encoder of a fold: `checkpoint` itself, or its subfolder of that name."""
    return checkpoint if (checkpoint / CONFIG).is_file() else checkpoint / fold


def check_given_encoder(
    checkpoint: Path, pretrained: Path, required: EncoderRequirements, faults: Faults
) -> list[str]:
    """Compare a checkpoint with the config, before any cube exists; adds a fault for each mismatch.

    `pretrained` is the folder to which the run writes its encoders. Returns a note on inputs of the
    encoder that the run lacks, if there are any.
    """
    if pretrained.resolve() in (checkpoint.resolve(), *checkpoint.resolve().parents):
        # The pretrain stage clears its folder before it reads the checkpoint.
        faults.add("pretrain.from_checkpoint", f"{checkpoint}, which this run writes itself",
                   "a folder outside this run", "Rename the run, or copy the folder.",
                   )  # fmt: skip
        return []
    folders = [checkpoint] if (checkpoint / CONFIG).is_file() else [
        path.parent for path in sorted(checkpoint.glob(f"*/{CONFIG}"))
    ]  # fmt: skip
    if not folders:
        faults.add("pretrain.from_checkpoint", f"{checkpoint}, without a {CONFIG}",
                   "a pretrained checkpoint, or a folder with one for each fold",
                   "Import other formats with `stefaland import-reference`.")  # fmt: skip
    opened = [_collect(faults, partial(_open, folder, required)) for folder in folders]
    hidden = [one.hidden for one in opened if one is not None]
    notes = {f"pretrain.from_checkpoint: {hidden_note(names)}" for names in hidden if names}
    return sorted(notes)


@dataclass(frozen=True)
class HeldOut:
    """A fold of the run, which the pretraining of a given encoder must not have seen."""

    fold: Fold
    table: xr.Dataset
    """The labelled cells of the fold."""
    own: PretrainingCells
    """The cells of `pretrain.cube` with which this run would pretrain on the fold itself."""
    only_warn: bool = False
    """Whether an encoder that has seen held-out cells is used all the same."""


def take_over(
    folder: Path, target: Path, required: EncoderRequirements, statistics: Normaliser,
    held_out: HeldOut,
) -> dict[str, Any]:  # fmt: skip
    """Copy the encoder of `folder`, its weights and scaler, to `target` as that of a fold.

    `statistics` are those of the fold's training cells. Returns the origin of the encoder. Raises
    `InputError` with all variables, units and statistics that do not fit the run, and with the
    cells that pretrained it and are held out here.
    """
    given = _open(folder, required, statistics)
    data = given.data
    origin = {
        "folder": as_written(str(folder)),
        "source": data.get("source"),
        "run": data.get("run"),
        **({"hidden": list(given.hidden)} if given.hidden else {}),
        **_seen(folder, data, held_out),
    }
    # The folds of another run are not those of this run.
    kept = {k: value for k, value in data.items() if k not in ("fold", "further_folds")}
    if is_main():
        save_checkpoint(target, given.model, {**kept, "taken_from": origin})
    barrier()
    return {"taken_from": origin}


def encoder_settings(folder: Path) -> ModelConfig:
    """The network settings of a pretrained encoder."""
    model, _ = load_encoder(folder)
    return model.config


def caveats(name: str, pretrained: Path) -> list[str]:
    """Caveats of scores with an encoder of this name that the run did not pretrain, one sentence
    each.

    `pretrained` is the folder to which the encoders were copied.
    """
    stored = [load_checkpoint(path.parent)[1] for path in sorted(pretrained.glob(f"*/{CONFIG}"))]
    origins = [data.get("taken_from", {}) for data in stored]
    taken = f"StefaLand's encoder was not pretrained by this run but taken from {name}. "
    too_good = (
        "its scores may be too good, and so may its lead over the models that this run trained."
    )
    if not all("cells" in origin for origin in origins):
        saw = "Its pretraining may have seen locations and days that are held out here: "
    elif seen := list(dict.fromkeys(text for origin in origins for text in origin.get("seen", ()))):
        saw = f"Its pretraining has seen held-out ground ({'; '.join(seen)}): "
    else:
        saw, too_good = "None of the cells that pretrained it, by its record, is held out here.", ""
    sentences = [taken + saw + too_good]
    hidden = {tuple(origin.get("hidden", ())) for origin in origins}
    sentences += sorted(f"It has {hidden_note(names)}." for names in hidden if names)
    if not all("units" in data for data in stored):
        sentences.append("That checkpoint does not record its units: its training statistics were "
                         "only found to be near those of this run.")  # fmt: skip
    return sentences


def _seen(folder: Path, data: Mapping[str, Any], held_out: HeldOut) -> dict[str, Any]:
    """Number of the recorded cells of a pretraining, and those that are held out; empty without."""
    seen = records(data, str(folder / DATA))
    if not seen:
        return {}
    found: dict[str, Any] = {"cells": sum(cells.count for cells in seen)}
    # An encoder that another run pretrained on this very fold has left out what is held out.
    others = [cells for cells in seen if not cells.are(held_out.own)]
    try:
        check_seen(folder.name, held_out.fold, held_out.table, others, SEEN)
    except InputError as error:
        if not held_out.only_warn:
            raise
        found["seen"] = [f"{fault.where}: {fault.found}" for fault in error.faults]
        for text in found["seen"]:
            logger.warning("%s", text)
    return found


def hidden_note(names: Sequence[str]) -> str:
    """A phrase on the inputs of an encoder that a run lacks."""
    return f"inputs that this run lacks, which are hidden from it: {', '.join(names)}"


@dataclass(frozen=True)
class _Given:
    """A given encoder that fits the run."""

    model: StefaLand
    data: dict[str, Any]
    """Content of its `data.json`."""
    hidden: tuple[str, ...]
    """Its inputs that the run lacks."""


def _collect(faults: Faults, check: Callable[[], Any]) -> Any:
    try:
        return check()
    except InputError as error:
        faults.faults += [fault for fault in error.faults if fault not in faults.faults]
        return None


def _open(
    folder: Path, required: EncoderRequirements, statistics: Normaliser | None = None
) -> _Given:
    """The encoder and its `data.json`; `InputError` with everything that does not fit the run.

    `statistics` is None before they have been computed.
    """
    model, data = load_encoder(folder)
    faults, known = Faults(), model.config
    statics = tuple(_matching(required.statics, known.statics))
    hidden = hidden_inputs(known, required.forcings, statics)
    wanted = {"forcings": required.forcings, "statics": statics}
    _collect(
        faults,
        lambda: check_variables(folder, known, data, wanted, hide_absent=required.hide_absent),
    )
    inputs = (*known.forcings, *known.statics)
    units = {name: required.units[name] for name in inputs if name in required.units}
    _check_units(folder, data.get("units", {}), units, faults)
    scaler = _collect(faults, lambda: stored_normaliser(folder, data))
    if scaler is not None:
        _collect(faults, lambda: scaler.require(inputs, str(folder / DATA)))
        if statistics is not None:
            _check_near(folder, scaler, statistics, known.forcings, units, faults)
    _collect(faults, lambda: _try_window(model, required.window))
    faults.raise_if_any()
    return _Given(model, data, hidden)


def check_variables(
    folder: Path, known: ModelConfig, data: Mapping[str, Any],
    wanted: Mapping[str, tuple[str, ...]], *, hide_absent: bool = False,
) -> None:  # fmt: skip
    """Raise `InputError` for variables of a run that an encoder does not know.

    Those that the encoder alone has are hidden from it, unless it was never pretrained without one
    of them and the run does not ask for that.
    """
    hidden = hidden_inputs(known, *wanted.values())
    refused = () if hide_absent else never_absent(hidden, known, data)
    allowed = {*hidden} - {*refused}
    names = {
        "forcings": tuple(name for name in known.forcings if name not in allowed),
        "statics": tuple(n for n in (*known.statics, *known.categorical) if n not in allowed),
    }
    check_compatible(folder, names, wanted, WITHOUT if refused else UNKNOWN)


def _matching(patterns: Sequence[str], known: Sequence[str]) -> list[str]:
    """The known names that match the patterns, and the patterns that match none."""
    chosen = [[n for n in known if fnmatchcase(n, pattern)] or [pattern] for pattern in patterns]
    return list(dict.fromkeys(name for names in chosen for name in names))


def _check_units(
    folder: Path, stored: Mapping[str, str], required: Mapping[str, str], faults: Faults
) -> None:
    for name, unit in required.items():
        if name not in stored:
            continue
        try:
            same = linear_conversion(stored[name], unit) == (1.0, 0.0)
        except ValueError:
            same = stored[name] == unit
        if not same:
            faults.add(f"{folder / DATA}: units of {name}", f'"{stored[name]}"', f'"{unit}"',
                       "Import it again with statistics in this unit.")  # fmt: skip


def _check_near(
    folder: Path,
    scaler: Normaliser,
    statistics: Normaliser,
    forcings: Sequence[str],
    units: Mapping[str, str],
    faults: Faults,
) -> None:
    """Add a fault for each variable whose two statistics differ so much that units must differ."""
    for name, stored in scaler.scalings.items():
        seen = statistics.scalings.get(name)
        if seen is None:
            continue
        mean = seen.inverse(torch.zeros((), dtype=torch.float64))
        away = abs(float(stored.forward(mean)))
        is_constant = seen.minimum is not None and seen.minimum == seen.maximum
        ratio = 1.0 if is_constant or stored.transform != seen.transform else seen.std / stored.std
        if (name in forcings and not away <= FAR) or not ratio <= WIDE:
            faults.add(
                f"{folder / DATA}: statistics of {name}",
                f"mean {stored.mean:.6g} and std {stored.std:.6g}, transform {stored.transform}",
                f"such as this run's {seen.mean:.6g} and {seen.std:.6g}, {seen.transform}, in "
                f'"{units.get(name, "")}"',
                "Its statistics are of other units or another variable.",
            )  # fmt: skip


def _try_window(model: StefaLand, steps: int) -> None:
    """Encode an empty batch; raises `InputError` where the network cannot take so many steps."""
    known = model.config
    empty = Batch(
        torch.full((1, steps, len(known.forcings)), torch.nan),
        torch.full((1, len(known.statics)), torch.nan),
        categorical=torch.full((1, len(known.categorical)), -1),
        day_of_year=torch.zeros(1, steps),
        lonlat=torch.zeros(1, 2),
    )
    with torch.no_grad():
        model.encode(empty)
