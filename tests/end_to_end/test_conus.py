"""Soil moisture and soil texture at CONUS pixels, at reduced size, from config to report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SHARED
from tests.end_to_end.small import stefaland

pytestmark = [pytest.mark.shared, pytest.mark.slow, pytest.mark.timeout(600)]
SMALL = (
    f"roots.data={SHARED / 'data'}",
    "folds.k=2",
    "pretrain.epochs=1",
    "pretrain.steps_per_epoch=2",
    "finetune.epochs=1",
    "finetune.steps_per_epoch=2",
    "finetune.baselines=[climatology, ridge, lstm]",
    "cluster.kind=none",
)


def test_texture_from_config_to_report(tmp_path: Path) -> None:
    done = stefaland(tmp_path, "conus_texture", SMALL)
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "conus_texture" / "scorecard.json").read_text())
    assert card["parts"] == ["sand", "silt", "clay"]
    assert len(card["excluded"]["sites"]) == 24
    assert 300 < card["sites"] <= 318
    for model in ("stefaland", "climatology", "ridge", "lstm"):
        scores = card["models"][model]["pooled"]
        assert 0.02 < scores["RMSE"] < 0.2
        assert {"R2 clay", "accuracy", "macro F1"} <= set(scores)
    # A mean of the training pixels knows nothing of a held-out one.
    assert abs(card["models"]["climatology"]["pooled"]["R2 sand"]) < 0.1
    page = (tmp_path / "conus_texture" / "report.html").read_text()
    assert "24 sites were left out" in page
    assert "This run makes no maps" in page
    settings = (*SMALL, "inputs.exclude_impossible=false", "name=refused")
    refused = stefaland(tmp_path, "conus_texture", settings, "run", "--until", "stats")
    assert refused.returncode == 2
    assert "24 sites (0, 5, 11" in refused.stderr


def test_soil_moisture_at_pixels_becomes_scores_and_a_map(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    done = stefaland(tmp_path, "conus_smap", SMALL)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "conus_smap"
    card = json.loads((run / "scorecard.json").read_text())
    assert card["sites"] == 342
    assert card["models"]["climatology"]["pooled"]["RMSE"] < 0.15
    with rasterio.open(run / "maps" / "soil_moisture_conus.tif") as file:
        first, last = (file.read(band, masked=True) for band in (1, file.count))
    assert first.count() == 0, "days of the warm-up have no prediction"
    assert 0 < last.count() < last.size
    assert np.all((last.compressed() >= 0) & (last.compressed() <= 0.7))
