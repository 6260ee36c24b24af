"""The global case from real data to maps, at reduced size."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import rasterio.warp
import torch
import xarray as xr
import zarr
from rio_cogeo import cog_validate

from pipeline.core.errors import InputError
from pipeline.cube.open import open_cube
from pipeline.publish.stac import validate_collection
from tests.conftest import REGISTRY
from tests.end_to_end.small import QUICKSTART, stefaland
from workflows.config.load import load_config
from workflows.inputs.cells import cell_data, open_cells, sharded_cells, static_names
from workflows.run import Run
from workflows.stages import publish
from workflows.stages.publish import verify_published
from workflows.stages.unpack import cell_index

pytestmark = [pytest.mark.registry, pytest.mark.timeout(900)]
STAGES = ("regrid", "stats", "pretrain", "finetune", "predict", "mosaic", "publish", "score",
          "report")  # fmt: skip
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December"]  # fmt: skip


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: the first half by `run --until`, the rest stage by stage."""
    runs = tmp_path_factory.mktemp("runs")
    done = stefaland(runs, "quickstart", QUICKSTART, "run", "--until", "predict")
    assert done.returncode == 0, done.stderr
    for stage in ("mosaic", "publish", "score", "report"):
        done = stefaland(runs, "quickstart", QUICKSTART, stage)
        assert done.returncode == 0, done.stderr
    return runs / "quickstart"


def test_every_stage_left_its_marker_with_time_and_memory(run_folder: Path) -> None:
    for stage in STAGES:
        record = json.loads((run_folder / ".stages" / f"{stage}.finished.json").read_text())
        assert record["seconds"] > 0
        assert record["peak_bytes"] > 0


@pytest.mark.parametrize("suffix", ["global", "global_ease2", "conus", "conus_5070"])
def test_maps_are_valid_cogs_with_named_bands(run_folder: Path, suffix: str) -> None:
    path = run_folder / "maps" / f"soil_moisture_{suffix}.tif"
    assert cog_validate(path, strict=True)[0]
    with rasterio.open(path) as raster:
        assert list(raster.descriptions) == MONTHS
        assert set(raster.units) == {"m3 m-3"}
        epsg = {"conus_5070": 5070, "global_ease2": 6933}.get(suffix, 4326)
        assert raster.crs.to_epsg() == epsg
        assert raster.nodata is not None
        values = raster.read(masked=True)
    assert 0.02 < values.mean() < 0.5
    assert "stefaland_provenance" in rasterio.open(path).tags()
    for ending in ("qml", "png"):
        assert path.with_suffix(f".{ending}").stat().st_size > 500


