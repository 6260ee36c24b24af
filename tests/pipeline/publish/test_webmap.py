"""The report's maps: what is packed, and what Chromium shows of it from the file system."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import zlib

import numpy as np
import pytest
import rasterio
import xarray as xr

from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import named_legend
from pipeline.publish.geotiff import write_cog
from pipeline.publish.webmap import (
    LEVELS,
    overview_factor,
    pack,
    page_product,
    pixel_lines,
    quantised,
)
from tests.maps import ALBERS, GRID, NAMES, TARGET, field, on_land, truth
from workflows.products.map_viewer import viewer_html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")

ROW, COL = 25, 60  # on land, in the middle of GRID

# Uses the page as a reader would: real events on its own elements. What it finds goes into the DOM.
PROBE = """
<script>
window.faults = [];
addEventListener("error", (event) => faults.push(event.message));
addEventListener("unhandledrejection", (event) => faults.push(String(event.reason)));
</script>
PAGE
<script>
(async () => {
  const root = document.getElementById("viewer"), found = {};
  const part = (name) => root.querySelector(`[data-part="${name}"]`), canvas = part("canvas");
  const ready = async () => {
    while (root.dataset.ready !== "yes") await new Promise((next) => setTimeout(next, 20));
  };
  const choose = async (name, value) => {
    part(name).value = value;
    part(name).dispatchEvent(new Event("change"));
    await ready();
  };
  const pointer = (type, x, y) => {
    const box = canvas.getBoundingClientRect(), by = box.width / canvas.width;
    canvas.dispatchEvent(new PointerEvent(type, {
      bubbles: true, clientX: box.left + x * by, clientY: box.top + y * by }));
  };
  const centre = (row, col, rows, cols) => {
    const scale = Math.min(canvas.width / cols, canvas.height / rows);
    return [(canvas.width - scale * cols) / 2 + (col + 0.5) * scale,
            (canvas.height - scale * rows) / 2 + (row + 0.5) * scale];
  };
  const click = (x, y) => { pointer("pointerdown", x, y); pointer("pointerup", x, y); };
  const pixel = (x, y) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data];
  await ready();
  const at = centre(ROW, COL, 52, 117), sea = centre(1, 1, 52, 117);
  found.january = pixel(...at);
  found.sea = pixel(...sea);
  part("slider").value = 6;
  part("slider").dispatchEvent(new Event("input"));
  found.band = part("band").textContent;
  found.july = pixel(...at);
  click(...at);
  found.series = JSON.parse(root.dataset.series);
  found.readout = part("readout").textContent;
  found.chartHeight = part("series").getBoundingClientRect().height;
  found.around = JSON.parse(root.dataset.band);
  const drawn = (name) => [...part("series").querySelectorAll(name)];
  found.polygons = drawn("polygon").map((polygon) =>
    polygon.getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number)));
  found.words = drawn("text").map((of) => of.textContent);
  found.circles = drawn("circle").map((of) => Number(of.getAttribute("cy")));
  found.points = part("series").querySelectorAll("circle").length;
  click(...sea);
  found.nothing = part("readout").textContent;
  const before = canvas.toDataURL();
  pointer("pointerdown", 300, 200);
  pointer("pointermove", 420, 260);
  pointer("pointerup", 420, 260);
  found.dragged = canvas.toDataURL() !== before;
  part("reset").click();
  found.reset = canvas.toDataURL() === before;
  part("in").click();
  found.zoomed = canvas.toDataURL() !== before;
  await choose("layer", "1");
  part("reset").click();
  click(...at);
  found.flag = part("readout").textContent;
  found.flagColour = pixel(...at);
  found.timeless = part("time").hidden;
  found.classes = part("legend").querySelectorAll(".viewer-swatch").length;
  await choose("layer", "2");
  click(...at);
  found.ofSpread = [part("series").querySelectorAll("polygon").length, root.dataset.band];
  await choose("layer", "0");
  await choose("product", "1");
  click(...centre(30, 48, 60, 96));
  found.albers = part("readout").textContent;
  found.faults = faults;
  const report = document.createElement("pre");
  report.id = "found";
  report.textContent = JSON.stringify(found);
  document.body.append(report);
})().catch((error) => { document.title = `FAILED ${error.stack}`; });
</script>
"""


def unpack(data: str, shape: tuple[int, ...]) -> np.ndarray:
    """Codes from the result of `pack`, unpacked without the code of the page."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(data)), np.uint8).reshape(2, -1)
    differences = planes[0].astype(np.int64) + 256 * planes[1].astype(np.int64)
    return (np.cumsum(differences) % 65536).reshape(shape)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("page")
    made = []
    for name, grid in (("degrees", GRID), ("albers", ALBERS)):
        ds = field(grid)
        maps = []
        for variable, legend in (
            (TARGET, "soil_moisture"), ("quality_flag", "quality_flag"),
            (f"{TARGET}_spread", "soil_moisture"),
        ):  # fmt: skip
            colours = named_legend(legend)
            path = folder / f"{name}_{variable}.tif"
            write_cog(
                path, ds[variable], grid, kind=colours.kind, legend=colours, units=colours.units
            )
            maps.append((path, colours, variable))
        made.append(page_product(name, maps, 10**6, spreads={0: 2}))
    return made


