"""SoilGrids 2.0 as its server has it: VRTs of tiles in Goode's Homolosine, whole numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import InputError
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import open_source
from tests.loopback import serving_apart
from tests.products.common import cube, faults, same
from tests.products.rasters import raster

WKT = (
    'PROJCS["Homolosine",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,'
    'AUTHORITY["EPSG","7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,'
    'AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],'
    'AUTHORITY["EPSG","4326"]],PROJECTION["Interrupted_Goode_Homolosine"],UNIT["Meter",1]]'
)
CELL, SIZE = 2500.0, 40
"""Size of cells, which are 250 m, and cells of a side of a tile of this fixture."""
VRT = """<VRTDataset rasterXSize="{width}" rasterYSize="{SIZE}">
  <SRS>{WKT}</SRS>
  <GeoTransform>{west}, {CELL}, 0, {north}, 0, -{CELL}</GeoTransform>
  <VRTRasterBand dataType="Int16" band="1">
    <NoDataValue>-32768</NoDataValue>{sources}
  </VRTRasterBand>
</VRTDataset>
"""
TILE = """
    <ComplexSource>
      <SourceFilename relativeToVRT="1">{name}</SourceFilename>
      <SourceBand>1</SourceBand>
      <SrcRect xOff="0" yOff="0" xSize="{SIZE}" ySize="{SIZE}"/>
      <DstRect xOff="{off}" yOff="0" xSize="{SIZE}" ySize="{SIZE}"/>
      <NODATA>-32768</NODATA>
    </ComplexSource>"""


def layer(folder: Path, name: str, west_value: int, east_value: int) -> None:
    """A VRT of two tiles around 10° E, 50° N, with water in the south of the tile in the west."""
    to_map = pyproj.Transformer.from_crs("EPSG:4326", "ESRI:54052", always_xy=True)
    x, y = (CELL * round(v / CELL) for v in to_map.transform(10.0, 50.0))
    west, north = x - SIZE * CELL, y + SIZE / 2 * CELL
    sources = ""
    for number, value in enumerate((west_value, east_value)):
        data = np.full((SIZE, SIZE), value, "i2")
        if number == 0:
            data[SIZE // 2 :] = -32768
        tile = f"{name}/tileSG-006-02{number}/tileSG-006-02{number}_1-1.tif"
        raster(folder / tile, data, west + number * SIZE * CELL, north, (CELL, CELL), WKT,
               nodata=-32768)  # fmt: skip
        sources += TILE.format(name=tile, SIZE=SIZE, off=number * SIZE)
    text = VRT.format(width=2 * SIZE, SIZE=SIZE, WKT=WKT.replace('"', "&quot;"), west=west,
                      north=north, CELL=CELL, sources=sources)  # fmt: skip
    (folder / f"{name}.vrt").write_text(text)


def make_soilgrids2(folder: Path, *depths: str) -> None:
    """Nine properties, 10 units greater with each depth."""
    values = {"sand": (600, 200), "silt": (300, 300), "clay": (100, 500), "bdod": (140, 120),
              "soc": (250, 500), "phh2o": (65, 80), "cfvo": (150, 30), "wv0033": (310, 360),
              "wv1500": (120, 250)}  # fmt: skip
    for more, depth in enumerate(depths):
        for name, (west, east) in values.items():
            layer(folder / name, f"{name}_{depth}_mean", west + 10 * more, east + 10 * more)


def test_each_property_has_its_units(tmp_path: Path) -> None:
    make_soilgrids2(tmp_path / "soilgrids2", "0-5cm")
    # The corner of the tiles is within 2 km of 10° E, 50° N.
    found = cube("soilgrids2", tmp_path, (9.2, 49.6, 10.8, 50.4), 0.4)
    north, south = (found.isel(x=[0, -1], y=row) for row in (0, -1))
    same(north["sand"], [0.6, 0.2])
    same(north["silt"], [0.3, 0.3])
    same(north["clay"], [0.1, 0.5])
    same(north["bulk_density"], [1.4, 1.2])
    same(north["organic_carbon"], [25, 50])
    same(north["soil_ph"], [6.5, 8.0])
    same(north["coarse_fragments"], [0.15, 0.03])
    same(north["field_capacity"], [0.31, 0.36])
    same(north["wilting_point"], [0.12, 0.25])
    same(south["sand"], [np.nan, 0.2])
    assert found["organic_carbon"].attrs["units"] == "g kg-1"
    assert not faults("soilgrids2", tmp_path)


def test_depths_are_weighted_by_their_thickness(tmp_path: Path) -> None:
    make_soilgrids2(tmp_path / "soilgrids2", "0-5cm", "5-15cm", "15-30cm")
    found = cube("soilgrids2", tmp_path, (9.2, 50.1, 9.4, 50.3), 0.2, sources=["soilgrids2_30cm"])
    more = (10 * 10 + 15 * 20) / 30
    same(found["sand"], [[(600 + more) / 1000]])
    same(found["clay"], [[(100 + more) / 1000]])
    same(found["bulk_density"], [[(140 + more) / 100]])
    same(found["organic_carbon"], [[(250 + more) / 10]])


def test_maps_are_read_from_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_soilgrids2(tmp_path / "data", "0-5cm")
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / "cache"))
    with serving_apart(tmp_path) as url:
        uri = f"/vsicurl/{url}/data/sand/sand_0-5cm_mean.vrt"
        entry = read_catalog("soilgrids2", data=tmp_path)["soilgrids2"]
        sand = entry.variables["sand"]
        entry = entry.model_copy(update={"uri": uri, "variables": {"sand": sand}})
        with pytest.raises(InputError, match=r"a VRT at an address.*trust: true"):
            open_source(entry)
        entry = entry.model_copy(update={"options": {"trust": True}})
        found = canonicalise(open_source(entry), entry, read_variables())["sand"]
        same(found.isel(y=0, x=[0, -1]), [0.6, 0.2])
