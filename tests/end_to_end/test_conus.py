"""Soil moisture and soil texture at CONUS pixels, at reduced size, from config to report."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyproj
import pytest
from scipy.ndimage import minimum_filter

from pipeline.cube.open import open_cube
from pipeline.maps.texture import CLASSES, FRACTIONS
from stefaland.model.quantiles import NAMES
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
WARM_UP = 60
"""Days, of `conus_smap.yml`."""


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
    by_class = card["models"]["stefaland"]["classes"]
    assert {"loam", "sandy loam"} <= set(by_class) <= set(CLASSES)
    assert "regions" not in card["models"]["stefaland"], "every pixel is a region of its own"
    # A mean of the training pixels knows nothing of a held-out one.
    assert abs(card["models"]["climatology"]["pooled"]["R2 sand"]) < 0.1
    page = (tmp_path / "conus_texture" / "report.html").read_text()
    assert "24 sites were left out" in page
    assert "sand" in page
    check_texture_maps(tmp_path / "conus_texture" / "maps")
    check_texture_sites(tmp_path / "conus_texture" / "maps", card)
    settings = (*SMALL, "inputs.exclude_impossible=false", "name=refused")
    refused = stefaland(tmp_path, "conus_texture", settings, "run", "--until", "stats")
    assert refused.returncode == 2
    assert "24 sites (0, 5, 11" in refused.stderr


def test_a_sweep_of_texture_reports_pooled_errors_by_seed(tmp_path: Path) -> None:
    done = stefaland(tmp_path, "conus_texture", SMALL, "run", "--until", "pretrain")
    assert done.returncode == 0, done.stderr
    options = ("--seeds", "0,1", "--models", "stefaland,climatology")
    done = stefaland(tmp_path, "conus_texture", SMALL, "sweep", *options)
    assert done.returncode == 0, done.stderr
    assert "lower is better" in done.stderr
    scores = json.loads((tmp_path / "conus_texture" / "sweep.json").read_text())
    assert scores["metric"] == "RMSE"
    variant = scores["variants"]["stefaland:dual_residual"]
    assert set(variant["seeds"]) == {"0", "1"}
    assert all(0.02 < value < 0.3 for value in variant["seeds"].values())
    assert variant["ensemble"] <= max(variant["seeds"].values())
    assert scores["variants"]["climatology"]["minus_first"]["difference"] != 0


def check_texture_sites(maps: Path, card: dict[str, Any]) -> None:
    """The held-out pixels are points with their shares, classes and errors, on the project."""
    frame = geopandas.read_file(maps / "soil_texture_sites.gpkg", layer="sites")
    assert len(frame) == card["sites"]
    assert set(frame["class_observed"]) == set(card["models"]["stefaland"]["classes"])
    gap = [frame[f"{name}_predicted"] - frame[f"{name}_observed"] for name in FRACTIONS]
    np.testing.assert_allclose(frame["RMSE"], np.sqrt(np.mean(np.square(gap), 0)), rtol=1e-5)
    pooled = card["models"]["ridge"]["pooled"]["RMSE"]
    assert np.sqrt((frame["ridge_RMSE"] ** 2).mean()) == pytest.approx(pooled, rel=1e-5)
    assert frame.geometry.x.between(-125, -66).all()
    assert frame.geometry.y.between(24, 50).all()
    text = zipfile.ZipFile(maps / "conus_texture.qgz").read("conus_texture.qgs").decode()
    assert "./soil_texture_sites.gpkg|layername=sites" in text


def check_texture_maps(maps: Path) -> None:
    """Fractions are a whole in every cell, the class is theirs, both projections agree."""
    rasterio = pytest.importorskip("rasterio")
    fractions = []
    for name in FRACTIONS:
        with rasterio.open(maps / f"{name}_conus.tif") as file:
            fractions.append(file.read(1).astype(np.float64))
            assert file.units[0] == "1"
    valid = ~np.isnan(fractions[0])
    assert 300 < valid.sum() < valid.size
    np.testing.assert_allclose(np.sum(fractions, 0)[valid], 1.0, atol=1e-6)
    with rasterio.open(maps / "texture_class_conus.tif") as file:
        codes = file.read(1)
        assert file.colormap(1)[7][:3] == (0x36, 0x8F, 0x20), "loam is the legend's green"
    assert (codes[valid] <= len(CLASSES)).all()
    assert (codes[~valid] == 255).all()
    inland = minimum_filter(valid, 3)
    with (
        rasterio.open(maps / "sand_conus_5070.tif") as albers,
        rasterio.open(maps / "sand_conus.tif") as plate,
    ):
        turn = pyproj.Transformer.from_crs(4326, albers.crs, always_xy=True)
        centres = [plate.xy(*cell) for cell in np.argwhere(inland)[::20]]
        assert len(centres) > 3
        one = [value[0] for value in albers.sample(turn.transform(*at) for at in centres)]
        other = [value[0] for value in plate.sample(centres)]
    np.testing.assert_allclose(one, other, atol=0.03)
    assert (maps / "conus_texture.qgz").exists()


def test_soil_moisture_at_pixels_becomes_scores_and_maps_with_quantiles(tmp_path: Path) -> None:
    """Two networks a fold, each asked twice under dropout, that predict quantiles."""
    rasterio = pytest.importorskip("rasterio")
    changes = ("finetune.head=quantile", "finetune.ensemble=2", "finetune.dropout=0.1",
               "finetune.mc_samples=2", "finetune.baselines=[climatology, lstm]",
               "cubes.conus.max_distance_km=25")  # fmt: skip
    done = stefaland(tmp_path, "conus_smap", (*SMALL, *changes))
    assert done.returncode == 0, done.stderr
    run = tmp_path / "conus_smap"
    folders = sorted(path.name for path in (run / "finetuned/stefaland/group0").glob("member*"))
    assert folders == ["member0", "member1"]
    card = json.loads((run / "scorecard.json").read_text())
    assert card["sites"] == 342
    assert card["models"]["climatology"]["pooled"]["RMSE"] < 0.15
    uncertainty = card["models"]["stefaland"]["uncertainty"]
    assert 0.6 < uncertainty["coverage_90"] <= 1.0
    assert 0.01 < uncertainty["CRPS"] < 0.1
    held = open_cube(run / "finetuned/lstm/group0/heldout.zarr")
    assert set(NAMES) <= set(held.data_vars)
    days = open_cube(run / "predictions/conus.zarr").sizes["time"]
    maps = []
    for suffix in ("_p05", "", "_p95"):
        with rasterio.open(run / "maps" / f"soil_moisture_conus{suffix}.tif") as file:
            assert file.count == days - WARM_UP, "days of the warm-up are not published"
            first, last = (file.read(band, masked=True) for band in (1, file.count))
            assert 0 < first.count() == last.count() < last.size
            maps.append(last.compressed())
    low, middle, high = maps
    assert np.all((low <= middle) & (middle <= high))
    assert np.all((middle >= 0) & (middle <= 0.7))
    done = stefaland(tmp_path, "conus_smap", (*SMALL, *changes), "publish", "--verify")
    assert done.returncode == 0, done.stderr