def test_what_is_packed_is_the_map_to_half_a_step(products):
    layer = products[0]["layers"][0]
    codes = unpack(layer["data"], (12, *GRID.shape))
    values = np.where(codes == 0, np.nan, layer["low"] + (codes - 1.0) * layer["step"])
    wanted = field()[TARGET].values
    np.testing.assert_allclose(values, wanted, rtol=0, atol=layer["step"] * 0.501)
    assert layer["step"] < 1e-5
    assert layer["bands"] == NAMES
    flags = unpack(products[0]["layers"][1]["data"], GRID.shape)
    assert np.array_equal(np.where(flags == 0, 255, flags - 1), field()["quality_flag"].values)


def test_pack_wraps_around():
    codes = np.array([0, 65535, 1, 40000, 0, 65535], np.uint16)
    assert np.array_equal(unpack(pack(codes), codes.shape), codes)


def test_extremes_and_missing_values_of_a_quantity():
    codes, low, step = quantised(np.ma.masked_invalid(np.array([-2.0, np.nan, 3.0], np.float32)))
    assert codes.tolist() == [1, 0, LEVELS + 1]
    assert low + LEVELS * step == pytest.approx(3)
    nothing, _, _ = quantised(np.ma.masked_invalid(np.full(3, np.nan, np.float32)))
    assert nothing.tolist() == [0, 0, 0]
    same, low, _ = quantised(np.ma.masked_invalid(np.full(2, 7, np.float32)))
    assert same.tolist() == [1, 1]
    assert low == 7


def test_a_large_map_shrinks_to_an_overview_of_its_cog(tmp_path):
    grid = TargetGrid.from_bounds("fine", "EPSG:4326", (-125, 24, -66.5, 50), 0.05)  # 520 x 1170
    lon, lat = grid.lonlat()
    values = np.where(on_land(lon, lat), truth(lon, lat)[0], np.nan).astype(np.float32)
    da = xr.DataArray(values, dims=("y", "x"), coords=grid.coords())
    legend = named_legend("soil_moisture")
    path = tmp_path / "map.tif"
    write_cog(path, da, grid, kind="continuous", legend=legend)
    product = page_product("small", [(path, legend, "map")], 260 * 585)
    assert (product["factor"], product["height"], product["width"]) == (2, 260, 585)
    layer = product["layers"][0]
    codes = unpack(layer["data"], (260, 585))
    shown = np.where(codes == 0, np.nan, layer["low"] + (codes - 1.0) * layer["step"])
    with rasterio.open(path, overview_level=0) as overview:
        np.testing.assert_allclose(shown, overview.read(1), rtol=0, atol=layer["step"] * 0.501)


def test_the_factor_is_the_least_that_fits():
    assert overview_factor((3600, 7200), 12, 4_000_000) == 16
    assert overview_factor((52, 117), 12, 10**6) == 1


def test_outlines_are_in_cells_and_end_at_the_map():
    transform = rasterio.Affine(0.5, 0, -125, 0, -0.5, 50)
    line = np.array([[-130.0, 45.0], [-120.0, 45.0]])
    assert pixel_lines([line], transform, 52, 117) == [[0.0, 10.0, 10.0, 10.0]]


