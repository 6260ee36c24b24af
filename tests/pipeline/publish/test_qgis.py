from __future__ import annotations

import functools
import json
import os
import subprocess
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.maps.legend import named_legend
from pipeline.maps.texture import CLASS, texture
from pipeline.publish.geopackage import renderer_element, sites_frame, write_sites
from pipeline.publish.geotiff import write_cog
from pipeline.publish.qgis import project_element, read_project, write_project
from pipeline.publish.qgis_layers import (
    MAX_DATES,
    LayerGroup,
    RasterLayer,
    SiteLayer,
    date_layers,
    leaves,
    map_group,
    periods,
)
from tests.maps import ALBERS, GRID, NAMES, TARGET, field

PYTHON = os.environ.get("PYQGIS_PYTHON", "/usr/bin/python3")
PLACES = [(-110.0, 38.0), (-95.0, 33.0), (-85.0, 41.0)]
SEA = (-120.0, 27.0)


@functools.cache
def has_qgis() -> bool:
    command = [PYTHON, "-c", "import qgis.core"]
    return Path(PYTHON).exists() and subprocess.run(command, capture_output=True).returncode == 0


def publish(folder: Path) -> Path:
    """A project of two products and some stations, as a run has it."""
    maps = folder / "maps"
    groups = []
    for grid in (GRID, ALBERS):
        ds, files = field(grid), {}
        for name in (TARGET, f"{TARGET}_spread"):
            files[name] = write_cog(maps / f"{name}_{grid.name}.tif", ds[name], grid)
        flag = write_cog(
            maps / f"flag_{grid.name}.tif", ds["quality_flag"], grid, kind="categorical",
            legend=named_legend("quality_flag"),
        )  # fmt: skip
        group = map_group(
            f"Soil moisture, {grid.name}",
            [
                ("Soil moisture", files[TARGET], named_legend("soil_moisture")),
                ("Spread", files[f"{TARGET}_spread"], named_legend("soil_moisture_spread")),
                ("Quality flag", flag, named_legend("quality_flag")),
            ],
            visible=grid is GRID,
        )
        groups.append(group)
    table = sites_frame(
        np.array([-100.0, -90.0]), np.array([45.0, 45.0]), {"NSE": np.array([0.9, -3.0])}
    )
    style = renderer_element("point", named_legend("score"), "NSE")
    sites = write_sites(maps / "sites.gpkg", {"stations": table}, {"stations": style})
    stations = SiteLayer(
        name="Stations: NSE", path=sites, table="stations", legend=named_legend("score"),
        column="NSE",
    )  # fmt: skip
    return write_project(folder / "run.qgz", [LayerGroup("Stations", (stations,)), *groups],
                         title="A run")  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("run"))


def test_the_project_describes_every_layer_once(project: Path) -> None:
    root = read_project(project)
    layers = root.findall("projectlayers/maplayer")
    assert len(layers) == 1 + 2 * (12 + 12 + 1)
    assert len({layer.findtext("id") for layer in layers}) == len(layers)
    assert root.findtext("properties/Paths/Absolute") == "false"
    assert str(project.parent) not in zipfile.ZipFile(project).read("run.qgs").decode()
    bands = [r.get("band") for r in root.iterfind("projectlayers/maplayer/pipe/rasterrenderer")]
    assert bands[:12] == [str(i) for i in range(1, 13)]


def test_the_same_run_produces_the_same_project(project: Path, tmp_path: Path) -> None:
    again = publish(tmp_path)
    assert again.read_bytes() == project.read_bytes()
    sites = "maps/sites.gpkg"
    assert (tmp_path / sites).read_bytes() == (project.parent / sites).read_bytes()


def test_months_cover_the_year_without_overlap(project: Path) -> None:
    layers = date_layers(project.parent / "maps" / f"{TARGET}_test.tif", named_legend(TARGET))
    assert [layer.name for layer in layers] == NAMES
    begins = np.array([layer.begin for layer in layers])
    ends = np.array([layer.end for layer in layers])
    assert str(begins[0]) == "2001-01-01T00:00:00"
    assert str(ends[-1]) == "2001-12-31T23:59:59"
    assert (begins[1:] - ends[:-1] == np.timedelta64(1, "s")).all()


