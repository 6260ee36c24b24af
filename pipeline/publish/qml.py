"""QGIS raster styles (.qml) from a legend.

QGIS applies a style file with the map's basename when it opens the map.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from pipeline.core.errors import bad_input
from pipeline.core.files import replacing
from pipeline.maps.legend import Legend, named_legend, read_legend

__all__ = [
    "Legend",
    "named_legend",
    "pipe_element",
    "read_legend",
    "read_qml",
    "read_xml",
    "style_element",
    "write_qml",
    "xml_bytes",
]

QGIS_VERSION = "3.22.16"
"""The oldest long-term release of QGIS in common use; newer ones read its files."""
_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def xml_bytes(root: ET.Element) -> bytes:
    """The element as the bytes of a QGIS document, the same each time."""
    ET.indent(root, " ")
    return (_DOCTYPE + ET.tostring(root, encoding="unicode") + "\n").encode()


def pipe_element(legend: Legend, band: int = 1) -> ET.Element:
    """The `<pipe>` that draws `band` with the legend's colours; missing cells are transparent."""
    pipe = ET.Element("pipe")
    renderer = _classes(legend, band) if legend.kind == "categorical" else _ramp(legend, band)
    pipe.append(renderer)
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    # Without interpolation between cells: a map shows its own values.
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    return pipe


def style_element(legend: Legend, band: int = 1) -> ET.Element:
    """The document of a `.qml` that draws `band` with the legend."""
    root = ET.Element(
        "qgis",
        version=QGIS_VERSION,
        styleCategories="Symbology",
        hasScaleBasedVisibilityFlag="0",
        minScale="1e+08",
        maxScale="0",
    )
    root.append(pipe_element(legend, band))
    ET.SubElement(root, "blendMode").text = "0"
    return root


def write_qml(path: str | Path, legend: Legend, band: int = 1) -> Path:
    """Write the style of `band` at `path` (with suffix .qml), whole or not at all."""
    path = Path(path).with_suffix(".qml")
    with replacing(path) as partial:
        partial.write_bytes(xml_bytes(style_element(legend, band)))
    return path


def read_xml(path: str | Path, expected: str) -> ET.Element:
    """The root of an XML file; `InputError` where the file is not XML."""
    try:
        return ET.fromstring(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, ET.ParseError) as error:
        raise bad_input(str(path), str(error), expected) from None


def read_qml(path: str | Path) -> tuple[str, dict[float, tuple[str, str]]]:
    """Kind ("continuous" or "categorical") and (colour, label) by value of a style file.

    `InputError` for another kind of style.
    """
    root = read_xml(path, "a QGIS style")
    renderer = root.find("pipe/rasterrenderer")
    kinds = {"singlebandpseudocolor": "continuous", "paletted": "categorical"}
    kind = kinds.get("" if renderer is None else renderer.get("type", ""))
    if renderer is None or kind is None:
        raise bad_input(str(path), "no renderer of a known type", " or ".join(kinds))
    tag = "colorPalette/paletteEntry" if kind == "categorical" else "rastershader/*/item"
    return kind, {
        float(item.get("value", "nan")): (item.get("color", ""), item.get("label", ""))
        for item in renderer.findall(tag)
    }


def _renderer(kind: str, band: int, **attrs: str) -> ET.Element:
    common = {"opacity": "1", "alphaBand": "-1", "nodataColor": "", "band": str(band)}
    element = ET.Element("rasterrenderer", {"type": kind, **common, **attrs})
    ET.SubElement(element, "rasterTransparency")
    origin = ET.SubElement(element, "minMaxOrigin")
    # "None": the range is that of the legend, not of the statistics of one file.
    for tag, text in (("limits", "None"), ("extent", "WholeRaster"), ("statAccuracy", "Exact")):
        ET.SubElement(origin, tag).text = text
    return element


def _classes(legend: Legend, band: int) -> ET.Element:
    element = _renderer("paletted", band)
    palette = ET.SubElement(element, "colorPalette")
    for stop in legend.stops:
        ET.SubElement(palette, "paletteEntry", value=str(int(stop.value)), alpha="255",
                      color=stop.colour, label=stop.label)  # fmt: skip
    return element


def _rgba(rgb: tuple[int, int, int]) -> str:
    return ",".join(map(str, (*rgb, 255)))


def _ramp(legend: Legend, band: int) -> ET.Element:
    low, high = repr(legend.minimum), repr(legend.maximum)
    element = _renderer(
        "singlebandpseudocolor", band, classificationMin=low, classificationMax=high
    )
    shader = ET.SubElement(
        ET.SubElement(element, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        minimumValue=low,
        maximumValue=high,
        labelPrecision="4",
    )
    span = legend.maximum - legend.minimum
    inner = ":".join(
        f"{(stop.value - legend.minimum) / span:.6g};{_rgba(stop.rgb)}"
        for stop in legend.stops[1:-1]
    )
    values = {
        "color1": _rgba(legend.stops[0].rgb),
        "color2": _rgba(legend.stops[-1].rgb),
        "discrete": "0",
        "rampType": "gradient",
        "stops": inner,
    }
    ramp = ET.SubElement(shader, "colorramp", type="gradient", name="[source]")
    options = ET.SubElement(ramp, "Option", type="Map")
    for name, value in values.items():
        ET.SubElement(options, "Option", name=name, type="QString", value=value)
    for name, value in values.items():
        ET.SubElement(ramp, "prop", k=name, v=value)
    for stop in legend.stops:
        ET.SubElement(shader, "item", value=repr(stop.value), alpha="255", color=stop.colour,
                      label=stop.label)  # fmt: skip
    shader.append(_bar(legend.units))
    return element


def _bar(units: str) -> ET.Element:
    """Settings of the colour bar in QGIS, with the units at its ends."""
    suffix = "" if units in ("", "1") else f" {units}"
    settings = ET.Element(
        "rampLegendSettings", prefix="", suffix=suffix, minimumLabel="", maximumLabel="",
        direction="0", orientation="2", useContinuousLegend="1",
    )  # fmt: skip
    number = ET.SubElement(settings, "numericFormat", id="basic")
    options = {"decimals": ("int", "6"), "show_trailing_zeros": ("bool", "false")}
    described = ET.SubElement(number, "Option", type="Map")
    for name, (kind, value) in options.items():
        ET.SubElement(described, "Option", name=name, type=kind, value=value)
    return settings
