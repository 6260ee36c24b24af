"""Sites outside the grid or the period are found before anything is regridded."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipeline.core.errors import InputError
from tests.workflows.tiny import write_tiny
from workflows.config.load import load_config
from workflows.run import Run
from workflows.stages import check

STATIONS = """
stations:
  uri: ${data}/stations.csv
  driver: table
  lon: lon
  lat: lat
  cell: id
  variables: {soil_moisture: {name: sm, units: m3 m-3}}
"""


def _config(folder: Path, lon: list[float], lat: list[float]) -> Path:
    config = write_tiny(folder)
    (folder / "catalog.yml").write_text((folder / "catalog.yml").read_text() + STATIONS)
    table = pd.DataFrame({"id": range(1, len(lon) + 1), "lon": lon, "lat": lat, "sm": 0.25})
    table.to_csv(folder / "stations.csv", index=False)
    return config


def _run(config: Path, *settings: str) -> Run:
    fixed = ("inputs.sources=[rain, height]", "inputs.target_sites=stations")
    return Run(load_config(config, [*fixed, *settings]))


def test_the_check_counts_sites_in_cells(tmp_path: Path) -> None:
    config = _config(tmp_path, [5.0, 6.0, 25.0, 5.0], [5.0, 6.0, 45.0, 75.0])
    with pytest.raises(InputError, match=r"sites outside the grid, 1 \(4\)") as error:
        check.main(_run(config))
    assert "exclude_unmatched" in str(error.value)
    notes = check.main(_run(config, "inputs.exclude_unmatched=true"))["notes"]
    assert "stations: 3 of 4 sites in 2 cells, 1 outside the grid are left out" in notes


def test_swapped_columns_are_told_by_where_the_sites_are(tmp_path: Path) -> None:
    config = _config(tmp_path, [75.0, 76.0], [-65.0, -70.0])
    run = _run(config, "inputs.exclude_unmatched=true")
    with pytest.raises(InputError, match="from 75 to 76 degrees east and from -70 to -65") as error:
        check.main(run)
    assert "none of them on the grid" in str(error.value)
