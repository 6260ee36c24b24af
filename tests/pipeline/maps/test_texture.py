from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.core.errors import InputError
from pipeline.cube.open import cube_tiles, open_cube
from pipeline.cube.template import cube_template
from pipeline.cube.write import create_cube, write_tile
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import named_legend
from pipeline.maps.mosaic import mosaic
from pipeline.maps.texture import (
    CLASS,
    CLASSES,
    FRACTIONS,
    closed,
    has_fractions,
    texture,
    texture_faults,
    usda_class,
)
from pipeline.publish.geotiff import write_cog
from tests.maps import ALBERS, GRID, on_land

# Sand, silt, clay in percent at the middle of each class of the triangle.
TYPICAL = {
    "sand": (92, 5, 3), "loamy sand": (82, 12, 6), "sandy loam": (65, 25, 10),
    "loam": (40, 40, 20), "silt loam": (20, 65, 15), "silt": (7, 88, 5),
    "sandy clay loam": (60, 13, 27), "clay loam": (33, 33, 34), "silty clay loam": (10, 56, 34),
    "sandy clay": (52, 6, 42), "silty clay": (6, 47, 47), "clay": (20, 20, 60),
}  # fmt: skip


def test_typical_soils() -> None:
    parts = np.array(list(TYPICAL.values())).T / 100
    assert [CLASSES[code - 1] for code in usda_class(*parts)] == list(TYPICAL)


def test_legend_names_the_same_classes() -> None:
    stops = named_legend("usda_texture").stops
    assert {int(stop.value): stop.label for stop in stops} == dict(enumerate(CLASSES, start=1))


def test_limits_of_the_triangle() -> None:
    """Points on the limits, decided by the manual's `or more` and `less than`."""
    cases = {
        (45, 15, 40): "clay", (46, 14, 40): "sandy clay", (20, 40, 40): "silty clay",
        (20, 53, 27): "silty clay loam", (21, 52, 27): "clay loam", (52, 41, 7): "loam",
        (53, 40, 7): "sandy loam", (8, 80, 12): "silt loam", (9, 80, 11): "silt",
        (85, 15, 0): "loamy sand", (86, 14, 0): "sand", (70, 30, 0): "sandy loam",
    }  # fmt: skip
    parts = np.array(list(cases)).T / 100
    assert [CLASSES[code - 1] for code in usda_class(*parts)] == list(cases.values())
    single = usda_class(*parts.astype(np.float32))
    assert [CLASSES[code - 1] for code in single] == list(cases.values())


def test_every_composition_has_one_class() -> None:
    sand, clay = np.meshgrid(np.arange(0, 100.25, 0.25), np.arange(0, 100.25, 0.25))
    inside = sand + clay <= 100
    sand, clay = sand[inside] / 100, clay[inside] / 100
    codes = usda_class(sand, 1 - sand - clay, clay)
    assert set(np.unique(codes)) == set(range(1, 13))


def test_shares_where_classes_meet_have_a_class() -> None:
    # 0.45 of sand in float32 is 0.45000002: rounded one by one, the three lay between the classes.
    parts = np.array([[0.45, 0.28, 0.27], [0.52, 0.41, 0.07], [0.20, 0.40, 0.40]], np.float32).T
    names = [CLASSES[code - 1] for code in usda_class(*parts)]
    assert names == ["clay loam", "loam", "silty clay"]


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (3, 50), elements=st.floats(0.001, 1)), st.floats(0.5, 2))
def test_any_shares_of_a_whole_have_the_class_of_their_scaled_values(
    parts: np.ndarray, size: float
) -> None:
    shares = parts / parts.sum(0)
    codes = usda_class(*shares)
    assert (codes <= len(CLASSES)).all()
    single = usda_class(*shares.astype(np.float32))
    assert (single <= len(CLASSES)).all()
    assert (usda_class(*(shares * size)) == codes).mean() > 0.95, "but for limits hit by rounding"


def test_nothing_has_no_class() -> None:
    nothing = usda_class(*np.array([[0.0, np.nan], [0.0, 0.5], [0.0, 0.5]]))
    np.testing.assert_array_equal(nothing, [255, 255])


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (3, 20), elements=st.floats(0, 1, width=32)))
def test_published_fractions_sum_to_one(parts: np.ndarray) -> None:
    total = parts.sum(axis=0, dtype=np.float64)
    found = closed(*parts, tolerance=0.2)
    valid = np.abs(total - 1) <= 0.2
    assert np.array_equal(np.isfinite(found[0]), valid)
    assert np.abs(sum(part.astype(np.float64) for part in found)[valid] - 1).max(initial=0) < 2e-7


