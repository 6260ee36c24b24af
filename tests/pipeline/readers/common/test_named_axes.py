"""Files without coordinates on grids that are known by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.build import build_cube
from pipeline.core.errors import Faults, InputError
from pipeline.core.settings import validated
from pipeline.entries.source import Source
from pipeline.grid.named_grids import named_grid
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
