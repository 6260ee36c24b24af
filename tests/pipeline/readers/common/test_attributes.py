"""Attributes of packing, missing values and units under other names than those of CF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.entries.source import Source
from pipeline.readers.common.attributes import with_cf_attributes
from pipeline.sources.open import open_source

STORED = np.array([[0, 15, 30], [45, -9999, 75]], "i2")
VALUES = np.array([[0.0, 1.5, 3.0], [4.5, np.nan, 7.5]])


def values(path: Path, driver: str, attrs: dict[str, Any], stored: np.ndarray = STORED) -> Any:
    ds = xr.Dataset({"rain": (("lat", "lon"), stored, attrs)},
                    {"lat": [1.5, 0.5], "lon": [0.5, 1.5, 2.5]})  # fmt: skip
    if driver == "netcdf":
        ds.to_netcdf(path, engine="h5netcdf")
    else:
        ds.to_zarr(path, zarr_format=3)
    entry = {"name": "test", "uri": str(path), "driver": driver,
             "variables": {"precipitation": {"name": "rain", "units": "mm/day"}}}  # fmt: skip
    return open_source(Source.model_validate(entry))["rain"].values


@pytest.mark.parametrize("driver", ["netcdf", "zarr"])
@pytest.mark.parametrize(
    "attrs",
    [
        {"ScaleFactor": 0.1, "CodeMissingValue": "-9999"},
        {"SCALE_FACTOR": 0.1, "Offset": 0.0, "fill_value": -9999},
        {"Scale_factor": "0.1", "Fill Value": -9999.0},
        {"slope": 0.1, "intercept": 0.0, "NoData_value": -9999},
        {"scale_factor": 0.1, "FillValue": -9999, "missing-value": -8888},
    ],
)
def test_packing_under_other_names(tmp_path: Path, driver: str, attrs: dict[str, Any]) -> None:
    found = values(tmp_path / "rain", driver, attrs | {"Units": "mm/day"})
    np.testing.assert_allclose(found, VALUES, rtol=1e-6)


def test_names_that_mean_no_packing_change_nothing() -> None:
    attrs = {"slope": 0.1, "offset": 5.0, "units": "mm", "Units": "inch", "_FillValue": -1,
             "MissingValue": 0}  # fmt: skip
    ds = xr.Dataset(
        {"rain": ("x", [0, 1], dict(attrs)), "name": ("x", ["a", "b"], {"nodata": "-"})}
    )
    found = with_cf_attributes(ds)
    assert found["rain"].attrs == attrs
    assert found["name"].attrs == {"nodata": "-"}


def test_packing_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='scale_factor "a tenth"; expected numbers'):
        values(tmp_path / "rain", "netcdf", {"ScaleFactor": "a tenth"})