def test_seasons_are_means_of_their_months_with_their_names(run_folder: Path) -> None:
    maps = run_folder / "maps"
    with (
        rasterio.open(maps / "soil_moisture_conus.tif") as months,
        rasterio.open(maps / "soil_moisture_conus_seasonal.tif") as seasons,
        rasterio.open(maps / "soil_moisture_conus_seasonal_spread.tif") as spread,
    ):
        assert [name[:3] for name in seasons.descriptions] == ["DJF", "MAM", "JJA", "SON"]
        assert spread.count == 4
        monthly, seasonal = (file.read(out_dtype="float64") for file in (months, seasons))
    days = np.array([31, 28.0, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[:, None, None]
    summer = (monthly[5:8] * days[5:8]).sum(0) / days[5:8].sum()
    np.testing.assert_allclose(seasonal[2], summer, rtol=1e-5)


def test_ease_grid_and_degrees_agree_at_locations(run_folder: Path) -> None:
    maps = run_folder / "maps"
    lonlat = [(10.5, 23.5), (-62.5, -4.5), (100.5, 60.5), (25.5, -20.5)]
    x, y = rasterio.warp.transform("EPSG:4326", "EPSG:6933", *zip(*lonlat, strict=True))
    with (
        rasterio.open(maps / "soil_moisture_global.tif") as degrees,
        rasterio.open(maps / "soil_moisture_global_ease2.tif") as metres,
    ):
        one = np.array(list(degrees.sample(lonlat)))
        other = np.array(list(metres.sample(zip(x, y, strict=True))))
        assert metres.shape == (406, 964)
    # Cells of 36 km sample a field of 2 degrees: neighbours differ by a few hundredths.
    np.testing.assert_allclose(other, one, atol=0.06)
    assert np.isfinite(other).all()


def test_the_sea_is_nodata_and_land_is_complete(run_folder: Path) -> None:
    with rasterio.open(run_folder / "maps" / "soil_moisture_global.tif") as raster:
        pacific, sahara = raster.sample([(-150.0, 10.0), (15.0, 23.0)])
    assert np.isnan(pacific).all()
    assert np.isfinite(sahara).all()
    holes = json.loads((run_folder / ".stages" / "mosaic.finished.json").read_text())
    assert holes["result"]["holes"]["global"]["missing"] == 0


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="no gdalinfo (Debian: gdal-bin)")
def test_an_older_gdal_reads_every_published_file(run_folder: Path) -> None:
    files = [*(run_folder / "maps").glob("*.tif"), *(run_folder / "maps").glob("*.zarr")]
    assert len(files) == 30
    for path in files:
        series = "" if path.stem.endswith("_quality") else ":3"
        name = {"y": "quality_flag", "d": "soil_moisture_spread"}.get(
            path.stem[-1], "soil_moisture"
        )
        source = f'ZARR:"{path}":/{name}{series}' if path.suffix == ".zarr" else str(path)
        done = subprocess.run(["gdalinfo", "-json", source], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        info = json.loads(done.stdout)
        epsg = re.findall(r'ID\["EPSG",(\d+)\]', info["coordinateSystem"]["wkt"])[-1]
        expected = {"5070": "5070", "ease2": "6933"}
        assert epsg == next((e for n, e in expected.items() if n in path.name), "4326"), path
        west, dx, _, north, _, dy = info["geoTransform"]
        corners = {"5070": (-2375000, 3200000), "ease2": (-17367530.44, 7314540.83),
                   "global": (-180, 84), "conus": (-125, 50)}  # fmt: skip
        corner = next(xy for name, xy in corners.items() if name in path.name)
        assert (west, north) == pytest.approx(corner, abs=0.02)
        assert dx == pytest.approx(-dy, rel=1e-9)
        assert all("noDataValue" in band for band in info["bands"]), path
        if path.name == "soil_moisture_global.tif":
            assert [band["description"] for band in info["bands"]] == MONTHS


def test_zarr_stac_and_project_open(run_folder: Path) -> None:
    ds = xr.open_dataset(run_folder / "maps" / "soil_moisture_conus.zarr", engine="zarr")
    assert ds["soil_moisture"].dims == ("time", "y", "x")
    assert validate_collection(run_folder / "maps" / "collection.json") == 5
    items = list(pystac.Collection.from_file(run_folder / "maps" / "collection.json").get_items())
    assert {item.id for item in items} == {
        "soil_moisture_global", "soil_moisture_global_ease2", "soil_moisture_conus",
        "soil_moisture_conus_5070", "soil_moisture_conus_seasonal",
    }  # fmt: skip
    assert (run_folder / "maps" / "quickstart.qgz").exists()


def test_the_scorecard_has_every_model_on_held_out_sites_only(run_folder: Path) -> None:
    card = json.loads((run_folder / "scorecard.json").read_text())
    assert set(card["models"]) == {"stefaland", "climatology", "ridge", "lstm", "scratch"}
    assert sorted(card["ranking"]) == sorted(card["models"])
    assert set(card["models"]["ridge"]["folds"]) == {"americas", "others"}
    assert 900 < card["sites"] < 2100
    heldout = xr.open_zarr(run_folder / "heldout.zarr", consolidated=False)
    assert heldout["observed"].dims == ("site", "time")
    for name in ("americas", "others"):
        fold = json.loads((run_folder / "folds" / f"{name}.json").read_text())
        assert not set(fold["test"]) & set(fold["train"])


def test_the_report_is_one_file_without_network(run_folder: Path) -> None:
    page = (run_folder / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert page.count("data:image/png") >= 12
    assert "central Sahara" in page
    assert "Best on held-out data" in page


def test_a_finished_run_is_skipped_and_a_changed_setting_reruns_what_depends(
    run_folder: Path,
) -> None:
    runs = run_folder.parent
    before = (run_folder / ".stages" / "predict.finished.json").stat().st_mtime_ns
    again = stefaland(runs, "quickstart", QUICKSTART, "run")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("already finished") == len(STAGES)
    changed = stefaland(
        runs, "quickstart", (*QUICKSTART, "score.metric=RMSE", "score.over=sites"), "run"
    )
    assert changed.returncode == 0, changed.stderr
    assert changed.stderr.count("already finished") == len(STAGES) - 2
    assert (run_folder / ".stages" / "predict.finished.json").stat().st_mtime_ns == before


def test_a_dry_run_reports_the_cost_and_writes_no_stage(
    tmp_path: Path,
) -> None:
    done = stefaland(tmp_path, "quickstart", QUICKSTART, "run", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "would run" in done.stderr
    assert re.search(r"global.*4 ", done.stderr)
    assert not (tmp_path / "quickstart" / "cubes").exists()


def test_cells_read_by_shard_are_the_resident_ones(run_folder: Path) -> None:
    settings = [*QUICKSTART, f"roots.runs={run_folder.parent}", f"roots.data={REGISTRY}"]
    run = Run(load_config("quickstart", settings))
    cube, inputs = run.cube("global"), run.config.inputs
    index = cell_index(run, "global")
    statics = static_names(open_cube(cube), inputs)
    sharded = sharded_cells(cube, index, inputs, statics, "made")
    resident = cell_data(open_cells(cube, inputs).assign_coords(index.coords), inputs, statics)
    assert len(sharded.shards) == 4
    assert sorted(sharded.ids) == resident.cell.tolist()
    for read in sharded.readers():
        piece = read()
        wanted = resident.subset(piece.cell)
        for name in ("forcings", "statics", "lonlat"):
            one, other = getattr(piece, name), getattr(wanted, name)
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
        assert (piece.group == wanted.group).all()


@pytest.mark.slow
def test_pretraining_shard_by_shard(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "quickstart")
    streamed = (*QUICKSTART, "pretrain.resident=false")
    done = stefaland(tmp_path, "quickstart", streamed, "pretrain")
    assert done.returncode == 0, done.stderr
    for fold in ("americas", "others"):
        log = (tmp_path / "quickstart" / "pretrained" / fold / "log.jsonl").read_text()
        losses = [json.loads(line)["loss"] for line in log.splitlines()
                  if "validation_loss" in line]  # fmt: skip
        assert losses[-1] < losses[0]


@pytest.mark.slow
def test_embeddings_of_every_land_cell(run_folder: Path) -> None:
    done = stefaland(run_folder.parent, "quickstart", QUICKSTART, "embed")
    assert done.returncode == 0, done.stderr
    path = run_folder / "embeddings" / "americas" / "conus.tif"
    assert cog_validate(path, strict=True)[0]
    with rasterio.open(path) as raster:
        assert raster.descriptions[0] == "days_000"
        assert raster.descriptions[-1].startswith("statics_")
        values = raster.read()
    stored = open_cube(path.with_suffix(".zarr"))["embedding"].values
    np.testing.assert_array_equal(values, stored)
    land = np.isfinite(values).all(0)
    predicted = open_cube(run_folder / "predictions" / "conus.zarr")["quality_flag"].values
    assert ((predicted < 3) == land).all()
    assert np.linalg.matrix_rank(values[:, land]) > 10
    shards = [file.stat().st_mtime_ns for file in path.parent.rglob("c/**/*")]
    again = stefaland(run_folder.parent, "quickstart", QUICKSTART, "embed")
    assert again.returncode == 0, again.stderr
    assert shards == [file.stat().st_mtime_ns for file in path.parent.rglob("c/**/*")]


def test_held_out_sites_are_on_the_project_with_their_scores(run_folder: Path) -> None:
    frame = geopandas.read_file(run_folder / "maps" / "soil_moisture_sites.gpkg", layer="sites")
    card = json.loads((run_folder / "scorecard.json").read_text())
    assert len(frame) == card["sites"]
    assert frame.crs.to_epsg() == 4326
    expected = card["models"]["stefaland"]["sites"]["RMSE"]["median"]
    assert np.nanmedian(frame["RMSE"]) == pytest.approx(expected, rel=1e-5)
    with zipfile.ZipFile(run_folder / "maps" / "quickstart.qgz") as project:
        text = project.read("quickstart.qgs").decode()
    assert "./soil_moisture_sites.gpkg" in text
    # So many sites would hide the map.
    (layer,) = re.findall(r'<layer-tree-layer[^>]*name="Held-out sites: NSE"[^>]*>', text)
    assert 'checked="Qt::Unchecked"' in layer
    assert "(m3 m-3), conus" in text
    africa = frame[frame["region"] == "Africa"].geometry
    assert africa.x.between(-26, 58).all()
    assert africa.y.between(-36, 38).all()


def _damage(maps: Path, what: str) -> str:
    """Damage one published file; returns its name."""
    if what == "value":
        path = maps / "soil_moisture_global.tif"
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as raster:
            values = raster.read(3)
            values[np.isfinite(values)] += 0.01
            raster.write(values, 3)
        return "soil_moisture_global.tif"
    if what == "style":
        style = maps / "soil_moisture_conus.qml"
        style.write_text(re.sub(r'value="0\.2[^"]*"', 'value="0.21"', style.read_text()))
        return style.name
    if what == "zarr":
        store = maps / "soil_moisture_conus_quality.zarr"
        next(path for path in store.rglob("*") if path.parent.name == "quality_flag"
             and path.name[0].isdigit()).unlink()  # fmt: skip
        return "soil_moisture_conus_quality.zarr"
    if what == "stac":
        item = maps / "soil_moisture_global.json"
        found = json.loads(item.read_text())
        found["bbox"][0] = -20
        item.write_text(json.dumps(found))
        return item.name
    if what == "sites":
        sites = maps / "soil_moisture_sites.gpkg"
        sites.write_bytes(b"garbage")
        return sites.name
    if what == "hole":
        # The store of the map: publishing it again would publish the hole.
        store = maps.parent / "mosaics" / "soil_moisture_conus.zarr"
        zarr.open_group(str(store), mode="r+")["soil_moisture"][:, 8:12, 20:30] = np.nan
        return "40 land cells flagged as predicted that have no value"
    (maps / "soil_moisture_global_spread.tif").unlink()
    return "soil_moisture_global_spread.tif"


@pytest.mark.parametrize(
    "what",
    ["style", *(pytest.param(what, marks=pytest.mark.slow)
                for what in ("value", "zarr", "stac", "sites", "hole", "missing"))],
)  # fmt: skip
def test_verify_names_the_damaged_file(run_folder: Path, tmp_path: Path, what: str) -> None:
    for name in ("maps", "mosaics", "cubes"):
        shutil.copytree(run_folder / name, tmp_path / "quickstart" / name)
    settings = [*QUICKSTART, f"roots.runs={tmp_path}", f"roots.data={REGISTRY}"]
    run = Run(load_config("quickstart", settings))
    assert verify_published(run) == 15
    name = _damage(run.maps, what)
    with pytest.raises(InputError) as raised:
        verify_published(run)
    assert name in str(raised.value)


def test_holes_are_counted_and_shown(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("maps", "mosaics", "cubes", "predictions"):
        shutil.copytree(run_folder / name, tmp_path / "quickstart" / name)
    run = Run(load_config("quickstart", [*QUICKSTART, f"roots.runs={tmp_path}",
                                         f"roots.data={REGISTRY}"]))  # fmt: skip
    store = zarr.open_group(str(run.mosaic("conus")), mode="r+")
    for name in ("soil_moisture", "soil_moisture_spread"):
        store[name][:, 8:12, 20:30] = np.nan
    store["quality_flag"][8:12, 20:30] = 255  # as of a tile that was never predicted
    shutil.rmtree(run.maps)
    publish.main(run)
    maps = json.loads((run.maps / "published.json").read_text())["maps"]
    captions = [item["caption"] for item in maps if item["file"] == "soil_moisture_conus.tif"]
    assert captions == ["soil moisture of the top layer, conus; 40 land cells have no value"]
    assert verify_published(run) == 15
    text = " ".join(capsys.readouterr().err.split())
    assert "WARNING: soil_moisture_conus: 40 of" in text
    published = run.maps / "published.json"
    published.write_text(published.read_text().replace("; 40 land cells have no value", ""))
    with pytest.raises(InputError, match=r"published\.json: .*caption"):
        verify_published(run)


def test_publish_verify_on_the_command_line(run_folder: Path) -> None:
    done = stefaland(run_folder.parent, "quickstart", QUICKSTART, "publish", "--verify")
    assert done.returncode == 0, done.stderr
    assert "15 maps" in done.stdout
