"""Predictions of held-out cells: one store for each model and fold, read as one table of all.

A target is a series, or static: one value for each cell (a composition or a probability).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.cube.locations import write_locations
from pipeline.cube.open import open_cube
from stefaland.baselines.climatology import Predictor
from stefaland.config import FinetuneConfig
from stefaland.data.cell_data import CellData
from stefaland.folds.split import Fold
from stefaland.folds.visible import held_out_part, training_part
from stefaland.model.quantiles import NAMES
from stefaland.prediction.ensemble import Ensemble
from stefaland.prediction.stack import Array, Moments, Stack, fit_stack
from stefaland.tasks import possible_values, values_of
from workflows.inputs.checked_folds import fold_identity

HELDOUT, VALIDATION = "heldout.zarr", "validation.zarr"
"""Names of the stores of a model's predictions of the test and of the validation cells."""
UNCALIBRATED = "_uncalibrated"
Stores = Mapping[str, Mapping[str, Path]]
"""Stores of predictions by fold and model: fold → model → path."""


def series_names(targets: Sequence[str]) -> dict[str, str]:
    """Beginning of the names of each target's variables in a store of predicted series.

    It is empty for a single target, whose variables are mean, spread and the names of quantiles.

    >>> series_names(["streamflow"]), series_names(["streamflow", "soil_moisture"])
    ({'streamflow': ''}, {'streamflow': 'streamflow_', 'soil_moisture': 'soil_moisture_'})
    """
    return {name: f"{name}_" if len(targets) > 1 else "" for name in targets}


def heldout_without(folder: Path, group: str) -> Path:
    """Store of a model's predictions of held-out cells without a group of inputs."""
    return folder / f"heldout_without_{group}.zarr"


def stores_without(stores: Stores, group: str) -> Stores:
    """The stores of the same models and folds without a group of inputs."""
    return {
        fold: {model: heldout_without(path.parent, group) for model, path in of_models.items()}
        for fold, of_models in stores.items()
    }


def write_predictions(
    path: Path, data: CellData, fold: Fold, predictor: Predictor, config: FinetuneConfig
) -> None:
    """Write a model's predictions of the test cells, series or static values after its task."""
    if values_of(config.task) == "quantity":
        write_heldout(path, data, fold, predictor, config.warmup_steps)
    else:
        write_heldout_static(path, data, fold, predictor, config.task, config.warmup_steps)


def write_validation(
    path: Path, data: CellData, fold: Fold, predictor: Predictor, config: FinetuneConfig
) -> None:
    """Write a model's predictions of the validation cells in the validation period, if any.

    By them the model that is mapped is chosen, without a look at the test.
    """
    if len(fold.validation):
        period = fold.validation_period or fold.train_period
        as_test = replace(fold, test=fold.validation, test_period=period)
        write_predictions(path, data, as_test, predictor, config)


def write_heldout(
    path: Path, data: CellData, fold: Fold, predictor: Predictor, warmup: int
) -> None:
    """Write predicted series of the test cells in the test period, dims (time, cell).

    Each quantile is a variable where the predictor has them; names are those of `series_names`. The
    first `warmup` steps that the predictor reads have no prediction.
    """
    data, lead = held_out_part(data, fold, warmup)
    predicted = predictor.predict(data)
    series = {}
    for i, prefix in enumerate(series_names(data.target_names).values()):
        of_target = {name: predicted[name][..., i] for name in ("mean", "spread")}
        if "quantiles" in predicted:
            levels = np.moveaxis(predicted["quantiles"][..., i, :], -1, 0)
            of_target |= dict(zip(NAMES, levels, strict=True))
        for name, found in of_target.items():
            values = found.astype(np.float32)
            values[:, :warmup] = np.nan
            series[f"{prefix}{name}"] = (("time", "cell"), values[:, lead:].T)
    coords = {
        "time": data.time[lead:],
        "cell": data.cell.numpy(),
        "lon": ("cell", data.lonlat[:, 0].numpy().astype(np.float64)),
        "lat": ("cell", data.lonlat[:, 1].numpy().astype(np.float64)),
    }
    write_locations(path, xr.Dataset(series, coords, {"fold": fold_identity(fold)}))


