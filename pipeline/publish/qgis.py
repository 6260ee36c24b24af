"""QGIS project (.qgz) of a run with every map, grouped, styled and in order.

Bands with dates become one layer each with a fixed time range, because QGIS before 3.38 supports
time by layer only; the temporal controller is set to the series shown first. Paths are relative to
the project.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio

from pipeline.core.errors import Fault, Faults, InputError, bad_input
from pipeline.core.files import make_folder, write_bytes
from pipeline.publish.differences import difference_faults, xml_content
from pipeline.publish.geopackage import renderer_element
from pipeline.publish.qgis_layers import LayerGroup, RasterLayer, SiteLayer, leaves
from pipeline.publish.qml import QGIS_VERSION, pipe_element, xml_bytes


def write_project(
    path: str | Path,
    groups: Sequence[LayerGroup],
    *,
    title: str,
    crs: str | None = None,
    extent: tuple[float, float, float, float] | None = None,
) -> Path:
    """Write a .qgz project, whole or not at all, with the same bytes each time.

    Arguments and errors are those of `project_element`.
    """
    path = Path(path).with_suffix(".qgz")
    root = project_element(path, groups, title=title, crs=crs, extent=extent)
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            zipfile.ZipInfo(f"{path.stem}.qgs", (1980, 1, 1, 0, 0, 0)), xml_bytes(root)
        )
    make_folder(path.parent)
    write_bytes(path, [buffer.getvalue()])
    return path


def project_element(
    path: Path,
    groups: Sequence[LayerGroup],
    *,
    title: str,
    crs: str | None = None,
    extent: tuple[float, float, float, float] | None = None,
) -> ET.Element:
    """The document of a project at `path`.

    CRS and extent (west, south, east, north) are by default those of the first map. `InputError`
    where a file is missing or there is no layer.
    """
    layers = list(leaves(groups))
    faults = Faults()
    if not layers:
        faults.add(path.name, "no layer", "at least one map")
    for layer in {layer.path: layer for layer in layers}.values():
        if not layer.path.exists():
            faults.add(f"{path.name}: layer {layer.name}", f"no file {layer.path}", "a file")
    faults.raise_if_any()
    first = next((layer for layer in layers if isinstance(layer, RasterLayer)), layers[0])
    geometry = _geometry(first)
    return _project(path, groups, title, crs or geometry[0], extent or geometry[1])


def read_project(path: str | Path) -> ET.Element:
    """The XML of a .qgz project; `InputError` where the file is not one."""
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".qgs")]
            return ET.fromstring(archive.read(name))
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, ET.ParseError) as error:
        raise bad_input(str(path), str(error), "a QGIS project") from None


def verify_project(path: str | Path, expected: ET.Element) -> list[Fault]:
    """Differences of a project on disk from `expected`, the result of `project_element`."""
    try:
        found = read_project(path)
    except InputError as error:
        return list(error.faults)
    return difference_faults(Path(path).name, xml_content(found), xml_content(expected))


def _id(layer: RasterLayer | SiteLayer) -> str:
    part = layer.band if isinstance(layer, RasterLayer) else layer.table
    digest = hashlib.sha256(f"{layer.path.name}|{part}|{layer.name}".encode()).hexdigest()[:16]
    return re.sub(r"\W+", "_", f"{layer.path.stem}_{part}_{digest}")


def _geometry(layer: RasterLayer | SiteLayer) -> tuple[str, tuple[float, float, float, float]]:
    """CRS and bounds of a layer's file; `InputError` where it cannot be read."""
    import pyogrio

    try:
        if isinstance(layer, RasterLayer):
            with rasterio.open(layer.path) as raster:
                return raster.crs.to_string(), tuple(raster.bounds)
        info = pyogrio.read_info(layer.path, layer=layer.table, force_total_bounds=True)
    except (rasterio.errors.RasterioError, pyogrio.errors.DataSourceError,
            pyogrio.errors.DataLayerError) as error:  # fmt: skip
        expected = "a readable map" if isinstance(layer, RasterLayer) else f"table {layer.table}"
        raise bad_input(str(layer.path), f"unreadable ({error})", expected) from None
    return str(info["crs"]), tuple(float(v) for v in info["total_bounds"])  # type: ignore[return-value]


def _source(project: Path, layer: RasterLayer | SiteLayer) -> str:
    file = layer.path.resolve()
    try:
        relative = f"./{file.relative_to(project.parent.resolve()).as_posix()}"
    except ValueError:
        raise bad_input(
            f"{project.name}: layer {layer.name}", str(layer.path),
            f"a file below {project.parent}", "Write the project above its maps",
        ) from None  # fmt: skip
    return relative if isinstance(layer, RasterLayer) else f"{relative}|layername={layer.table}"


def _provider(layer: RasterLayer | SiteLayer) -> str:
    return "gdal" if isinstance(layer, RasterLayer) else "ogr"


def _project(
    path: Path,
    groups: Sequence[LayerGroup],
    title: str,
    crs: str,
    extent: tuple[float, float, float, float],
) -> ET.Element:
    root = ET.Element("qgis", version=QGIS_VERSION, projectname=title)
    ET.SubElement(root, "title").text = title
    ET.SubElement(root, "projectCrs").append(_crs_element(crs))
    tree = ET.SubElement(root, "layer-tree-group")
    for group in groups:
        tree.append(_tree_element(path, group))
    canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas", annotationsVisible="1")
    ET.SubElement(canvas, "units").text = _units(crs)
    canvas.append(_extent_element("extent", extent))
    ET.SubElement(canvas, "rotation").text = "0"
    ET.SubElement(canvas, "destinationsrs").append(_crs_element(crs))
    described, order = ET.SubElement(root, "projectlayers"), ET.SubElement(root, "layerorder")
    layers = list(leaves(groups))
    for layer in layers:
        described.append(_layer_element(path, layer))
        ET.SubElement(order, "layer", id=_id(layer))
    # The range is that of the visible maps, so that every step of the time controller shows a map.
    dated = _dated(leaves(groups, shown=True)) or _dated(layers)
    root.append(_properties_element(bool(dated)))
    view = ET.SubElement(root, "ProjectViewSettings", UseProjectScales="0", rotation="0")
    box = dict(zip(("xmin", "ymin", "xmax", "ymax"), map(repr, extent), strict=True))
    ET.SubElement(view, "DefaultViewExtent", box).append(_crs_element(crs))
    if dated:
        root.append(_time_element(dated))
    return root