def test_periods_of_days_seasons_and_years() -> None:
    def spans(*times: str) -> list[tuple[str, str]]:
        begins, ends = periods(np.array(times, "datetime64[s]"))
        return [(str(b)[:10], str(e)[:10]) for b, e in zip(begins, ends, strict=True)]

    assert spans("2001-01-01", "2001-01-02")[1] == ("2001-01-02", "2001-01-02")
    assert spans("2000-12-01", "2001-03-01")[0] == ("2000-12-01", "2001-02-28")
    assert spans("2000-07-01", "2001-07-01")[1] == ("2001-01-01", "2001-12-31")
    assert spans("2001-05-03") == [("2001-05-03", "2001-05-03")]


def long_series(folder: Path, first: int = 0) -> Path:
    """Daily maps of four months, with values from day number `first` on."""
    time = np.arange("2001-01-01", "2001-05-01", dtype="datetime64[D]").astype("datetime64[ns]")
    assert time.size > MAX_DATES
    values = np.full((time.size, *GRID.shape), 0.3, np.float32)
    values[:first] = np.nan
    values[:, 40:] = np.nan  # as SEA has none
    da = xr.DataArray(values, dims=("time", "y", "x"), coords={"time": time}, name="v")
    return write_cog(folder / "maps" / "v.tif", da, GRID)


def test_a_long_series_shows_a_layer_a_month_for_the_whole_month(tmp_path: Path) -> None:
    layers = date_layers(long_series(tmp_path), named_legend(TARGET))
    assert [layer.name for layer in layers] == [f"2001-0{month}-01" for month in range(1, 5)]
    assert [layer.band for layer in layers] == [1, 32, 60, 91]
    spans = [(str(layer.begin), str(layer.end)) for layer in layers]
    assert spans[1] == ("2001-02-01T00:00:00", "2001-02-28T23:59:59")
    assert spans[-1][1] == "2001-04-30T23:59:59"


def test_a_month_is_shown_by_its_first_day_with_values(tmp_path: Path) -> None:
    layers = date_layers(long_series(tmp_path, first=40), named_legend(TARGET))
    assert [layer.name for layer in layers] == ["2001-02-10", "2001-03-01", "2001-04-01"]
    assert str(layers[0].begin) == "2001-02-01T00:00:00"


def test_headings_name_maps_of_one_band_and_tell_of_dates_left_out(tmp_path: Path) -> None:
    legend = named_legend(TARGET)
    one = write_cog(tmp_path / "maps" / "one.tif", field()[TARGET][0], GRID)
    maps = [("Soil moisture (m3 m-3), a", long_series(tmp_path), legend), ("Mean, a", one, legend)]
    group = map_group("a", maps)
    assert [layer.name for layer in group.layers] == [
        "Soil moisture (m3 m-3), a: one date a month", "Mean, a",
    ]  # fmt: skip
    assert [layer.name for layer in leaves([group])][-1] == "Mean, a"


def test_ranges_of_scores_meet(project: Path) -> None:
    legend = named_legend("score")
    element = renderer_element("point", legend, "NSE")
    ranges = [(float(r.get("lower", "")), float(r.get("upper", ""))) for r in element.iter("range")]
    assert len(ranges) == len(legend.stops) == len(element.findall("symbols/symbol"))
    assert all(a[1] == b[0] for a, b in pairwise(ranges))
    assert ranges[1] == (0.0, 0.2)
    assert renderer_element("polygon", None, None).get("type") == "singleSymbol"


