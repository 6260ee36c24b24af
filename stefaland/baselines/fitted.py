"""Fitted baselines without a network: calibrated, kept in a file, and predicted as an ensemble.

A file holds arrays and plain values, never a pickle, so that loading it runs no code from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from pipeline.core.errors import LIBRARY_ERRORS, InputError, bad_input
from pipeline.core.files import write_bytes
from pipeline.core.settings import validated
from pipeline.core.untrusted.safe_json import parse_json
from stefaland.baselines.climatology import Climatology, Predictor
from stefaland.baselines.embedding import Embedding
from stefaland.baselines.features import Array
from stefaland.baselines.registry import BaselineInputs
from stefaland.baselines.regression import GradientBoosting, Regression, Ridge, State
from stefaland.checkpoints.checkpoint import load_encoder, save_checkpoint, stored_normaliser
from stefaland.data.cell_data import CellData
from stefaland.folds.visible import input_ranges
from stefaland.prediction.calibration import spread_factors
from stefaland.prediction.distribution import Distribution, combine
from stefaland.prediction.predictions import MASKED
from stefaland.prediction.quality_flag import quality_flag
from stefaland.tasks import TaskName, possible_values, values_of

FITTED, ENCODER = "fitted.safetensors", "encoder"
"""Name of the file of a baseline, and of the folder of an encoder that it reads."""
FORMAT = 1
KINDS: Mapping[str, type[Ridge] | type[GradientBoosting] | type[Climatology]] = {
    "ridge": Ridge,
    "gradient_boosting": GradientBoosting,
    "climatology": Climatology,
}
"""Kinds of fitted baselines that are kept, and so can be mapped."""

K = TypeVar("K")


@runtime_checkable
class Keepable(Protocol):
    """A predictor that can be kept."""

    def state(self) -> State:
        """Arrays by name, and plain values by name."""


class _About(BaseModel):
    """What a file says of its model in addition to the model's own values."""

    model_config = ConfigDict(extra="forbid")

    format: int
    kind: str
    forcings: tuple[str, ...]
    statics: tuple[str, ...]
    categorical: tuple[str, ...]
    targets: tuple[str, ...]
    ranges: dict[str, tuple[float, float]]
    spread_factor: tuple[float, ...] | None
    cyclic: bool
    warmup_steps: int
    task: TaskName
    values: dict[str, Any]
    embedding: dict[str, int] | None
    """Window, warm-up and overlap of an encoder's windows."""


@dataclass(frozen=True, kw_only=True)
class FittedBaseline:
    """A baseline that was fitted to a fold, with everything that its predictions need."""

    predictor: Predictor
    forcing_names: tuple[str, ...]
    static_names: tuple[str, ...]
    categorical_names: tuple[str, ...] = ()
    target_names: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]
    """Physical range of each input over the training cells."""
    spread_factor: tuple[float, ...] | None = None
    """Factors [O] of the spreads, learnt from validation cells."""
    cyclic: bool = False
    warmup_steps: int = 0
    task: str = "regression"

    def predict(self, data: CellData) -> dict[str, NDArray[Any]]:
        """Arrays `mean` and calibrated `spread` [N, T, O] in physical units.

        Raises `InputError` for absent variables.
        """
        if isinstance(self.predictor, Regression):
            names = self.forcing_names, self.static_names, self.categorical_names
            data = data.selected(*names)
        found = dict(self.predictor.predict(data))
        if self.spread_factor is not None:
            found["spread"] = found["spread"] * np.array(self.spread_factor, np.float32)
        return found

    @classmethod
    def of(cls, predictor: Predictor, inputs: BaselineInputs) -> FittedBaseline:
        """A fitted predictor, calibrated on the fold's validation cells as networks are.

        Too few validation values, and predictors without spreads, are not calibrated.
        """
        known, fold = inputs.model_config, inputs.fold
        data = inputs.data.selected(known.forcings, known.statics, tuple(known.categorical))
        made = cls(
            predictor=predictor,
            forcing_names=data.forcing_names,
            static_names=data.static_names,
            categorical_names=data.categorical_names,
            target_names=data.target_names,
            ranges=input_ranges(data.subset(fold.train), fold.train_period),
            cyclic=inputs.config.cyclic,
            warmup_steps=inputs.config.warmup_steps,
            task=inputs.config.task,
        )
        if not len(fold.validation) or values_of(made.task) != "quantity":
            return made
        held = data.subset(fold.validation)
        assert held.target is not None
        when = held.steps(fold.validation_period or fold.train_period)
        predicted = made.predict(held)
        size = len(made.target_names)
        flat = [
            np.asarray(values[:, when], np.float64).reshape(-1, size)
            for values in (predicted["mean"], predicted["spread"], held.target.numpy())
        ]
        return replace(made, spread_factor=spread_factors(*flat))

    def save(self, folder: Path) -> bool:
        """Keep the model in a folder; returns whether its kind can be kept."""
        kind = next((name for name, of in KINDS.items() if type(self.predictor) is of), None)
        if kind is None or not isinstance(self.predictor, Keepable):
            return False
        if isinstance(self.predictor, Climatology) and self.predictor.cell_means:
            # Means of single cells, by their number in this table, are of no use elsewhere.
            return False
        arrays, values = self.predictor.state()
        embedding = _embedding_of(self.predictor)
        if embedding is not None:
            save_checkpoint(
                folder / ENCODER, embedding.encoder,
                {
                    "normaliser": embedding.normaliser.to_dict(),
                    **({"hidden": embedding.hidden} if embedding.hidden else {}),
                },
            )  # fmt: skip
            arrays |= {"embedding.mean": embedding.mean, "embedding.axes": embedding.axes}
        about = {
            "format": FORMAT, "kind": kind, "forcings": self.forcing_names,
            "statics": self.static_names, "categorical": self.categorical_names,
            "targets": self.target_names, "ranges": dict(self.ranges),
            "spread_factor": self.spread_factor, "cyclic": self.cyclic,
            "warmup_steps": self.warmup_steps, "task": self.task, "values": values,
            "embedding": embedding and {name: getattr(embedding, name) for name in _WINDOWS},
        }  # fmt: skip
        plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        write_bytes(folder / FITTED, [save(plain, {"about": json.dumps(about)})])
        return True


