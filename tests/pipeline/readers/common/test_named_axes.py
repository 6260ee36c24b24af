"""Files without coordinates on grids that are known by their names."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr

from pipeline.build import build_cube
from pipeline.core.errors import Faults, InputError
from pipeline.core.settings import validated
from pipeline.entries.source import Source
from pipeline.grid.named_grids import named_grid
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.open import check_source, open_source

OWN = {"crs": "EPSG:6933", "bounds": [0, 0, 4e5, 3e5], "resolution": 1e5}


def entry(path: Path, grid: Any, **settings: Any) -> Source:
    variables = {"soil_moisture": {"name": "sm", "units": "m3 m-3"}}
    value = {"name": "smap", "uri": str(path), "driver": "netcdf", "variables": variables}
    return validated(Source, {**value, "grid": grid, **settings}, "my.yml")


def written(folder: Path, shape: tuple[int, ...], *dims: str, **coords: Any) -> Path:
    path = folder / "sm.nc"
    values = np.arange(np.prod(shape), dtype="f4").reshape(shape) / np.prod(shape)
    xr.Dataset({"sm": (dims, values)}, coords).to_netcdf(path)
    return path


def test_an_array_of_smap_has_the_axes_of_its_grid(tmp_path: Path) -> None:
    path = written(tmp_path, (406, 964), "phony_dim_0", "phony_dim_1")
    source = entry(path, "EASE2_M36")
    assert source.crs == "EPSG:6933"
    faults = Faults()
    info = check_source(source, faults)
    faults.raise_if_any()
    assert info is not None
    grid = named_grid("global_36km")
    np.testing.assert_allclose(info.bounds, grid.bounds, rtol=1e-12)
    tile = grid.window(slice(100, 102), slice(300, 303))
    cube = build_cube(tmp_path / "cube.zarr", tile, [source])
    values = (np.arange(406 * 964, dtype="f4") / (406 * 964)).reshape(406, 964)
    np.testing.assert_allclose(cube["soil_moisture"], values[100:102, 300:303], rtol=1e-6)
    np.testing.assert_array_equal(cube["x"], tile.x)


def test_a_grid_may_be_written_out(tmp_path: Path) -> None:
    path = written(tmp_path, (3, 4), "rows", "cols")
    ds = open_source(entry(path, OWN))
    np.testing.assert_allclose(ds["rows"], [2.5e5, 1.5e5, 0.5e5])
    np.testing.assert_allclose(ds["cols"], [0.5e5, 1.5e5, 2.5e5, 3.5e5])
    window = {"window_of": "EASE2_M36", "rows": [0, 3], "cols": [10, 14]}
    ds = open_source(entry(path, window))
    np.testing.assert_allclose(ds["cols"], named_grid("EASE2_M36").x[10:14])


def test_a_square_grid_has_rows_first(tmp_path: Path) -> None:
    square = {**OWN, "bounds": [0, 0, 3e5, 3e5]}
    ds = open_source(entry(written(tmp_path, (2, 3, 3), "time", "a", "b"), square))
    assert ds["a"].values[0] > ds["a"].values[-1]
    assert ds["b"].values[0] < ds["b"].values[-1]


def test_arrays_of_another_size_or_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rows of 3, cols of 5[\s\S]*3 rows and 4 columns"):
        open_source(entry(written(tmp_path, (3, 5), "rows", "cols"), OWN))
    path = tmp_path / "at.nc"
    at = {"y": [2.5e5, 1.5e5, 0.5e5], "x": [1.5e5, 2.5e5, 3.5e5, 4.5e5]}
    xr.Dataset({"sm": (("y", "x"), np.zeros((3, 4)))}, at).to_netcdf(path)
    with pytest.raises(InputError, match="Remove `grid`"):
        open_source(entry(path, OWN))


def test_unknown_names_and_other_crs_are_refused() -> None:
    with pytest.raises(InputError, match='Did you mean "EASE2_M09"'):
        entry(Path("x.nc"), "EASE2_M9")
    with pytest.raises(InputError, match="Remove `crs`"):
        entry(Path("x.nc"), "EASE2_M36", crs="EPSG:4326")


def test_a_resolved_entry_is_read_again() -> None:
    source = entry(Path("x.nc"), "NLDAS")
    assert Source.model_validate(source.model_dump()).grid == source.grid
    assert Source.model_validate_json(source.model_dump_json()).grid == source.grid
    assert "grid" not in entry(Path("x.nc"), None).model_dump()


@pytest.mark.parametrize(
    ("name", "shape"),
    [("EASE2_M25", (584, 1388)), ("EASE2_N25", (720, 720)), ("MODIS_SIN_500m", (43200, 86400)),
     ("NLDAS", (224, 464)), ("global_0p25", (720, 1440)), ("GLDAS_0p25", (600, 1440))],
)  # fmt: skip
def test_grids_have_the_published_sizes(name: str, shape: tuple[int, int]) -> None:
    assert named_grid(name).shape == shape


def picture(folder: Path, values: np.ndarray, **place: Any) -> Path:
    path = folder / "sm.tif"
    height, width = values.shape
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning) if not place else nullcontext(),
        rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=1,
                      dtype="float32", **place) as file,
    ):  # fmt: skip
        file.write(values, 1)
    return path


def of_band(path: Path, grid: Any, **settings: Any) -> Source:
    variables = {"soil_moisture": {"name": "band_1", "units": "m3 m-3"}}
    return entry(path, grid, driver="raster", variables=variables, **settings)


@pytest.mark.parametrize("place", [
    {}, {"transform": rasterio.transform.from_origin(0, 3e5, 1e5, 1e5)},
    {"transform": rasterio.transform.from_origin(0, 3e5, 1e5, 1e5), "crs": "EPSG:6933"},
])  # fmt: skip
def test_a_raster_that_does_not_state_where_it_lies_has_the_grid_of_its_entry(
    tmp_path: Path, place: dict[str, Any]
) -> None:
    values = np.arange(12, dtype="f4").reshape(3, 4) / 12
    source = of_band(picture(tmp_path, values, **place), OWN)
    faults = Faults()
    info = check_source(source, faults)
    faults.raise_if_any()
    assert info is not None
    assert info.bounds == (0, 0, 4e5, 3e5)
    target = TargetGrid.from_bounds("own", "EPSG:6933", (0.0, 0.0, 4e5, 3e5), 1e5)
    cube = build_cube(tmp_path / "cube.zarr", target, [source])
    np.testing.assert_allclose(cube["soil_moisture"], values, rtol=1e-6)


def test_a_raster_on_a_published_grid_by_its_name(tmp_path: Path) -> None:
    source = of_band(picture(tmp_path, np.full((406, 964), 0.25, "f4")), "EASE2_M36")
    faults = Faults()
    info = check_source(source, faults)
    faults.raise_if_any()
    assert info is not None
    np.testing.assert_allclose(info.bounds, named_grid("EASE2_M36").bounds, rtol=1e-12)


def test_a_raster_without_a_place_needs_a_grid_of_its_size(tmp_path: Path) -> None:
    path = picture(tmp_path, np.zeros((3, 5), "f4"))
    with pytest.raises(InputError, match="3 rows and 4 columns"):
        open_source(of_band(path, OWN))
    with pytest.raises(InputError, match=r"where it lies[\s\S]*grid: EASE2_M09"):
        open_source(of_band(path, None, crs="EPSG:6933"))
    other = rasterio.transform.from_origin(5e4, 3e5, 1e5, 1e5)
    path = picture(tmp_path, np.zeros((3, 4), "f4"), crs="EPSG:6933", transform=other)
    with pytest.raises(InputError, match="Remove `grid`"):
        open_source(of_band(path, OWN))


def test_swapped_dimensions_of_a_grid_have_a_way_out(tmp_path: Path) -> None:
    path = written(tmp_path, (3, 4), "rows", "cols")
    with pytest.raises(InputError, match=r"dims: \{y: rows, x: cols\}"):
        open_source(entry(path, OWN, dims={"y": "cols", "x": "rows"}))
