"""A trained network of an ensemble, with everything that its predictions need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import nn

from pipeline.core.errors import bad_input
from pipeline.core.settings import validated
from stefaland.checkpoints.checkpoint import load_checkpoint, settings_of, stored_normaliser
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.model.mae import StefaLand
from stefaland.prediction.calibration import Calibration, identity_calibration
from stefaland.tasks import TaskName


@dataclass(frozen=True, kw_only=True)
class Member:
    """A trained network with everything that its predictions need."""

    model: nn.Module
    """Network from a `Batch` to a `Prediction` [B, T, O], normalised."""
    normaliser: Normaliser
    forcing_names: tuple[str, ...]
    static_names: tuple[str, ...]
    target_names: tuple[str, ...]
    window: int
    warmup_steps: int = 0
    overlap_steps: int = 0
    """Number of time steps over which windows of a prediction fade into each other."""
    cyclic: bool = False
    categorical_names: tuple[str, ...] = ()
    hidden_names: tuple[str, ...] = ()
    """Inputs of the encoder that the training lacked: they are missing in all cells."""
    calibration: Calibration = field(default_factory=Calibration)
    """Calibration learnt from validation cells."""
    ranges: Mapping[str, tuple[float, float]] | None = None
    """Physical range of each input over the training cells of the member."""
    mc_samples: int = 0
    """Number of draws of MC dropout; 0 predicts once, without dropout."""
    task: str = "regression"

    def inputs(self, data: CellData) -> CellData:
        """The table with the network's variables; raises `InputError` for absent ones."""
        return data.selected(
            self.forcing_names, self.static_names, self.categorical_names, self.hidden_names
        )

    def uncalibrated(self) -> Member:
        """The same network without calibration."""
        has_quantiles = self.calibration.quantile_shift is not None
        plain = identity_calibration(len(self.target_names), has_quantiles)
        return replace(self, calibration=plain)


def load_member(folder: str | Path, device: torch.device | str = "cpu") -> Member:
    """A finetuned network or a baseline network, ready for `predict_cells`.

    Raises `InputError` for a folder that holds neither, for a network without a target, and for a
    `data.json` that lacks what a prediction needs.
    """
    model, stored = load_checkpoint(folder)
    if isinstance(model, StefaLand):
        raise bad_input(str(folder), "a network without a target", "a finetuned network")
    variables = settings_of(model)["model"]
    known = validated(_Stored, stored, str(Path(folder) / "data.json"))
    normaliser = stored_normaliser(folder, stored)
    normaliser.require((*variables.forcings, *variables.statics, *known.targets), str(folder))
    return Member(
        model=model.to(device).eval(),
        normaliser=normaliser,
        forcing_names=tuple(variables.forcings),
        static_names=tuple(variables.statics),
        categorical_names=tuple(getattr(variables, "categorical", ())),
        hidden_names=known.hidden,
        target_names=known.targets,
        window=known.window,
        warmup_steps=known.warmup_steps,
        overlap_steps=known.overlap_steps,
        cyclic=known.cyclic,
        calibration=Calibration.from_dict(stored),
        ranges=known.ranges,
        mc_samples=known.mc_samples,
        task=known.task,
    )


class _Stored(BaseModel):
    """The part of a checkpoint's `data.json` that a member needs.

    Older files lack the fields with a default.
    """

    targets: tuple[str, ...]
    window: int
    warmup_steps: int
    cyclic: bool
    ranges: dict[str, tuple[float, float]]
    spread_factor: tuple[float, ...] | None = None
    quantile_shift: tuple[tuple[float, ...], ...] | None = None
    temperature: float | None = None
    overlap_steps: int = 0
    mc_samples: int = 0
    task: TaskName = "regression"
    hidden: tuple[str, ...] = ()