@pytest.mark.qgis
def test_qgis_opens_a_geopackage_of_scores_in_its_style(project: Path) -> None:
    if not has_qgis():
        pytest.skip(f"{PYTHON} has no QGIS: scripts/install_qgis.sh")
    script = f"""
import os
from qgis.core import QgsApplication, QgsVectorLayer
app = QgsApplication([], False)
app.initQgis()
layer = QgsVectorLayer({str(project.parent / "maps" / "sites.gpkg")!r} + "|layername=stations", "s")
renderer = layer.renderer()
print("found", renderer.type(), renderer.classAttribute(), len(renderer.ranges()), flush=True)
os._exit(0)
"""
    done = subprocess.run(
        [PYTHON, "-c", script], capture_output=True, text=True, timeout=120,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    assert "found graduatedSymbol NSE 6" in done.stdout, done.stderr[-2000:]


def test_faults(tmp_path: Path) -> None:
    layer = RasterLayer(name="a", path=tmp_path / "none.tif", legend=named_legend(TARGET))
    with pytest.raises(InputError, match="no file"):
        write_project(tmp_path / "p.qgz", [LayerGroup("g", (layer,))], title="t")
    with pytest.raises(InputError, match="no layer"):
        write_project(tmp_path / "p.qgz", [], title="t")
    path = write_cog(tmp_path / "a" / "v.tif", field()[TARGET], GRID)
    group = map_group("g", [("Soil moisture", path, named_legend(TARGET))])
    with pytest.raises(InputError, match="Write the project above its maps"):
        write_project(tmp_path / "b" / "p.qgz", [group], title="t")
    with pytest.raises(InputError, match="no site"):
        write_sites(tmp_path / "s.gpkg", {"s": sites_frame(np.array([]), np.array([]), {})})
    assert not list(tmp_path.glob("*.gpkg"))


def test_sites_that_are_missing_or_no_geopackage_are_reported(tmp_path: Path) -> None:
    publish(tmp_path)
    sites = tmp_path / "maps" / "sites.gpkg"
    groups = [LayerGroup("g", (SiteLayer(name="Stations", path=sites, table="stations"),))]
    assert project_element(tmp_path / "run.qgz", groups, title="t").tag == "qgis"
    sites.write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"sites\.gpkg: found unreadable"):
        project_element(tmp_path / "run.qgz", groups, title="t")
    sites.unlink()
    with pytest.raises(InputError, match=r"no file .*sites\.gpkg"):
        project_element(tmp_path / "run.qgz", groups, title="t")


def probe(project: Path) -> dict[str, Any]:
    """Contents of a project in QGIS itself, and the colours that it draws at the locations."""
    if not has_qgis():
        pytest.skip(f"{PYTHON} has no QGIS: scripts/install_qgis.sh")
    script = Path(__file__).parents[2] / "qgis" / "probe.py"
    command = [PYTHON, str(script), str(project), str(project.parent / "picture.png")]
    done = subprocess.run(
        [*command, json.dumps([*PLACES, SEA])], capture_output=True, text=True, timeout=240,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def seen(project: Path) -> dict[str, Any]:
    return probe(project)


@pytest.mark.qgis
def test_qgis_opens_every_layer(seen: dict[str, Any]) -> None:
    assert seen["opened"]
    assert (seen["title"], seen["crs"]) == ("A run", "EPSG:4326")
    assert seen["groups"] == ["Stations", "Soil moisture, test", "Soil moisture, albers"]
    assert len(seen["layers"]) == 51
    assert all(layer["valid"] for layer in seen["layers"])
    assert {layer["crs"] for layer in seen["layers"]} == {"EPSG:4326", "EPSG:5070"}
    rasters = [layer for layer in seen["layers"] if "band" in layer]
    assert [layer["band"] for layer in rasters[:12]] == list(range(1, 13))
    assert {layer["renderer"] for layer in rasters} == {"singlebandpseudocolor", "paletted"}
    stations = seen["layers"][0]
    assert (stations["features"], stations["renderer"]) == (2, "graduatedSymbol")


@pytest.mark.qgis
def test_qgis_has_the_time_of_every_month(seen: dict[str, Any]) -> None:
    assert seen["time"] == ["2001-01-01T00:00:00Z", "2001-12-31T23:59:59Z"]
    assert seen["controller"] == 1
    assert seen["step"][0] == 1
    february = next(layer for layer in seen["layers"] if layer["name"] == "February")
    assert february["time"] == ["2001-02-01T00:00:00Z", "2001-02-28T23:59:59Z"]


@pytest.mark.qgis
def test_qgis_shows_a_long_series_at_any_time(tmp_path: Path) -> None:
    group = map_group("Daily", [("Moisture", long_series(tmp_path, 40), named_legend(TARGET))])
    found = probe(write_project(tmp_path / "run.qgz", [group], title="Daily"))
    assert found["time"] == ["2001-02-01T00:00:00Z", "2001-04-30T23:59:59Z"]
    assert found["step"] == [1.0, 6]  # a month
    assert [layer["time"][0][:10] for layer in found["layers"]] == [
        "2001-02-01", "2001-03-01", "2001-04-01",
    ]  # fmt: skip
    at_last = [frame["colours"] for frame in found["frames"]]
    assert len(at_last) == 3
    colour = next(stop.colour for stop in named_legend(TARGET).stops if stop.value == 0.3)
    assert all(colours[:3] == [colour] * 3 for colours in at_last)


def test_the_time_controller_has_the_range_of_what_is_shown(tmp_path: Path) -> None:
    legend, daily = named_legend(TARGET), long_series(tmp_path, 40)
    year = field()[TARGET].isel(time=slice(0, 2))
    year = year.assign_coords(time=np.array(["2000-01-01", "2001-01-01"], "datetime64[ns]"))
    yearly = write_cog(tmp_path / "maps" / "year.tif", year, GRID)
    first = map_group("daily", [("Moisture", daily, legend)])
    second = map_group("annual", [("Mean", yearly, legend)], visible=False)
    root = read_project(write_project(tmp_path / "run.qgz", [first, second], title="t"))
    time = root.find("ProjectTimeSettings")
    assert time is not None
    assert time.get("timeStepUnit") == "mon"
    assert time.findtext("TemporalRange/start") == "2001-02-01T00:00:00Z"
    assert time.findtext("TemporalRange/end") == "2001-04-30T23:59:59Z"


@pytest.mark.qgis
def test_qgis_puts_the_units_beside_the_colours(seen: dict[str, Any]) -> None:
    maps = [layer for layer in seen["layers"] if "suffix" in layer]
    assert {layer["suffix"] for layer in maps} == {" m3 m-3"}


@pytest.mark.qgis
def test_qgis_draws_the_legend_colours(seen: dict[str, Any], project: Path) -> None:
    legend = named_legend("soil_moisture")
    row, col = GRID.index_of(*np.array(PLACES).T)
    with rasterio.open(project.parent / "maps" / f"{TARGET}_test.tif") as raster:
        values = raster.read(1)[row, col]
    wanted = legend.colormap(legend.norm(values))[:, :3] * 255
    found = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in seen["colours"][:3]]
    np.testing.assert_allclose(found, wanted, atol=3)
    assert len(set(seen["colours"])) == 4
    assert seen["colours"][3] == "#ffffff"  # nothing is drawn where there is no value


