"""Landslide susceptibility from an inventory in COOLR's form to scores and a map, small."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cube.open import open_cube
from tests.conftest import REGISTRY
from tests.end_to_end.small import stefaland

pytestmark = [pytest.mark.registry, pytest.mark.slow, pytest.mark.timeout(600)]
SMALL = (
    "cubes.conus={grid: conus_1deg, tile: [26, 30]}",
    "folds.k=2",
    "folds.min_cells=15",
    "pretrain.epochs=2",
    "finetune.epochs=8",
    "finetune.baselines=[climatology, ridge]",
    "publish.outlines=null",
    "cluster.kind=none",
)


def inventory(folder: Path) -> Path:
    """The data packages, and 400 events in mountains from the Pacific to the Appalachians."""
    data = folder / "data"
    data.mkdir()
    for item in REGISTRY.iterdir():
        (data / item.name).symlink_to(item)
    rng = np.random.default_rng(0)
    boxes = ((-123, -119, 37, 48, 120), (-114, -105, 36, 48, 200), (-83, -79, 35.5, 39, 80))
    ranges = [
        np.stack([rng.uniform(west, east, n), rng.uniform(south, north, n)], 1)
        for west, east, south, north, n in boxes
    ]
    lonlat = np.concatenate([*ranges, [[-140.0, 40.0]]])
    table = pd.DataFrame(
        {
            "event_id": np.arange(len(lonlat)) + 7, "event_date": "08/01/2008 12:00:00 AM",
            "location_accuracy": "5km",
            "landslide_trigger": np.resize(["rain", "downpour", "continuous_rain"], len(lonlat)),
            "longitude": lonlat[:, 0].round(4), "latitude": lonlat[:, 1].round(4),
        }
    )  # fmt: skip
    (data / "coolr").mkdir()
    table.to_csv(data / "coolr" / "nasa_coolr_reports_point.csv", index=False)
    return data


def test_from_an_inventory_to_scores_and_a_map(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    data = inventory(tmp_path)
    settings = (*SMALL, f"roots.data={data}")
    refused = stefaland(tmp_path, "landslide", (*settings, "inputs.exclude_unmatched=false"),
                        "run", "--until", "stats")  # fmt: skip
    assert refused.returncode == 2
    assert "sites outside the grid, 1 (407)" in refused.stderr
    assert "exclude_unmatched" in refused.stderr
    done = stefaland(tmp_path, "landslide", settings)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "landslide"
    matched = pd.read_parquet(run / "sites" / "matched.parquet")
    assert {"site", "cell", "row", "col", "distance_km", "sites_in_cell"} <= set(matched)
    assert matched["distance_km"].between(0, 80).all()
    target = open_cube(run / "cubes" / "conus.zarr")["landslide"].values
    events, absences = (target == 1).sum(), (target == 0).sum()
    assert events == absences == matched["cell"].nunique()
    assert np.isnan(target).sum() == target.size - events - absences
    card = json.loads((run / "scorecard.json").read_text())
    assert card["matched_sites"]["absences"] == absences
    assert card["matched_sites"]["sites"] == len(matched)
    assert card["matched_sites"]["left_out"]["outside the grid"] == 1
    for model in ("stefaland", "climatology", "ridge"):
        assert {"Brier", "AUC", "F1", "ECE"} <= set(card["models"][model]["pooled"])
    assert card["models"]["ridge"]["pooled"]["AUC"] > 0.7
    uncertainty = card["models"]["stefaland"]["uncertainty"]
    pooled = card["models"]["stefaland"]["pooled"]
    assert uncertainty["calibrated"] == {"Brier": pooled["Brier"], "ECE": pooled["ECE"]}
    assert uncertainty["uncalibrated"]["Brier"] != pooled["Brier"]
    assert "uncertainty" not in card["models"]["ridge"]
    with rasterio.open(run / "maps" / "landslide_conus.tif") as file:
        probability = file.read(1, masked=True)
    assert 500 < probability.count() < probability.size
    assert 0 <= probability.min() < probability.max() <= 1
    assert (run / "report.html").exists()
    shutil.rmtree(data)
