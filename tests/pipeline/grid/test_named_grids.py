"""Target grids by name, from the packaged file and from others."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.grid.named_grids import named_grid


def test_a_packaged_grid_is_found_by_its_name() -> None:
    grid = named_grid("global_1deg")
    assert (grid.name, grid.crs) == ("global_1deg", "EPSG:4326")
    with pytest.raises(InputError, match=r'"global_1dge".*Did you mean "global_1deg"'):
        named_grid("global_1dge")


def test_a_grid_of_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "grids.yml"
    path.write_text("here: {crs: EPSG:4326, bounds: [0, 0, 2, 1], resolution: 0.5}\n")
    assert named_grid("here", path).shape == (2, 4)
    with pytest.raises(InputError, match="one of here"):
        named_grid("global_1deg", path)


@pytest.mark.parametrize("bounds", ["[0, 0, .inf, 1]", "[0, 0, 1.0e+308, 1]", "[.nan, 0, 2, 1]"])
def test_bounds_without_an_end_are_refused(tmp_path: Path, bounds: str) -> None:
    path = tmp_path / "grids.yml"
    path.write_text(f"here: {{crs: EPSG:4326, bounds: {bounds}, resolution: 0.5}}\n")
    with pytest.raises(InputError, match="here"):
        named_grid("here", path)
