"""A checkpoint made elsewhere as the pretrained encoder of every fold: `pretrain.from_checkpoint`.

Upstream: an imported folder, or another run's. Downstream: check.py compares it with the config,
pretrain.py takes it over with its own scaler, score.py and report.py say what that means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pipeline.core.errors import Faults, InputError
from pipeline.core.units import linear_conversion
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
from stefaland.model.mae import StefaLand

FAR = 8.0
"""Standard deviations of the checkpoint's between two means of one forcing, above which the units
must differ. Static attributes of a region may be as far from those of the globe."""
WIDE = 50.0
"""Times that a variable may vary more in the run than in the checkpoint's training."""


@dataclass(frozen=True)
class Wanted:
    """What a run wants of an encoder that it did not pretrain."""

    forcings: tuple[str, ...]
    statics: Sequence[str]
    """Names, or patterns that choose of the encoder's."""
    units: Mapping[str, str]
    """The unit of each canonical variable."""
    window: int
    """Time steps that it must take."""


def given_checkpoint(given: Path, fold: str) -> Path:
    """The folder that stands for pretraining on the fold: the given one, or that of its fold."""
    return given if (given / CONFIG).is_file() else given / fold


def check_given(given: Path, pretrained: Path, wanted: Wanted, faults: Faults) -> None:
    """Compare what is given with the config, before any cube is there.

    `pretrained` is the folder of the run's own encoders.
    """
    own = pretrained.resolve()
    if own in (given.resolve(), *given.resolve().parents):
        # The stage clears its folder before it reads what is given.
        faults.add("pretrain.from_checkpoint", f"{given}, which this run writes itself",
                   "a folder outside this run", "Name the run otherwise, or copy the folder.",
                   )  # fmt: skip
        return
    folders = [given] if (given / CONFIG).is_file() else [
        path.parent for path in sorted(given.glob(f"*/{CONFIG}"))
    ]  # fmt: skip
    if not folders:
        faults.add("pretrain.from_checkpoint", f"{given}, without a {CONFIG}",
                   "a pretrained checkpoint, or a folder with one for each fold",
                   "Other formats come in by `stefaland import-reference`.")  # fmt: skip
    for folder in folders:
        _collect(faults, partial(_open, folder, wanted))


def take_over(folder: Path, target: Path, wanted: Wanted, own: Normaliser) -> dict[str, Any]:
    """Write the encoder of `folder` to `target` as a fold's pretrained one, weights and scaler as
    they are.

    `own` are the statistics of the fold's training cells. Raises `InputError` with all variables,
    units and statistics that do not fit the run.
    """
    model, data = _open(folder, wanted, own)
    origin = {"folder": str(folder), "source": data.get("source"), "run": data.get("run")}
    # What another run held out says nothing of this one's folds.
    kept = {key: value for key, value in data.items() if key != "fold"}
    if is_main():
        save_checkpoint(target, model, {**kept, "taken_from": origin})
    barrier()
    return {"taken_from": origin}


def encoder_settings(folder: Path) -> ModelConfig:
    """The network of a pretrained encoder."""
    model, _ = load_encoder(folder)
    return model.config


def caveats(given: Path, pretrained: Path) -> list[str]:
    """What a reader of the scores must know of an encoder that this run did not pretrain.

    `pretrained` is the folder of the run's own encoders, where those given were taken over.
    """
    told = [
        f"StefaLand's encoder was not pretrained by this run but taken from {given.name}. Its "
        "pretraining may have seen places and days that are held out here: its scores may be too "
        "good, and so may its lead over the models that this run trained."
    ]
    stored = [load_checkpoint(path.parent)[1] for path in sorted(pretrained.glob(f"*/{CONFIG}"))]
    if not all("units" in data for data in stored):
        told.append("That checkpoint does not tell its units: its training statistics were only "
                    "seen to be near those of this run.")  # fmt: skip
    return told


def _collect(faults: Faults, check: Callable[[], Any]) -> Any:
    try:
        return check()
    except InputError as error:
        faults.faults += [fault for fault in error.faults if fault not in faults.faults]
        return None


def _open(
    folder: Path, wanted: Wanted, own: Normaliser | None = None
) -> tuple[StefaLand, dict[str, Any]]:
    """The encoder and its `data.json`; `InputError` with all that does not fit the run.

    `own` None stands for statistics not known yet.
    """
    model, data = load_encoder(folder)
    faults, known = Faults(), model.config
    names = {"forcings": known.forcings, "statics": (*known.statics, *known.categorical)}
    statics = tuple(_matching(wanted.statics, known.statics))
    _collect(
        faults,
        lambda: check_compatible(folder, names, {"forcings": wanted.forcings, "statics": statics}),
    )
    inputs = (*known.forcings, *known.statics)
    units = {name: wanted.units[name] for name in inputs if name in wanted.units}
    _check_units(folder, data.get("units", {}), units, faults)
    scaler = _collect(faults, lambda: stored_normaliser(folder, data))
    if scaler is not None:
        _collect(faults, lambda: scaler.require(inputs, str(folder / DATA)))
        if own is not None:
            _check_near(folder, scaler, own, known.forcings, units, faults)
    _collect(faults, lambda: _try_window(model, wanted.window))
    faults.raise_if_any()
    return model, data


def _matching(patterns: Sequence[str], known: Sequence[str]) -> list[str]:
    """The known names that patterns choose, and patterns that choose none."""
    chosen = [[n for n in known if fnmatchcase(n, pattern)] or [pattern] for pattern in patterns]
    return list(dict.fromkeys(name for names in chosen for name in names))


def _check_units(
    folder: Path, stored: Mapping[str, str], wanted: Mapping[str, str], faults: Faults
) -> None:
    for name, unit in wanted.items():
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
    own: Normaliser,
    forcings: Sequence[str],
    units: Mapping[str, str],
    faults: Faults,
) -> None:
    """Add a fault for statistics so far from the run's own that they must be of other units."""
    for name, given in scaler.scalings.items():
        seen = own.scalings.get(name)
        if seen is None:
            continue
        mean = seen.inverse(torch.zeros((), dtype=torch.float64))
        away = abs(float(given.forward(mean)))
        is_constant = seen.minimum is not None and seen.minimum == seen.maximum
        ratio = 1.0 if is_constant or given.transform != seen.transform else seen.std / given.std
        if (name in forcings and not away <= FAR) or not ratio <= WIDE:
            faults.add(
                f"{folder / DATA}: statistics of {name}",
                f"mean {given.mean:.6g} and std {given.std:.6g}, transform {given.transform}",
                f"such as this run's {seen.mean:.6g} and {seen.std:.6g}, {seen.transform}, in "
                f'"{units.get(name, "")}"',
                "Its statistics are of other units or another variable.",
            )  # fmt: skip


def _try_window(model: StefaLand, steps: int) -> None:
    """One pass over nothing, which raises where the network cannot take so many time steps."""
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