def write_heldout_static(
    path: Path, data: CellData, fold: Fold, predictor: Predictor, task: str, warmup: int
) -> None:
    """Write one value of each target for each test cell, its mean over time; dims (cell,).

    Networks also have values without calibration, in variables that end in `UNCALIBRATED`.
    """
    data, _ = held_out_part(data, fold, warmup)
    series = _static_values(data, predictor, task, warmup)
    if isinstance(predictor, Ensemble):
        plain = _static_values(data, predictor.uncalibrated(), task, warmup)
        series |= {f"{name}{UNCALIBRATED}": values for name, values in plain.items()}
    coords = {
        "cell": data.cell.numpy(),
        "lon": ("cell", data.lonlat[:, 0].numpy().astype(np.float64)),
        "lat": ("cell", data.lonlat[:, 1].numpy().astype(np.float64)),
    }
    write_locations(path, xr.Dataset(series, coords, {"fold": fold_identity(fold)}))


def _static_values(
    data: CellData, predictor: Predictor, task: str, warmup: int
) -> dict[str, tuple[str, np.ndarray]]:
    mean = predictor.predict(data)["mean"][:, warmup:].astype(np.float64)
    with warnings.catch_warnings():
        # A cell without any prediction stays NaN.
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        values = possible_values(task, np.nanmean(mean, 1)).astype(np.float32)
    return {name: ("cell", values[:, i]) for i, name in enumerate(data.target_names)}


def write_stack(
    folder: Path, models: Mapping[str, Path], data: CellData, fold: Fold, config: FinetuneConfig
) -> None:
    """Write a stack's weights, and its predictions of the validation and the test cells.

    `models` are the folders of the models of this fold, whose stored predictions are read: none is
    trained or run again. The weights are equal where the fold has no validation cells. Raises
    `InputError` where predictions of a model are missing.
    """
    task, count = config.task, len(models)
    names = data.target_names if values_of(task) != "quantity" else ()
    prefixes = list(series_names(data.target_names).values())
    stack = Stack(tuple(models), (1.0 / count,) * count, task)
    if len(fold.validation):
        stores = [open_cube(path / VALIDATION).load() for path in models.values()]
        stack, own = fit_stack(
            list(models), *_moments(stores, names, prefixes),
            _observed(stores[0], data, fold, names), task,
        )  # fmt: skip
        _write(folder / VALIDATION, stores[0], own, names, prefixes)
    stack.save(folder)
    for path in (*(heldout_without(folder, group) for group in config.missing_groups),
                 folder / HELDOUT):  # fmt: skip
        stores = [open_cube(of_model / path.name).load() for of_model in models.values()]
        found = _moments(stores, names, prefixes)
        _write(path, stores[0], stack.predict(*found), names, prefixes, stack.mixture(*found))


def _moments(
    stores: Sequence[xr.Dataset], names: Sequence[str], prefixes: Sequence[str]
) -> Moments:
    """Means and spreads [M, N, K]: of the time steps, or of the parts `names` of static targets.

    Series of several targets, by the beginning of their names, add a last axis.
    """
    if names:
        mean = np.stack([_parts(store, names) for store in stores])
        return mean, np.full_like(mean, np.nan)
    mean, spread = (
        np.stack([
            np.stack([store[f"{prefix}{name}"].transpose("cell", "time").values
                      for prefix in prefixes], -1)
            for store in stores
        ]).astype(np.float64)
        for name in ("mean", "spread")
    )  # fmt: skip
    return (mean, spread) if len(prefixes) > 1 else (mean[..., 0], spread[..., 0])


def _parts(store: xr.Dataset, names: Sequence[str]) -> Array:
    return np.stack([store[name].values for name in names], -1).astype(np.float64)


def _observed(store: xr.Dataset, data: CellData, fold: Fold, names: Sequence[str]) -> Array:
    """Observations [N, K] of the validation cells of a store; of several series [N, K, O]."""
    _, validation = training_part(data, fold)
    target = validation.subset(store["cell"].values).target
    assert target is not None
    observed = target.double().numpy()
    if not names:
        observed = observed[:, np.isin(validation.time, store["time"].values)]
        return observed if observed.shape[-1] > 1 else observed[..., 0]
    # A static target has the same value at every time at which it is known.
    first = np.argmax(np.isfinite(observed), 1)[:, None]
    static: Array = np.take_along_axis(observed, first, 1)[:, 0]
    return static


