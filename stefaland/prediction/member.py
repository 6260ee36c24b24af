"""A trained network of an ensemble with what its predictions need."""

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
from stefaland.data.normalise import Normaliser
from stefaland.model.mae import StefaLand
from stefaland.prediction.calibration import Calibration, nothing_learnt
from stefaland.tasks import TaskName


@dataclass(frozen=True, kw_only=True)
class Member:
    """One trained network and all that is needed to use it."""

    model: nn.Module
    """`Batch` → prediction with `mean` and `scale` (or None) [B, T, O], normalised."""
    normaliser: Normaliser
    forcing_names: tuple[str, ...]
    static_names: tuple[str, ...]
    target_names: tuple[str, ...]
    window: int
    warmup_steps: int = 0
    cyclic: bool = False
    categorical_names: tuple[str, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    """What validation cells say of its uncertainty."""
    ranges: Mapping[str, tuple[float, float]] | None = None
    """Physical range of each input over the cells that trained the member."""
    mc_samples: int = 0
    """Draws of MC dropout; 0 asks the network once."""
    task: str = "regression"

    def uncalibrated(self) -> Member:
        """The same network, with nothing learnt from validation cells."""
        has_quantiles = self.calibration.quantile_shift is not None
        plain = nothing_learnt(len(self.target_names), has_quantiles)
        return replace(self, calibration=plain)


def load_member(folder: str | Path, device: torch.device | str = "cpu") -> Member:
    """A finetuned network or a baseline network, ready for `predict_cells`.

    Raises `InputError` for a folder that holds neither, a network without a target, or a
    `data.json` without what prediction needs.
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
        target_names=known.targets,
        window=known.window,
        warmup_steps=known.warmup_steps,
        cyclic=known.cyclic,
        calibration=Calibration.from_dict(stored),
        ranges=known.ranges,
        mc_samples=known.mc_samples,
        task=known.task,
    )


class _Stored(BaseModel):
    """What a member needs of a checkpoint's `data.json`; older ones lack what has a default."""

    targets: tuple[str, ...]
    window: int
    warmup_steps: int
    cyclic: bool
    ranges: dict[str, tuple[float, float]]
    spread_factor: tuple[float, ...] | None = None
    quantile_shift: tuple[tuple[float, ...], ...] | None = None
    temperature: float | None = None
    mc_samples: int = 0
    task: TaskName = "regression"