def test_missing_and_impossible_stay_missing() -> None:
    sand, silt, clay = np.array(
        [[0.4, np.nan, 0.4, 1.2], [0.4, 0.4, 0.1, -0.1], [0.2, 0.2, 0.1, -0.1]]
    )
    ds = texture(xr.Dataset({"sand": ("x", sand), "silt": ("x", silt), "clay": ("x", clay)}))
    for name in FRACTIONS:
        assert list(np.isfinite(ds[name].values)) == [True, False, False, False]
    assert list(ds["texture_class"].values) == [7, 255, 255, 255]


def test_an_absent_fraction_is_reported() -> None:
    with pytest.raises(InputError, match="no silt, clay"):
        texture(xr.Dataset({"sand": ("x", [0.5])}))


def _fractions(grid: TargetGrid) -> xr.Dataset:
    """Smooth sand, silt and clay on land, as a model predicts them, with their flag."""
    lon, lat = grid.lonlat()
    land = on_land(lon, lat)
    odds = np.exp([lon / 20 + 5, np.sin(lat / 3), np.cos(lon / 5) - 0.5])
    odds[0] = np.exp(np.sin(lon / 4))
    shares = (odds / odds.sum(0)).astype(np.float32)
    fields = {
        name: (("y", "x"), np.where(land, share, np.nan).astype(np.float32), {"units": "1"})
        for name, share in zip(FRACTIONS, shares, strict=True)
    }
    flag = np.where(land, 0, 255).astype(np.uint8)
    return xr.Dataset({**fields, "quality_flag": (("y", "x"), flag)}, grid.coords())


@pytest.fixture(scope="module")
def prediction(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texture") / "p.zarr"
    ds = _fractions(GRID)
    variables = {
        str(name): {"dims": da.dims, "dtype": str(da.dtype), "attrs": da.attrs}
        for name, da in ds.data_vars.items()
    }
    create_cube(path, cube_template(GRID, None, variables, 32), {})
    for tile in cube_tiles(path):
        write_tile(path, tile, ds.isel(y=tile.rows, x=tile.cols).drop_vars("spatial_ref"))
    return path


@pytest.mark.parametrize("grid", [GRID, ALBERS], ids=lambda grid: grid.name)
def test_a_map_has_the_class_of_its_own_fractions(
    prediction: Path, tmp_path: Path, grid: TargetGrid
) -> None:
    mosaic(prediction, grid, tmp_path / "m.zarr")
    found = open_cube(tmp_path / "m.zarr").load()
    parts = [found[name].values for name in FRACTIONS]
    valid = np.isfinite(parts[0])
    assert 0.2 < valid.mean() < 0.8
    np.testing.assert_allclose(np.sum(parts, 0, dtype=np.float64)[valid], 1.0, atol=2e-7)
    codes = found[CLASS].values
    assert codes.dtype == np.uint8
    assert np.array_equal(codes, usda_class(*parts))
    assert len(np.unique(codes[valid])) > 4
    assert found[CLASS].attrs["flag_meanings"].split()[0] == "clay"


def _published(folder: Path, ds: xr.Dataset) -> dict[str, Path]:
    paths = {
        name: write_cog(folder / f"{name}.tif", ds[name], GRID, units="1") for name in FRACTIONS
    }
    legend = named_legend("usda_texture")
    paths[CLASS] = write_cog(
        folder / f"{CLASS}.tif", ds[CLASS], GRID, kind="categorical", legend=legend
    )
    return paths


def test_published_fractions_and_classes_that_disagree_are_found(tmp_path: Path) -> None:
    good = texture(_fractions(GRID))
    assert has_fractions(good)
    assert texture_faults(_published(tmp_path / "good", good)) == []
    bad = good.copy(deep=True)
    rows, cols = np.nonzero(np.isfinite(bad["sand"].values))
    bad["sand"].values[rows[0], cols[0]] += np.float32(0.01)
    bad["clay"].values[rows[1], cols[1]] = np.nan
    bad[CLASS].values[rows[2], cols[2]] = bad[CLASS].values[rows[2], cols[2]] % 12 + 1
    faults = texture_faults(_published(tmp_path / "bad", bad))
    said = " ".join(fault.found for fault in faults)
    assert "1 cells with some of the fractions missing" in said
    assert "1 cells whose fractions do not sum to 1" in said
    assert "cells of another class than their fractions" in said