def _write(
    path: Path, like: xr.Dataset, found: Moments, names: Sequence[str], prefixes: Sequence[str],
    uncalibrated: Moments | None = None,
) -> None:  # fmt: skip
    """Write predictions with the coordinates and the fold of another store."""
    values: dict[str, tuple[Any, Array]] = {}
    for i, name in enumerate(names):
        values[name] = ("cell", found[0][:, i])
        if uncalibrated is not None:
            values[f"{name}{UNCALIBRATED}"] = ("cell", uncalibrated[0][:, i])
    if not names:
        for i, prefix in enumerate(prefixes):
            for name, series in zip(("mean", "spread"), found, strict=True):
                of_target = series[..., i] if series.ndim == 3 else series
                values[f"{prefix}{name}"] = (("time", "cell"), of_target.T)
    single = {name: (dims, part.astype(np.float32)) for name, (dims, part) in values.items()}
    write_locations(path, xr.Dataset(single, like.coords, like.attrs))


def heldout_series(target: xr.DataArray, stores: Stores, prefix: str = "") -> xr.Dataset:
    """Observed and predicted series of every held-out site.

    Dims (model, site, time): `predicted`, `spread` and, for models that have them, quantiles by
    name; (site, time): `observed`; coordinates `region` and `fold` of each site. The cells of one
    site (those that share a source cell of the target) are averaged, so that each independent value
    counts once. `target` has dims (cell, time) and the labels of every cell of the finetuning cube;
    `prefix` is the beginning of its names in the stores (`series_names`).
    """
    parts = []
    for fold, of_models in stores.items():
        opened = [_of_target(open_cube(path), prefix).load() for path in of_models.values()]
        predicted = xr.concat(opened, xr.Variable("model", list(of_models)))
        observed = target.sel(cell=predicted["cell"].values, time=predicted["time"].values)
        of_model = {str(name): da.transpose("model", "cell", "time")
                    for name, da in predicted.rename(mean="predicted").items()}  # fmt: skip
        table = xr.Dataset(
            {"observed": observed, **of_model}, coords={"site": observed["site"]}
        ).where(observed.notnull())
        regions = observed["region"].groupby(observed["site"]).first().values
        table = table.groupby("site").mean(skipna=True)
        parts.append(
            table.assign_coords(
                fold=("site", np.full(table.sizes["site"], fold)), region=("site", regions)
            )
        )
    return xr.concat(parts, "site", data_vars="all").transpose("model", "site", "time")


def _of_target(store: xr.Dataset, prefix: str) -> xr.Dataset:
    """The mean, spread and quantiles of one target of a store, by these names."""
    known = {f"{prefix}{name}": name for name in ("mean", "spread", *NAMES)}
    found = [name for name in known if name in store]
    return store[found].rename({name: known[name] for name in found}) if prefix else store


def heldout_static(target: xr.Dataset, names: Sequence[str], stores: Stores) -> xr.Dataset:
    """Observed and predicted static targets of every held-out cell, which is a site of its own.

    Dims (site, part): `observed`; (model, site, part): `predicted` and `uncalibrated`, which is NaN
    for models without calibration. `target` has the parts of the target by their `names`, dims
    (cell,), and the labels of every cell of the finetuning cube.
    """
    parts = []
    for fold, of_models in stores.items():
        opened = [open_cube(path).load() for path in of_models.values()]
        cells = opened[0]["cell"].values
        observed = target.sel(cell=cells)
        table = xr.Dataset(
            {
                "observed": (("site", "part"), np.stack([observed[n].values for n in names], -1)),
                "predicted": (("model", "site", "part"), _values(opened, names)),
                "uncalibrated": (("model", "site", "part"), _values(opened, names, UNCALIBRATED)),
            },
            coords={
                "model": list(of_models), "part": list(names), "site": cells,
                "region": ("site", observed["region"].values),
                "fold": ("site", np.full(cells.size, fold)),
            },
        )  # fmt: skip
        parts.append(table.isel(site=np.isfinite(table["observed"].values).all(-1)))
    return xr.concat(parts, "site", data_vars="all").transpose("model", "site", "part")


def _values(stores: Sequence[xr.Dataset], names: Sequence[str], suffix: str = "") -> np.ndarray:
    """Values [model, site, part], NaN where a store has no such variable."""
    missing = np.full(stores[0].sizes["cell"], np.nan, np.float32)
    of_models = [[s[n + suffix].values if n + suffix in s else missing for n in names]
                 for s in stores]  # fmt: skip
    return np.stack([np.stack(values, -1) for values in of_models])