@pytest.fixture(scope="module")
def found(products, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Results of the probe in headless Chromium."""
    page = tmp_path_factory.mktemp("browser") / "page.html"
    probe = PROBE.replace("ROW, COL", f"{ROW}, {COL}").replace("PAGE", viewer_html(products))
    page.write_text(f"<!doctype html><meta charset='utf-8'><body>{probe}", encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
        f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=20000",
        "--window-size=1200,1000", page.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    report = re.search(r'<pre id="found">(.*?)</pre>', dom, re.S)
    assert report, re.findall(r"<title>.*?</title>", dom)
    return json.loads(report.group(1).replace("&lt;", "<").replace("&gt;", ">"))


def expected_colour(band: int) -> np.ndarray:
    """RGB of the legend at the value of the cell that is looked at."""
    legend = named_legend("soil_moisture")
    value = field()[TARGET].values[band, ROW, COL]
    stops = [stop.value for stop in legend.stops]
    return np.array([np.interp(value, stops, [s.rgb[i] for s in legend.stops]) for i in range(3)])


@needs_chromium
def test_the_page_loads_from_a_file_without_errors(found):
    assert found["faults"] == []


@needs_chromium
def test_the_slider_changes_the_map_to_the_legend_colour_of_that_month(found):
    assert found["band"] == "July"
    np.testing.assert_allclose(found["january"][:3], expected_colour(0), atol=1)
    np.testing.assert_allclose(found["july"][:3], expected_colour(6), atol=1)
    assert found["january"] != found["july"]
    assert found["sea"][3] == 0  # missing is transparent, not the colour of 0


@needs_chromium
def test_a_click_shows_the_series_of_that_cell(found):
    wanted = field()[TARGET].values[:, ROW, COL]
    np.testing.assert_allclose(found["series"], wanted, atol=1e-5)
    assert found["points"] == 12
    assert found["chartHeight"] > 100
    assert f"{abs(GRID.y[ROW]):.2f}° N, {abs(GRID.x[COL]):.2f}° W" in found["readout"]
    assert f"July: {wanted[6]:.4g} m3 m-3" in found["readout"]
    assert "no value" in found["nothing"]


@needs_chromium
def test_the_series_lies_in_the_band_of_its_spread(found):
    mean, spread = (field()[name].values[:, ROW, COL] for name in (TARGET, f"{TARGET}_spread"))
    wanted = np.stack([mean - 1.64 * spread, mean + 1.64 * spread], axis=1)
    np.testing.assert_allclose(found["around"], wanted, atol=1e-5)
    (polygon,) = found["polygons"]
    assert len(polygon) == 24
    heights = np.array(polygon)[:, 1]
    above, below = heights[:12], heights[12:][::-1]
    # Down is more on a screen; the band is as wide as its ends are apart on the value axis.
    assert (above < found["circles"]).all()
    assert (found["circles"] < below).all()
    per_value = (below - above) / (wanted[:, 1] - wanted[:, 0])
    np.testing.assert_allclose(per_value, per_value[0], rtol=0.01)
    assert above.min() >= 15
    assert below.max() <= 155
    assert "shaded: mean ± 1.64 spread" in found["words"]
    assert found["ofSpread"] == [0, "[]"]  # the spread has none itself


@needs_chromium
def test_the_map_moves_zooms_and_comes_back(found):
    assert found["dragged"]
    assert found["reset"]
    assert found["zoomed"]


@needs_chromium
def test_classes_are_named_and_have_no_slider(found):
    legend = named_legend("quality_flag")
    code = int(field()["quality_flag"].values[ROW, COL])
    stop = next(stop for stop in legend.stops if stop.value == code)
    assert stop.label in found["flag"]
    assert found["flagColour"][:3] == list(stop.rgb)
    assert found["timeless"]
    assert found["classes"] == len(legend.stops)


@needs_chromium
def test_a_click_on_a_projected_map_shows_longitude_and_latitude(found):
    lon, lat = ALBERS.lonlat()
    north, west = re.match(r"([\d.]+)° N, ([\d.]+)° W", found["albers"]).groups()
    assert float(north) == pytest.approx(lat[30, 48], abs=0.02)
    assert float(west) == pytest.approx(-lon[30, 48], abs=0.02)