def load_fitted(folder: str | Path, device: torch.device | str = "cpu") -> FittedBaseline:
    """The baseline that is kept in a folder; `InputError` where there is none, or a damaged one.

    An encoder that it reads computes on `device`.
    """
    path = Path(folder) / FITTED
    if not path.is_file():
        raise bad_input(str(path), "no such file", "a fitted baseline",
                        "Run `stefaland run CONFIG`: it fits what is missing.")  # fmt: skip
    try:
        with safe_open(str(path), framework="numpy") as file:
            about = parse_json((file.metadata() or {}).get("about", "null").encode())
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        known = validated(_About, about, str(path))
        if known.format != FORMAT or known.kind not in KINDS:
            found = f"format {known.format}, kind {known.kind}"
            raise bad_input(str(path), found, f"format {FORMAT}, one of {', '.join(KINDS)}")
        axes = {name: arrays.pop(f"embedding.{name}") for name in ("mean", "axes")
                if known.embedding is not None}  # fmt: skip
        predictor = KINDS[known.kind].from_state((arrays, known.values), str(path))
        if known.embedding is not None and isinstance(predictor, Regression):
            features = replace(
                predictor.features, embedding=_embedding(path.parent, known, axes, device)
            )
            predictor = replace(predictor, features=features)
    except InputError:
        raise
    except (*LIBRARY_ERRORS, SafetensorError) as error:
        found = f"{type(error).__name__}: {error}"
        raise bad_input(str(path), found, "a fitted baseline") from None
    return FittedBaseline(
        predictor=predictor, forcing_names=known.forcings, static_names=known.statics,
        categorical_names=known.categorical, target_names=known.targets, ranges=known.ranges,
        spread_factor=known.spread_factor, cyclic=known.cyclic, warmup_steps=known.warmup_steps,
        task=known.task,
    )  # fmt: skip


_WINDOWS = ("window", "warmup_steps", "overlap_steps")


def _embedding_of(predictor: Predictor) -> Embedding | None:
    found = predictor.features.embedding if isinstance(predictor, Regression) else None
    return found if isinstance(found, Embedding) else None


def _embedding(
    folder: Path, known: _About, axes: Mapping[str, Array], device: torch.device | str
) -> Embedding:
    encoder, stored = load_encoder(folder / ENCODER)
    window, warmup, overlap = (int((known.embedding or {})[name]) for name in _WINDOWS)
    return Embedding(
        encoder=encoder.to(device), normaliser=stored_normaliser(folder / ENCODER, stored),
        window=window, warmup_steps=warmup, overlap_steps=overlap, cyclic=known.cyclic,
        device=device, hidden=tuple(stored.get("hidden", ())), mean=axes["mean"],
        axes=axes["axes"],
    )  # fmt: skip


def predict_fitted(
    models: Sequence[FittedBaseline], tables: Iterable[tuple[K, CellData, Tensor | None]]
) -> Iterator[tuple[K, dict[str, NDArray[Any]]]]:
    """Each table's key with `mean`, `spread` and `flag` of its cells, as `predict_tables` has them.

    The models are those of several folds, and predict as an equal mixture. The first warm-up steps
    have no prediction, as those of networks. Raises `InputError` for absent variables.
    """
    for key, data, masked in tables:
        flag = quality_flag(models, data, masked)
        rows = np.flatnonzero(flag != MASKED)
        part = data.take(rows)
        found = [_distribution(model, part) for model in models] if len(rows) else []
        whole = {}
        has_time = values_of(models[0].task) == "quantity"
        shape = (len(data), *([len(data.time)] if has_time else []), len(models[0].target_names))
        combined = combine(found) if found else {}
        if found:
            combined["mean"] = possible_values(models[0].task, combined["mean"])
        for name in ("mean", "spread"):
            whole[name] = np.full(shape, np.nan, np.float32)
            if found:
                whole[name][rows] = combined[name]
        yield key, {**whole, "flag": flag}


def _distribution(model: FittedBaseline, data: CellData) -> Distribution:
    found = model.predict(data)
    late = 0 if model.cyclic else model.warmup_steps
    mean = torch.from_numpy(np.array(found["mean"], np.float32))
    if values_of(model.task) != "quantity":
        return Distribution(mean[:, late:].double().nanmean(1))
    spread = torch.from_numpy(np.array(found["spread"], np.float32))
    for values in (mean, spread):
        values[:, :late] = torch.nan
    return Distribution(mean, spread)
