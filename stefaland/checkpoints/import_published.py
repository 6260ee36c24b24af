"""Import of published PyTorch checkpoints: their tensors as a network and checkpoint of ours.

`published.py` reads the `.pt` file (`{"model_state_dict": …}`, parameters named after variables,
possibly with the prefix `module.`). Tests hold the outputs equal to those of the published code to
1e-5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import Faults, nearest_name
from stefaland.checkpoints.checkpoint import save_checkpoint
from stefaland.checkpoints.published import (
    Reader,
    read_reference,
    reference_config,
    tensor_shapes,
    translate,
)
from stefaland.config import ModelConfig
from stefaland.data.normalise import Normaliser
from stefaland.model.mae import StefaLand


@dataclass(frozen=True)
class ImportReport:
    """Result of an import: settings, and which tensors of the published checkpoint were used."""

    config: ModelConfig
    mapped: int
    """Number of tensors that are in the model."""
    unmapped: tuple[str, ...]
    """Names of the tensors that the model has no counterpart for."""
    notes: tuple[str, ...]

    def __str__(self) -> str:
        left = ", ".join(self.unmapped) if self.unmapped else "none"
        lines = [
            f"mapped {self.mapped} tensors; not mapped: {left}",
            f"forcings: {', '.join(self.config.forcings)}",
            f"statics: {', '.join(self.config.statics)}",
            *self.notes,
        ]
        return "\n".join(lines)


def load_reference(path: str | Path, **settings: Any) -> tuple[StefaLand, ImportReport]:
    """The published checkpoint as our model in evaluation mode, and a report of its tensors.

    `settings` are those of `ModelConfig` that cannot be read from tensors (`n_heads`,
    `static_groups`, `never_masked`, `dropout`, `reference_static_mask`), and the variable lists
    where the checkpoint was trained with another order than that of its tensors. Raises
    `InputError` that lists all missing tensors for a checkpoint of another network.
    """
    reader = Reader(str(path), read_reference(path))
    config = reference_config(reader, settings)
    model = StefaLand(config)
    tensors = translate(reader, config)
    faults = Faults()
    for name, wanted in tensor_shapes(config).items():
        found = tuple(tensors[name].shape) if name in tensors else "no tensor"
        if found != wanted:
            faults.add(f"{path}: {name}", str(found), str(wanted))
    faults.raise_if_any()
    model.load_state_dict(tensors)
    unmapped = tuple(name for name in reader.tensors if name not in reader.used)
    return model.eval(), ImportReport(config, len(reader.used), unmapped, _notes(config))


def _notes(config: ModelConfig) -> tuple[str, ...]:
    heads = f"{config.n_heads} attention heads (unknown from tensors; set n_heads if it had others)"
    if config.reference_static_mask:
        masks = "hidden statics have the published value of the sample's row in the batch"
    else:
        masks = (
            "hidden statics: the published value depends on a sample's row in its batch; the mean "
            "over rows is used instead (set reference_static_mask to keep the rows)"
        )
    return heads, masks


def _normaliser(statistics: Any, names: Sequence[str]) -> Normaliser:
    """The statistics of `names`; `InputError` lists all that are missing or invalid."""
    faults, known = Faults(), Normaliser({})
    with faults.collecting():
        known = Normaliser.from_dict(statistics, "statistics")
    for name in names:
        if isinstance(statistics, Mapping) and name not in statistics:
            faults.add(f"statistics: {name}", "no training statistics", "mean and std",
                       nearest_name(name, statistics))  # fmt: skip
    faults.raise_if_any()
    return known.selected(names)


def _units(units: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """The units of `names`; `InputError` lists all that are missing, unknown or no text."""
    faults = Faults()
    for name in dict.fromkeys([*names, *units]):
        if name not in names:
            hint = nearest_name(name, names)
            faults.add(
                f"units: {name}", "an unknown variable", "a variable of the checkpoint", hint
            )
        elif not isinstance(units.get(name), str):
            faults.add(f"units: {name}", repr(units.get(name))[:80], 'a unit such as "mm/day"')
    faults.raise_if_any()
    return dict(units)


def import_reference(
    path: str | Path,
    folder: str | Path,
    *,
    statistics: Mapping[str, Mapping[str, Any]] | None = None,
    units: Mapping[str, str] | None = None,
    **settings: Any,
) -> ImportReport:
    """Write the published checkpoint as a folder of ours; returns a report of its tensors.

    `statistics` are `{variable: {mean, std, transform}}` of the data it was trained on, which the
    published file does not hold; without them it can be loaded but not finetuned. Raises
    `InputError` as `load_reference` does, and for statistics that lack a variable.
    """
    model, report = load_reference(path, **settings)
    names = (*report.config.forcings, *report.config.statics)
    data: dict[str, Any] = {
        "forcings": list(report.config.forcings),
        "statics": list(report.config.statics),
        "source": f"imported from {Path(path).name}",
    }
    notes = report.notes
    if statistics is not None:
        data["normaliser"] = _normaliser(statistics, names).to_dict()
    else:
        notes = (
            *notes,
            "no statistics: finetuning needs the training means and standard deviations",
        )
    if units is not None:
        data["units"] = _units(units, names)
    save_checkpoint(folder, model, data)
    return ImportReport(report.config, report.mapped, report.unmapped, notes)
