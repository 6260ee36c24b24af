"""Held-out predictions of folds and models as one table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.cube.locations import write_locations
from workflows.products.heldout import UNCALIBRATED, heldout_series, heldout_static

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
