"""Held-out predictions of folds and models as one table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from pipeline.cube.locations import write_locations
from pipeline.cube.open import open_cube
from stefaland.config import FinetuneConfig
from stefaland.data.cell_data import CellData
from stefaland.folds.fold import Fold
from stefaland.prediction.stack import load_stack
from tests.synthetic import daily_cells
from workflows.products.heldout import (
    HELDOUT,
    UNCALIBRATED,
    VALIDATION,
    heldout_series,
    heldout_static,
    write_stack,
)

DAYS = np.arange("2001-01-01", "2001-01-04", dtype="datetime64[D]").astype("datetime64[ns]")
PLACE = {"lon": ("cell", [0.0] * 4), "lat": ("cell", [0.0] * 4)}
LABELS = {"site": ("cell", [5, 5, 6, 7]), "region": ("cell", ["r", "r", "s", "s"]), **PLACE}


def stores(folder: Path, **variables: dict[str, np.ndarray]) -> dict[str, dict[str, Path]]:
    """Stores of two folds of two cells by model; arrays have dims (time, cell) or (cell,)."""
    found: dict[str, dict[str, Path]] = {}
    for fold, cells in (("a", [0, 1]), ("b", [2, 3])):
        for model, fields in variables.items():
            ds = xr.Dataset(
                {name: (("time", "cell")[2 - v.ndim :], v[..., cells].astype(np.float32))
                 for name, v in fields.items()},
                {"cell": cells, **{name: ("cell", [0.0, 0.0]) for name in ("lon", "lat")}},
            )  # fmt: skip
            path = folder / model / fold / "heldout.zarr"
            write_locations(path, ds.assign_coords(time=DAYS) if "time" in ds.dims else ds)
            found.setdefault(fold, {})[model] = path
    return found


def test_cells_of_one_site_count_once(tmp_path: Path) -> None:
    observed = np.arange(12.0).reshape(4, 3)
    observed[1, 0] = np.nan
    target = xr.DataArray(observed, {"cell": np.arange(4), "time": DAYS, **LABELS},
                          ("cell", "time"))  # fmt: skip
    guess = observed.T + 1
    models = {"stefaland": {"mean": guess, "spread": guess}, "ridge": {"mean": 2 * guess}}
    table = heldout_series(target, stores(tmp_path, **models))
    assert table["model"].values.tolist() == ["stefaland", "ridge"]
    assert table["site"].values.tolist() == [5, 6, 7]
    assert table["fold"].values.tolist() == ["a", "b", "b"]
    assert table["region"].values.tolist() == ["r", "s", "s"]
    # Of the first day the second cell has no observation: its prediction does not count either.
    np.testing.assert_allclose(table["observed"].sel(site=5), [0.0, 2.5, 3.5])
    np.testing.assert_allclose(table["predicted"].sel(site=5, model="stefaland"), [1.0, 3.5, 4.5])
    assert np.isnan(table["spread"].sel(model="ridge")).all()


def test_sites_without_an_observation_are_left_out(tmp_path: Path) -> None:
    sand, clay = np.array([0.2, np.nan, 0.4, 0.5]), np.array([0.8, 0.1, 0.6, 0.5])
    parts = {"sand": ("cell", sand), "clay": ("cell", clay)}
    target = xr.Dataset(parts, {"cell": np.arange(4), **LABELS})
    calibrated = {
        "sand": clay,
        "clay": sand,
        f"sand{UNCALIBRATED}": clay,
        f"clay{UNCALIBRATED}": clay,
    }
    table = heldout_static(
        target,
        ("sand", "clay"),
        stores(tmp_path, stefaland=calibrated, ridge={"sand": clay, "clay": clay}),
    )
    assert table["site"].values.tolist() == [0, 2, 3], "every cell is a site of its own"
    np.testing.assert_allclose(table["observed"], np.stack([sand, clay], -1)[[0, 2, 3]])
    np.testing.assert_allclose(
        table["predicted"].sel(model="stefaland", part="sand"), clay[[0, 2, 3]], rtol=1e-6
    )
    assert np.isfinite(table["uncalibrated"].sel(model="stefaland")).all()
    assert np.isnan(table["uncalibrated"].sel(model="ridge")).all()


def test_a_stack_is_made_of_stores_and_of_validation_cells_alone(tmp_path: Path) -> None:
    data = replace(daily_cells(12, 40), cell=torch.arange(12))
    fold = Fold(
        name="one", kind="blocks", train=np.arange(3), validation=np.arange(3, 9),
        test=np.arange(9, 12), validation_period=("2001-01-11", "2001-01-30"),
    )  # fmt: skip
    truth = data.target.numpy()[..., 0]
    rng, noise = np.random.default_rng(0), {"good": 0.1, "bad": 1.0, "spare": 0.3}
    models = {}
    for model, size in noise.items():
        models[model] = tmp_path / model / "one"
        predicted = truth + size * rng.normal(size=truth.shape)
        for name, cells, when in ((VALIDATION, fold.validation, slice(10, 30)),
                                  ("heldout_without_wet.zarr", fold.test, slice(5)),
                                  (HELDOUT, fold.test, slice(None))):  # fmt: skip
            series = predicted[cells, when].astype(np.float32).T
            place = {axis: ("cell", np.zeros(len(cells))) for axis in ("lon", "lat")}
            ds = xr.Dataset(
                {"mean": (("time", "cell"), series),
                 "spread": (("time", "cell"), np.full_like(series, 0.05))},
                {"time": data.time[when], "cell": cells, **place}, {"fold": "identity"},
            )  # fmt: skip
            write_locations(models[model] / name, ds)

    def made(name: str, cells: CellData, fold: Fold = fold) -> Path:
        folder = tmp_path / name / "one"
        write_stack(folder, models, cells, fold, FinetuneConfig(missing_groups={"wet": ["rain"]}))
        return folder

    folder = made("stack", data)
    stack = load_stack(folder)
    assert stack.models == ("good", "bad", "spare")
    assert stack.weights[0] > 0.8
    assert stack.calibration.spread_factor is not None
    store = open_cube(folder / HELDOUT).load()
    stores = [open_cube(path / HELDOUT).load() for path in models.values()]
    want = sum(w * ds["mean"] for w, ds in zip(stack.weights, stores, strict=True))
    xr.testing.assert_allclose(store["mean"], want)
    assert store.attrs == stores[0].attrs
    assert open_cube(folder / VALIDATION)["mean"].shape == (20, 6)
    assert open_cube(folder / "heldout_without_wet.zarr")["mean"].shape == (5, 3)
    # Neither training and test cells nor days outside the validation period decide anything.
    target = data.target.clone()
    target[:3], target[9:], target[:, :10], target[:, 30:] = 99.0, 99.0, 99.0, 99.0
    assert load_stack(made("same", replace(data, target=target))) == stack
    target[3:9, 10:30] = target[3:9, 10:30].flip(1)
    assert load_stack(made("other", replace(data, target=target))) != stack
    none = replace(fold, validation=np.arange(0))
    assert load_stack(made("equal", data, none)).weights == (1 / 3,) * 3


def test_stacks_of_static_targets_stay_compositions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cells = replace(daily_cells(50, 10), cell=torch.arange(50))
    truth = rng.dirichlet(np.ones(2), 50)
    target = torch.from_numpy(truth).float()[:, None].repeat(1, 10, 1)
    target[:, :4] = torch.nan
    data = replace(cells, target=target, target_names=("sand", "clay"))
    fold = Fold(name="one", kind="blocks", train=np.arange(5), validation=np.arange(5, 45),
                test=np.arange(45, 50))  # fmt: skip
    models = {}
    for model, weight in (("good", 0.9), ("bad", 0.1)):
        models[model] = tmp_path / model / "one"
        parts = weight * truth + (1 - weight) * rng.dirichlet(np.ones(2), 50)
        for name, held in ((VALIDATION, fold.validation), (HELDOUT, fold.test)):
            place = {axis: ("cell", np.zeros(len(held))) for axis in ("lon", "lat")}
            variables = {part: ("cell", parts[held, i].astype(np.float32))
                         for i, part in enumerate(("sand", "clay"))}  # fmt: skip
            write_locations(models[model] / name, xr.Dataset(variables, {"cell": held, **place}))
    write_stack(tmp_path / "stack", models, data, fold, FinetuneConfig(task="composition"))
    stack = load_stack(tmp_path / "stack")
    assert stack.weights[0] > 0.9
    store = open_cube(tmp_path / "stack" / HELDOUT)
    np.testing.assert_allclose(store["sand"] + store["clay"], 1.0, rtol=1e-5)
    plain = store[f"sand{UNCALIBRATED}"].values
    assert np.abs(plain - store["sand"].values).max() > 1e-4
