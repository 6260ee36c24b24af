"""Pictures of sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from tests.workflows.cli.test_entry import run
from tests.workflows.tiny import write_tiny
from workflows.commands.data.catalog import find_source
from workflows.commands.data.source_map import _field, draw_source


def test_a_map_shows_the_middle_time_of_a_source_in_canonical_units(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny(tmp_path)
    names, png = [str(tmp_path / "catalog.yml"), "rain"], tmp_path / "rain.png"
    assert run("catalog", "show", *names, "--data", str(tmp_path), "--map", str(png)) == 0
    assert "at time 7 of 12" in capsys.readouterr().err
    assert png.read_bytes().startswith(b"\x89PNG")
    field, _ = _field(find_source(*names, tmp_path), "precipitation")
    stored = xr.open_dataarray(tmp_path / "rain.nc")
    np.testing.assert_array_equal(field, stored.isel(time=6))
    assert field.attrs["units"] == "mm/day"


def test_large_sources_are_drawn_by_a_part_of_their_cells(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    at = {"lat": np.linspace(80, -80, 30), "lon": np.linspace(-179, 179, 2500)}
    height = np.arange(30.0)[:, None] + np.arange(2500.0)
    da = xr.DataArray(height, at, ("lat", "lon"), "height", {"units": "m"})
    da.to_netcdf(tmp_path / "height.nc")
    source = find_source(str(tmp_path / "catalog.yml"), "height", tmp_path)
    field, _ = _field(source, "elevation")
    np.testing.assert_array_equal(field, height[:, ::3])
    assert draw_source(source, tmp_path / "a.png") == "elevation"


def test_a_network_has_no_map(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(
        "basin: {uri: '${data}/b.gpkg', driver: vector, variables: {elevation: {name: h}}}\n"
    )
    source = find_source(str(tmp_path / "c.yml"), "basin", tmp_path)
    with pytest.raises(InputError, match="a source of polygons"):
        draw_source(source, tmp_path / "a.png")
