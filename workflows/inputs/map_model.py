"""The models of all folds that make a map, as one ensemble: networks or fitted baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from stefaland.baselines.climatology import Climatology
from stefaland.baselines.fitted import FITTED, FittedBaseline, load_fitted, predict_fitted
from stefaland.checkpoints.names import CONFIG
from stefaland.distributed import best_device
from stefaland.prediction.distribution import window_boundaries
from stefaland.prediction.ensemble import load
from stefaland.prediction.member import Member
from stefaland.prediction.predict import predict_tables
from stefaland.prediction.stack import STACK, load_stack
from workflows.inputs.stacked_map import Mapped, StackedMapModel, Tables


@dataclass(frozen=True)
class MapModel:
    """The networks of all folds, or the fitted baselines of all folds, as an equal mixture."""

    networks: Sequence[Member] = ()
    fitted: Sequence[FittedBaseline] = ()

    @property
    def static_names(self) -> tuple[str, ...]:
        """The static attributes that the models read."""
        if self.fitted:
            return self.fitted[0].static_names
        first = self.networks[0]
        return tuple(name for name in first.static_names if name not in first.hidden_names)

    @property
    def has_quantiles(self) -> bool:
        """Whether the prediction has quantiles."""
        shifts = [member.calibration.quantile_shift for member in self.networks]
        return bool(shifts) and all(shift is not None for shift in shifts)

    def boundaries(self, n_steps: int) -> list[int]:
        """Steps of a series at which a window begins or ends to count; baselines have none."""
        return window_boundaries(self.networks, n_steps)

    def predictor(
        self, task: str, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> Tables:
        """The function that predicts tables of cells; device and type are those of networks."""
        if self.fitted:
            return partial(predict_fitted, self.fitted)
        return partial(
            predict_tables, self.networks, task=task, batch_size=batch_size, device=device,
            dtype=dtype,
        )  # fmt: skip


def load_map_model(folders: Sequence[Path]) -> Mapped:
    """The model of each fold's folder, with all members of ensembles, on the best device.

    Raises `InputError` where one cannot be read.
    """
    if all((folder / STACK).exists() for folder in folders):
        stacks = [load_stack(folder).used for folder in folders]
        models = [[load_map_model([beside(folder, name)]) for name in stack.models]
                  for folder, stack in zip(folders, stacks, strict=True)]  # fmt: skip
        return StackedMapModel(stacks, models)
    if all((folder / FITTED).exists() for folder in folders):
        return MapModel(fitted=[load_fitted(folder, best_device()) for folder in folders])
    ensembles = [load(folder, best_device()) for folder in folders]
    return MapModel(networks=[member for each in ensembles for member in each.members])


def beside(folder: Path, model: str) -> Path:
    """The folder of another model of the same fold."""
    return folder.parents[1] / model / folder.name


def unmappable(folders: Sequence[Path], times: Iterable[np.ndarray]) -> str:
    """Why the models in the folders of all folds cannot make maps at `times`; empty if they can.

    A climatology holds the means of each day of the training table, and of each month where it has
    no such day: a map across both would have a seam.
    """
    if all((folder / STACK).exists() for folder in folders):
        used = [load_stack(folder).used.models for folder in folders]
        for model in dict.fromkeys(name for names in used for name in names):
            of_model = [beside(folder, model) for folder, names in zip(folders, used, strict=True)
                        if model in names]  # fmt: skip
            if reason := unmappable(of_model, times):
                return f"of its model {model} {reason}"
        return ""
    if not all((folder / FITTED).exists() or _has_network(folder) for folder in folders):
        return "it is not kept in the run, or reads observations of each site"
    if all((folder / FITTED).exists() for folder in folders):
        kept = [load_fitted(folder).predictor for folder in folders]
        known = [one.time for one in kept if isinstance(one, Climatology)]
        days = [np.asarray(time, "datetime64[s]") for time in times]
        for table in known:
            if not all(np.isin(time, table.astype("datetime64[s]")).all() for time in days):
                return "its means are of other days than those of the maps"
    return ""


def _has_network(folder: Path) -> bool:
    return any(path.parent.name != "training" for path in folder.glob(f"**/{CONFIG}"))
