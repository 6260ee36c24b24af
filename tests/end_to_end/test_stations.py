"""Soil moisture at two depths of stations, and texture of profiles, from config to report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import SHARED
from tests.end_to_end.small import stefaland

pytestmark = [pytest.mark.shared, pytest.mark.slow, pytest.mark.timeout(900)]
SMALL = (
    f"roots.data={SHARED / 'data'}", "folds.k=2", "pretrain.steps=4", "pretrain.steps_per_epoch=2",
    "finetune.steps=4", "finetune.steps_per_epoch=2", "finetune.baselines=[climatology, ridge]",
    "model.settings={d_model: 8, d_embed: 8, d_feedforward: 8, n_heads: 2}", "cluster.kind=none",
)  # fmt: skip


def test_two_depths_of_stations_with_an_encoder_of_pixels_too(tmp_path: Path) -> None:
    done = stefaland(tmp_path, "uscrn", SMALL)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "uscrn"
    card = json.loads((folder / "scorecard.json").read_text())
    shallow, deep = (card["targets"][f"soil_moisture_{depth}cm"] for depth in (5, 50))
    assert 75 <= shallow["sites"] <= 87
    assert 55 <= deep["sites"] <= 65
    for of_target in (shallow, deep):
        for model in ("stefaland", "climatology", "ridge"):
            assert 0.02 < of_target["models"][model]["pooled"]["RMSE"] < 0.5
    data = json.loads((folder / "pretrained" / "group0" / "data.json").read_text())
    # Stations without soil sensors pretrain, and so do pixels away from the held-out stations.
    assert data["training"]["cells"] > 200
    assert (
        "Scores at held-out locations: soil moisture 50cm" in (folder / "report.html").read_text()
    )


def test_texture_of_profiles_in_held_out_blocks(tmp_path: Path) -> None:
    settings = (*SMALL, "predict.cubes=[]", "publish.products=[]")
    done = stefaland(tmp_path, "texture_profiles", settings)
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "texture_profiles" / "scorecard.json").read_text())
    assert card["parts"] == ["sand", "silt", "clay"]
    assert 200 <= card["sites"] <= 281
    assert card["matched_sites"]["sites"] == 937
    for model in ("stefaland", "climatology", "ridge"):
        assert 0.05 < card["models"][model]["pooled"]["RMSE"] < 0.3