@pytest.mark.qgis
@pytest.mark.parametrize("first", ["class", "clay"])
def test_qgis_draws_texture_classes_and_fractions_in_their_colours(
    tmp_path: Path, first: str
) -> None:
    share = field()[TARGET].isel(time=0, drop=True)
    low, high = float(share.min()), float(share.max())
    clay = (0.02 + 0.6 * (share - low) / (high - low)).astype(np.float32)
    parts = {"sand": (1 - clay) * 0.6, "silt": (1 - clay) * 0.4, "clay": clay}
    ds = texture(xr.Dataset(parts, field().coords).drop_vars("time"))
    files = {name: write_cog(tmp_path / "maps" / f"{name}.tif", ds[name], GRID) for name in parts}
    legend = named_legend("usda_texture")
    files[CLASS] = write_cog(
        tmp_path / "maps" / f"{CLASS}.tif", ds[CLASS], GRID, kind="categorical", legend=legend
    )
    maps = [("USDA class", files[CLASS], legend)]
    maps += [(name, files[name], named_legend("soil_fraction")) for name in ("clay", "silt")]
    maps = maps if first == "class" else maps[1:]
    project = write_project(tmp_path / "run.qgz", [map_group("Texture", maps)], title="Texture")

    found = probe(project)
    assert [layer["valid"] for layer in found["layers"]] == [True] * len(maps)
    row, col = GRID.index_of(*np.array(PLACES).T)
    drawn = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in found["colours"]]
    if first == "class":
        codes = ds[CLASS].values[row, col]
        assert len(set(codes)) > 1
        assert drawn[:3] == [list(legend.colour_table[code][:3]) for code in codes.tolist()]
        assert found["layers"][0]["renderer"] == "paletted"
    else:
        stops = named_legend("soil_fraction").stops
        colours = np.array([stop.rgb for stop in stops])
        values = [stop.value for stop in stops]
        at = ds["clay"].values[row, col]
        wanted = np.stack([np.interp(at, values, band) for band in colours.T], -1)
        # A location on the edge of two cells may be drawn as the other one.
        np.testing.assert_allclose(drawn[:3], wanted, atol=5)
    assert drawn[3] == [255, 255, 255]  # the sea


def test_leaves_keep_their_order() -> None:
    legend = named_legend(TARGET)
    a, b, c = (RasterLayer(name=name, path=Path(name), legend=legend) for name in "abc")
    assert [leaf.name for leaf in leaves([LayerGroup("g", (a, LayerGroup("h", (b,)))), c])] == [
        "a", "b", "c",
    ]  # fmt: skip
