"""A checkpoint made elsewhere as the pretrained encoder of every fold: `pretrain.from_checkpoint`.

The check stage compares it with the config, the pretrain stage copies it with its scaler, and the
scorecard and the report carry its caveats.
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
from stefaland.model.mae import StefaLand

FAR = 8.0
"""Maximum distance of the run's mean of a forcing from the checkpoint's, in the checkpoint's
standard deviations; beyond it the units must differ. Static attributes are not compared, because
those of a region may be as far from those of the globe."""
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


def fold_checkpoint(checkpoint: Path, fold: str) -> Path:
    """The folder with the encoder of a fold: `checkpoint` itself, or its subfolder of that name."""
    return checkpoint if (checkpoint / CONFIG).is_file() else checkpoint / fold


def check_given_encoder(
    checkpoint: Path, pretrained: Path, required: EncoderRequirements, faults: Faults
) -> None:
    """Compare a checkpoint with the config, before any cube exists; adds a fault for each mismatch.

    `pretrained` is the folder to which the run writes its encoders.
    """
    if pretrained.resolve() in (checkpoint.resolve(), *checkpoint.resolve().parents):
        # The pretrain stage clears its folder before it reads the checkpoint.
        faults.add("pretrain.from_checkpoint", f"{checkpoint}, which this run writes itself",
                   "a folder outside this run", "Rename the run, or copy the folder.",
                   )  # fmt: skip
        return
    folders = [checkpoint] if (checkpoint / CONFIG).is_file() else [
        path.parent for path in sorted(checkpoint.glob(f"*/{CONFIG}"))
    ]  # fmt: skip
    if not folders:
        faults.add("pretrain.from_checkpoint", f"{checkpoint}, without a {CONFIG}",
                   "a pretrained checkpoint, or a folder with one for each fold",
                   "Import other formats with `stefaland import-reference`.")  # fmt: skip
    for folder in folders:
        _collect(faults, partial(_open, folder, required))


def take_over(
    folder: Path, target: Path, required: EncoderRequirements, statistics: Normaliser
) -> dict[str, Any]:
    """Copy the encoder of `folder`, its weights and scaler, to `target` as that of a fold.

    `statistics` are those of the fold's training cells. Returns the origin of the encoder. Raises
    `InputError` with all variables, units and statistics that do not fit the run.
    """
    model, data = _open(folder, required, statistics)
    origin = {
        "folder": as_written(str(folder)),
        "source": data.get("source"),
        "run": data.get("run"),
    }
    # The fold of another run is not one of this run.
    kept = {key: value for key, value in data.items() if key != "fold"}
    if is_main():
        save_checkpoint(target, model, {**kept, "taken_from": origin})
    barrier()
    return {"taken_from": origin}


def encoder_settings(folder: Path) -> ModelConfig:
    """The network settings of a pretrained encoder."""
    model, _ = load_encoder(folder)
    return model.config


def caveats(checkpoint: Path, pretrained: Path) -> list[str]:
    """Caveats of scores with an encoder that this run did not pretrain, one sentence each.

    `pretrained` is the folder to which the encoders were copied.
    """
    sentences = [
        f"StefaLand's encoder was not pretrained by this run but taken from {checkpoint.name}. Its "
        "pretraining may have seen locations and days that are held out here: its scores may be "
        "too good, and so may its lead over the models that this run trained."
    ]
    stored = [load_checkpoint(path.parent)[1] for path in sorted(pretrained.glob(f"*/{CONFIG}"))]
    if not all("units" in data for data in stored):
        sentences.append("That checkpoint does not record its units: its training statistics were "
                         "only found to be near those of this run.")  # fmt: skip
    return sentences


def _collect(faults: Faults, check: Callable[[], Any]) -> Any:
    try:
        return check()
    except InputError as error:
        faults.faults += [fault for fault in error.faults if fault not in faults.faults]
        return None


def _open(
    folder: Path, required: EncoderRequirements, statistics: Normaliser | None = None
) -> tuple[StefaLand, dict[str, Any]]:
    """The encoder and its `data.json`; `InputError` with everything that does not fit the run.

    `statistics` is None before they have been computed.
    """
    model, data = load_encoder(folder)
    faults, known = Faults(), model.config
    names = {"forcings": known.forcings, "statics": (*known.statics, *known.categorical)}
    statics = tuple(_matching(required.statics, known.statics))
    _collect(
        faults,
        lambda: check_compatible(
            folder, names, {"forcings": required.forcings, "statics": statics}
        ),
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
    return model, data


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
