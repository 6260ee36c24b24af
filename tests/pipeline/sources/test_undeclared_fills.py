"""Numbers that mean missing although neither the file nor the entry declares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr

import pipeline
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.open import check_source

SIZE = 20
OWN = {"long_name": "mean grain size", "units": "1"}


def write(path: Path, values: np.ndarray, **packing: float) -> None:
    """Write a map in its type, of which no attribute declares a missing value."""
    height, width = values.shape
    shape = {"height": height, "width": width, "count": 1, "dtype": values.dtype.name}
    place = {"crs": "EPSG:4326", "transform": rasterio.transform.from_origin(0, 2, 0.1, 0.1)}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(values, 1)
        if packing:
            file.scales, file.offsets = (packing["scale"],), (0.0,)


def entry(path: Path, name: str = "grain_size", **settings: Any) -> Source:
    own = {"define": OWN} if name == "grain_size" else {}
    variable = {"name": "band_1", "units": "1", **own, **settings}
    return Source.model_validate(
        {"name": "map", "uri": str(path), "driver": "raster", "variables": {name: variable}}
    )


def found(source: Source) -> tuple[str, str]:
    """The faults and the notes of a check, each as one text."""
    faults = Faults()
    info = check_source(source, faults)
    notes = "; ".join(info.notes) if info else ""
    return "\n".join(str(fault) for fault in faults.faults), notes


def field(low: float, high: float, dtype: str) -> np.ndarray:
    return np.random.default_rng(3).uniform(low, high, (SIZE, SIZE)).astype(dtype)


CERTAIN = [
    (-9999.0, 0.0, 50.0, "f4"), (-999.0, -40.0, 35.0, "f4"), (1e20, 200.0, 300.0, "f4"),
    (-3.4028235e38, 0.0, 9.0, "f4"), (-1.7976931348623157e308, 0.0, 9.0, "f8"),
    (9.96921e36, 0.0, 9.0, "f4"), (-32768, 0, 3000, "i2"), (32767, -100, 100, "i2"),
    (2147483647, -9, 9, "i4"), (-999999999, -9, 9, "i4"), (65535, 0, 10000, "u2"),
    (255, 0, 101, "u1"), (-9999, 0, 60000, "i4"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "low", "high", "dtype"), CERTAIN)
def test_a_code_far_from_all_values_is_a_fault(
    tmp_path: Path, code: float, low: float, high: float, dtype: str
) -> None:
    values = field(low, high, dtype)
    values[:4] = code
    write(tmp_path / "map.tif", values)
    faults, _ = found(entry(tmp_path / "map.tif"))
    assert "20 % of the values" in faults
    assert "nodata" in faults
    assert found(entry(tmp_path / "map.tif", nodata=float(values[0, 0]))) == ("", "")


def test_the_hint_is_the_number_of_the_file_and_not_the_value(tmp_path: Path) -> None:
    values = field(0, 3000, "i2")
    values[0] = -9999
    write(tmp_path / "map.tif", values, scale=0.01)
    assert "`nodata: -9999`" in found(entry(tmp_path / "map.tif"))[0]
    at = {"lat": np.arange(SIZE) / 10.0, "lon": np.arange(SIZE) / 10.0}
    ds = xr.Dataset({"band_1": (("lat", "lon"), values)}, at)
    ds["band_1"].attrs = {"scale_factor": 0.01, "units": "1"}
    ds.to_netcdf(tmp_path / "map.nc")
    source = entry(tmp_path / "map.nc").model_copy(update={"driver": "netcdf"})
    assert "5 % of the values are -9999" in found(source)[0]


@pytest.mark.parametrize(("code", "low", "high", "dtype"), [
    (-99.0, -40.0, 35.0, "f4"), (255, 0, 254, "u1"), (99.0, 0.0, 5.0, "f4"),
    (-77.0, 0.0, 5.0, "f4"), (255, 1, 2, "u1"), (0.0, 240.0, 310.0, "f4"), (0, 5000, 9000, "u2"),
])  # fmt: skip
def test_what_may_be_a_value_is_noted(
    tmp_path: Path, code: float, low: float, high: float, dtype: str
) -> None:
    values = field(low, high, dtype)
    values[:4] = code
    write(tmp_path / "map.tif", values)
    faults, notes = found(entry(tmp_path / "map.tif"))
    assert faults == ""
    assert f"20 % of the values are {code:g}" in notes
    assert f"`nodata: {code:g}`" in notes


@pytest.mark.parametrize(("low", "high", "dtype"), [
    (0, 256, "u1"), (-9999, 10000, "i2"), (0.0, 1e6, "f4"), (-1e12, 1e12, "f8"), (0, 2, "u1"),
])  # fmt: skip
def test_values_without_gaps_are_silent(
    tmp_path: Path, low: float, high: float, dtype: str
) -> None:
    write(tmp_path / "map.tif", field(low, high, dtype))
    assert found(entry(tmp_path / "map.tif")) == ("", "")


def test_a_valid_range_that_includes_the_code_makes_it_a_note(tmp_path: Path) -> None:
    values = field(0.0, 5.0, "f4")
    values[0] = -9999
    write(tmp_path / "map.tif", values)
    wide = entry(tmp_path / "map.tif", define={**OWN, "valid_range": [-10000, 10000]})
    faults, notes = found(wide)
    assert faults == ""
    assert "5 % of the values are -9999" in notes
    values[0] = -99
    write(tmp_path / "map.tif", values)
    wind = entry(tmp_path / "map.tif", "eastward_wind", units="m s-1")
    assert "-99" in found(wind)[1]


def test_two_codes_are_both_reported(tmp_path: Path) -> None:
    values = field(0.0, 5.0, "f4")
    values[0], values[1], values[2] = -9999, -9998, 1e20
    write(tmp_path / "map.tif", values)
    faults, _ = found(entry(tmp_path / "map.tif"))
    assert all(f"`nodata: {code}`" in faults for code in ("-9999", "-9998", "1e+20"))


@pytest.mark.parametrize("code", [-3.4028235e38, np.inf])
def test_a_cube_with_impossible_sizes_is_refused(tmp_path: Path, code: float) -> None:
    values = field(0.0, 5.0, "f4")
    values[0] = code
    write(tmp_path / "map.tif", values)
    grid = TargetGrid.from_bounds("g", "EPSG:4326", (0.0, 0.0, 2.0, 2.0), 1.0)
    with pytest.raises(InputError, match="nodata"):
        pipeline.build_cube(tmp_path / "cube.zarr", grid, [entry(tmp_path / "map.tif")])


def test_an_operand_of_an_expression_is_judged_by_itself(tmp_path: Path) -> None:
    a, b = field(0.0, 5.0, "f4"), field(1.0, 2.0, "f4")
    a[:4] = -9999
    at = {"lat": np.arange(SIZE) / 10.0, "lon": np.arange(SIZE) / 10.0}
    maps = {name: (("lat", "lon"), v, {"units": "1"}) for name, v in (("a", a), ("b", b))}
    xr.Dataset(maps, at).to_netcdf(tmp_path / "map.nc")
    product = {"expression": "a * b", "units": "1", "define": OWN}
    whole = {"name": "map", "uri": str(tmp_path / "map.nc"), "driver": "netcdf"}
    faults, _ = found(Source.model_validate({**whole, "variables": {"grain_size": product}}))
    assert "20 % of the values of a are -9999" in faults
    assert "`operands: {a: {name: …, nodata: -9999}}`" in faults
    product["operands"] = {"a": {"name": "a", "nodata": -9999}}
    declared = Source.model_validate({**whole, "variables": {"grain_size": product}})
    assert found(declared) == ("", "")
