"""Stations and basins with their scores as a GeoPackage that contains its QGIS styles."""

from __future__ import annotations

import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.core.errors import Fault, bad_input, listed
from pipeline.core.files import replacing, require_space
from pipeline.core.written.characters import printable
from pipeline.maps.legend import Legend, Stop
from pipeline.publish.qml import QGIS_VERSION, xml_bytes

if TYPE_CHECKING:
    import pandas as pd
    from geopandas import GeoDataFrame

Geometry = Literal["point", "polygon"]
FEATURE_BYTES = 160
"""Bytes of a feature besides its columns: geometry, spatial index and the table's own."""
_LINE = "45,52,60,255"


def sites_frame(
    lon: np.ndarray, lat: np.ndarray, columns: Mapping[str, np.ndarray]
) -> GeoDataFrame:
    """Points in degrees (EPSG:4326) with the columns by name; NaN becomes NULL.

    Characters that files cannot hold are replaced.
    """
    import geopandas

    points = geopandas.points_from_xy(np.asarray(lon, float), np.asarray(lat, float))
    values = {
        name: np.array([printable(text) for text in column.tolist()], column.dtype)
        if column.dtype.kind == "U"
        else column
        for name, column in columns.items()
    }
    return geopandas.GeoDataFrame(values, geometry=points, crs="EPSG:4326")


def write_sites(
    path: str | Path,
    layers: Mapping[str, GeoDataFrame],
    styles: Mapping[str, ET.Element] | None = None,
) -> Path:
    """Write each frame as a layer of one GeoPackage, whole or not at all.

    Equal frames produce equal files. `styles` maps layers to the renderer (`renderer_element`) with
    which QGIS draws them. `InputError` where a frame is empty or has no CRS.
    """
    import pyogrio

    path = Path(path)
    for name, frame in layers.items():
        if frame.empty or frame.crs is None:
            found = "no site" if frame.empty else "no CRS"
            raise bad_input(f"{path.name}: layer {name}", found, "sites with a CRS")
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    # Otherwise GDAL writes the present time to the file.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2000-01-01T00:00:00Z"})
    try:
        with replacing(path, sum(map(_file_bytes, layers.values()))) as partial:
            for number, (name, frame) in enumerate(layers.items()):
                frame.to_file(partial, layer=name, driver="GPKG", mode="a" if number else "w")
            if styles:
                pyogrio.write_dataframe(
                    _style_table(styles), partial, layer="layer_styles", driver="GPKG", append=True,
                    layer_options={"FID": "id"},
                )  # fmt: skip
            require_space(partial)
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
    return path


def _file_bytes(frame: GeoDataFrame) -> int:
    """Approximate bytes of a layer and of the journal while it is written."""
    return 2 * int(frame.memory_usage(deep=True).sum() + FEATURE_BYTES * len(frame))


def _style_table(styles: Mapping[str, ET.Element]) -> pd.DataFrame:
    """The table in which QGIS keeps the styles of a GeoPackage's layers."""
    import pandas as pd

    rows = []
    for name, renderer in styles.items():
        root = ET.Element("qgis", version=QGIS_VERSION, styleCategories="Symbology")
        root.append(renderer)
        rows.append({
            "f_table_catalog": "", "f_table_schema": "", "f_table_name": name,
            "f_geometry_column": "geom", "styleName": name, "styleQML": xml_bytes(root).decode(),
            "styleSLD": "", "useAsDefault": True, "description": "", "owner": "", "ui": "",
            "update_time": pd.Timestamp("2000-01-01"),
        })  # fmt: skip
    return pd.DataFrame(rows)


def site_count(path: str | Path, layer: str) -> int | None:
    """Number of features of a layer; None where the file cannot be read (see `verify_sites`)."""
    import pyogrio

    try:
        return int(pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError):
        return None


def verify_sites(path: str | Path) -> list[Fault]:
    """Faults of a GeoPackage on disk: damaged pages, layers without features."""
    import pyogrio

    where = str(path)
    try:
        with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)) as file:
            damage = [row[0] for row in file.execute("PRAGMA integrity_check")]
        if damage != ["ok"]:
            return [Fault(where, f"damaged ({listed(damage)})", "a sound GeoPackage")]
        counts = {
            str(name): pyogrio.read_info(path, layer=name, force_feature_count=True)["features"]
            for name, _ in pyogrio.list_layers(path)
        }
    except (sqlite3.Error, RuntimeError, OSError, ValueError) as error:
        return [Fault(where, f"unreadable ({error})", "a GeoPackage")]
    empty = [name for name, count in counts.items() if not count]
    if empty or not counts:
        return [Fault(where, f"no feature in layers {listed(empty)}", "sites with their scores")]
    return []


def renderer_element(geometry: Geometry, legend: Legend | None, column: str | None) -> ET.Element:
    """The `<renderer-v2>` of a layer: one symbol, or a colour for each range of `column`.

    A range extends from its stop to the next; the first and the last are open.
    """
    common = {"symbollevels": "0", "forceraster": "0", "enableorderby": "0"}
    if legend is None or column is None:
        element = ET.Element("renderer-v2", {"type": "singleSymbol", **common})
        symbols = ET.SubElement(element, "symbols")
        symbols.append(_symbol("0", geometry, None))
        return element
    method = {"attr": column, "graduatedMethod": "GraduatedColor"}
    element = ET.Element("renderer-v2", {"type": "graduatedSymbol", **method, **common})
    ranges, symbols = ET.SubElement(element, "ranges"), ET.SubElement(element, "symbols")
    lower = [-1e9, *(stop.value for stop in legend.stops[1:])]
    for number, stop in enumerate(legend.stops):
        upper = lower[number + 1] if number + 1 < len(lower) else 1e9
        ET.SubElement(
            ranges, "range", lower=f"{lower[number]:.15f}", upper=f"{upper:.15f}",
            render="true", symbol=str(number), label=stop.label,
        )  # fmt: skip
        symbols.append(_symbol(str(number), geometry, stop))
    return element


def _symbol(name: str, geometry: Geometry, stop: Stop | None) -> ET.Element:
    colour = ",".join(map(str, (*stop.rgb, 255))) if stop else "255,255,255,255"
    kind, layer, options = {
        "point": ("marker", "SimpleMarker", _marker(colour)),
        "polygon": ("fill", "SimpleFill", _fill(colour, filled=stop is not None)),
    }[geometry]
    symbol = ET.Element("symbol", type=kind, name=name, alpha="1", clip_to_extent="1")
    element = ET.SubElement(symbol, "layer", {"class": layer, "enabled": "1", "pass": "0"})
    described = ET.SubElement(element, "Option", type="Map")
    for key, value in options.items():
        ET.SubElement(described, "Option", type="QString", name=key, value=value)
    for key, value in options.items():
        ET.SubElement(element, "prop", k=key, v=value)
    return symbol


def _marker(colour: str) -> dict[str, Any]:
    return {
        "name": "circle", "color": colour, "outline_color": _LINE, "outline_style": "solid",
        "outline_width": "0.1", "outline_width_unit": "MM", "size": "1.2", "size_unit": "MM",
    }  # fmt: skip


def _fill(colour: str, filled: bool) -> dict[str, Any]:
    return {
        "color": colour, "style": "solid" if filled else "no", "outline_color": _LINE,
        "outline_style": "solid", "outline_width": "0.26", "outline_width_unit": "MM",
    }  # fmt: skip