def _dated(layers: Iterable[RasterLayer | SiteLayer]) -> list[RasterLayer]:
    return [layer for layer in layers if isinstance(layer, RasterLayer) and layer.begin is not None]


def _units(crs: str) -> str:
    return "degrees" if pyproj.CRS.from_user_input(crs).is_geographic else "meters"


def _crs_element(crs: str) -> ET.Element:
    parsed = pyproj.CRS.from_user_input(crs)
    authority = parsed.to_authority(min_confidence=100)
    element = ET.Element("spatialrefsys")
    texts = {
        "wkt": parsed.to_wkt("WKT2_2019"),
        "authid": ":".join(authority) if authority else "",
        "description": parsed.name,
        "geographicflag": "true" if parsed.is_geographic else "false",
    }
    for tag, text in texts.items():
        ET.SubElement(element, tag).text = text
    return element


def _extent_element(tag: str, extent: Sequence[float]) -> ET.Element:
    element = ET.Element(tag)
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), extent, strict=True):
        ET.SubElement(element, name).text = repr(float(value))
    return element


def _tree_element(path: Path, item: RasterLayer | SiteLayer | LayerGroup) -> ET.Element:
    checked = "Qt::Checked" if item.visible else "Qt::Unchecked"
    if isinstance(item, LayerGroup):
        element = ET.Element(
            "layer-tree-group", name=item.name, checked=checked,
            expanded="1" if item.expanded else "0",
        )  # fmt: skip
        for child in item.layers:
            element.append(_tree_element(path, child))
        return element
    return ET.Element(
        "layer-tree-layer", id=_id(item), name=item.name, checked=checked, expanded="0",
        source=_source(path, item), providerKey=_provider(item), legend_exp="",
    )  # fmt: skip


def _layer_element(path: Path, layer: RasterLayer | SiteLayer) -> ET.Element:
    is_raster = isinstance(layer, RasterLayer)
    element = ET.Element(
        "maplayer", type="raster" if is_raster else "vector", hasScaleBasedVisibilityFlag="0",
        styleCategories="AllStyleCategories", minScale="1e+08", maxScale="0",
    )  # fmt: skip
    crs, bounds = _geometry(layer)
    element.append(_extent_element("extent", bounds))
    texts = {"id": _id(layer), "datasource": _source(path, layer), "layername": layer.name}
    for tag, text in texts.items():
        ET.SubElement(element, tag).text = text
    ET.SubElement(element, "srs").append(_crs_element(crs))
    provider = ET.SubElement(element, "provider")
    provider.text = _provider(layer)
    if isinstance(layer, RasterLayer):
        if layer.begin is not None and layer.end is not None:
            temporal = ET.SubElement(element, "temporal", enabled="1", mode="0", fetchMode="0")
            temporal.append(_range_element("fixedRange", layer.begin, layer.end))
        element.append(pipe_element(layer.legend, layer.band))
    else:
        provider.set("encoding", "UTF-8")
        element.set("geometry", layer.geometry.capitalize())
        element.append(renderer_element(layer.geometry, layer.legend, layer.column))
        ET.SubElement(element, "layerOpacity").text = "1"
    ET.SubElement(element, "blendMode").text = "0"
    return element


def _range_element(tag: str, begin: np.datetime64, end: np.datetime64) -> ET.Element:
    element = ET.Element(tag)
    for name, time in (("start", begin), ("end", end)):
        ET.SubElement(element, name).text = f"{time.astype('datetime64[s]')}Z"
    return element


def _properties_element(is_dated: bool) -> ET.Element:
    root = ET.Element("properties")
    values: dict[str, dict[str, tuple[str, str]]] = {
        "Paths": {"Absolute": ("bool", "false")},
        "SpatialRefSys": {"ProjectionsEnabled": ("int", "1")},  # otherwise QGIS ignores projectCrs
    }
    if is_dated:
        # 1: the temporal controller is in animated mode when the project opens.
        values["TemporalControllerWidget"] = {"NavigationMode": ("int", "1")}
    for scope, entries in values.items():
        element = ET.SubElement(root, scope)
        for key, (kind, text) in entries.items():
            ET.SubElement(element, key, type=kind).text = text
    return root


def _time_element(dated: Sequence[RasterLayer]) -> ET.Element:
    """Time range of the dated layers, with a step as long as the shortest one."""
    begins = np.array([layer.begin for layer in dated], "datetime64[s]")
    ends = np.array([layer.end for layer in dated], "datetime64[s]")
    shortest = int((ends - begins).min().astype(int) + 1) / 86400
    step: dict[str, Any] = {"timeStep": "1", "timeStepUnit": "d"}
    for days, unit in ((28, "mon"), (365, "y")):
        if shortest >= days:
            step["timeStepUnit"] = unit
    element = ET.Element("ProjectTimeSettings", cumulativeTemporalRange="0", frameRate="1", **step)
    element.append(_range_element("TemporalRange", begins.min(), ends.max()))
    return element
