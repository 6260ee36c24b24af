"""From a folder of files to a map in a national CRS, as docs/tutorials/own_forcings.md types it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml

from tests.conftest import ROOT
from tests.end_to_end.small import settings
from tests.tutorial_data import DAYS, Truth

PAGE = ROOT / "docs" / "tutorials" / "own_forcings.md"
SMALL = (
    "pretrain.steps=4", "pretrain.steps_per_epoch=2", "finetune.steps=4", "cluster.kind=none",
    "finetune.steps_per_epoch=2", "finetune.baselines=[climatology, ridge]", "folds.k=2",
    "model.settings={d_model: 8, d_embed: 8, d_feedforward: 8, n_heads: 2}",
)  # fmt: skip
MOST_LINES = 30


def commands() -> list[str]:
    """The command lines of the page, without the one that writes its files."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    lines = [line for kind, block in blocks if not kind for line in block.splitlines()]
    return [line for line in lines if line.startswith("stefaland ")]


def typed(line: str, folder: Path, *more: str) -> str:
    """What a command line of the page prints on both streams; it must succeed."""
    words = shlex.split(line)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "workflows.cli", *words, *more], cwd=folder, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200",
             "STEFALAND_RUNS": str(folder / "runs")},
        capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_leads_from_files_to_a_map(
    tutorial: tuple[Path, Truth], tmp_path: Path
) -> None:
    data, truth = tutorial
    (tmp_path / "data").symlink_to(data)
    init, check, run = commands()
    lines = len(commands())

    shown = typed(init, tmp_path)
    decisions = [line for line in shown.splitlines() if line.startswith("decide ")]
    catalog, config = tmp_path / "catalog.yml", tmp_path / "alps.yml"
    # Each decision is a line to look at; here all proposals are right, so that none is changed.
    assert {line.split()[1].split(".")[0] for line in decisions} == {
        "clay_0_5cm_mean", "dem", "stations",
    }  # fmt: skip
    assert {s for s in ("g/kg", " m ", "m3 m-3") if any(s in line for line in decisions)} == {
        "g/kg", " m ", "m3 m-3",
    }  # fmt: skip
    lines += len(decisions)
    assert lines <= MOST_LINES
    assert f"{lines} lines" in PAGE.read_text()
    yaml_lines = [s for s in config.read_text().splitlines() if s.strip() and s.strip()[0] != "#"]
    assert len(yaml_lines) <= MOST_LINES
    assert "decide:" in catalog.read_text()

    assert "40 of 40 sites" in typed(check, tmp_path)
    typed(run, tmp_path, *settings(SMALL))
    folder = tmp_path / "runs" / "alps"
    grid = yaml.safe_load(config.read_text())["cubes"]["map"]["grid"]
    with rasterio.open(folder / "maps" / "soil_moisture_map.tif") as file:
        assert file.crs.to_epsg() == 3035
        assert list(file.bounds) == grid["bounds"]
        assert {*file.units} == {"m3 m-3"}
        assert file.descriptions == ("2019-04", "2019-05", "2019-06", "2019-07")
        values = file.read(masked=True)
    assert values.count() > 0.7 * values.size
    assert 0.0 < values.mean() < 0.5
    _same_rain(folder / "cubes" / "map.zarr", truth)


def _same_rain(cube: Path, truth: Truth) -> None:
    """The cube has the generator's rain of each day: its mean over the inner part of the region."""
    with xr.open_zarr(cube) as ds:
        rain = ds["precipitation"].sel(time=slice(str(DAYS[0])[:10], str(DAYS[-1])[:10]))
        assert rain.attrs["units"] == "mm/day"
        assert rain.sizes["time"] == len(DAYS)
        daily = rain.mean(("y", "x")).values
    np.testing.assert_allclose(daily.mean(), truth.precipitation.mean(), rtol=0.05)
    found = np.corrcoef(daily, truth.precipitation.mean((1, 2)))[0, 1]
    assert found > 0.99
