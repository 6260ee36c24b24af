"""check_raster(): rasters that refer to other files, such as VRTs, before GDAL opens them.

GDAL recognises formats by content, not by name, and many formats of text name files or servers
(VRT, WMS, GTI, STAC, ERS, PDS …): of these, only VRTs of files in their own folder are read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py

from pipeline.core.addresses import AnyPath
from pipeline.core.errors import bad_input
from pipeline.core.files import version_of
from pipeline.entries.file_series import named_part
from pipeline.readers.common.first_bytes import TABLE, first_bytes, format_of
from pipeline.readers.guards.hdf5 import hdf5_reference
from pipeline.readers.guards.outside import is_within, refused

os.environ["GDAL_VRT_ENABLE_PYTHON"] = "NO"  # also where the user's environment allows it

MAX_BYTES = 64_000_000
"""Size of a VRT of about 100,000 tiles."""
MAX_NESTED = 8
"""Number of VRTs that may be nested in each other."""
PYTHON = "code in Python, which is never run"
WORDS = {
    "SRS", "GeoTransform", "MDI", "Metadata", "Description", "Category", "UnitType", "ColorInterp",
    "GCP", "Histograms", "CategoryNames",
}  # fmt: skip
"""Elements of VRTs whose texts are words or numbers, never files."""
GRIDS = re.compile(rb'\s*(ncols|nrows|xll|yll|DSAA|north:|south:|["xX\d.+-])', re.IGNORECASE)
"""Beginnings of the texts of ASCII grids and tables of points, which name no files."""
WRITTEN = ("an XML file", "a JSON file", "a text file", TABLE)
"""Formats of text, of which GDAL has many that name files or servers."""


class WrittenError(ValueError):
    """A text of which GDAL has formats that name files, and that is most likely no raster."""


def check_raster(path: AnyPath, trust: bool, where: str) -> None:
    """Raise `InputError` for a raster that names files beyond its folder, or has code in Python.

    Code is refused even with `trust`. Raises `WrittenError` for other texts.
    """
    found = reference_of(path)
    if found == PYTHON:
        raise bad_input(where, f"a VRT with {PYTHON}", "a raster without code",
                        "Translate it to GeoTIFF with gdal_translate if you trust it.")  # fmt: skip
    if found and not trust:
        raise WrittenError(found) if found in WRITTEN else refused(where, found)


def reference_of(path: AnyPath) -> str | None:
    """Return what a raster names beyond its folder, in words; None for nothing."""
    if not path.is_file():
        return None
    return _reference(path, version_of(path))


@lru_cache(maxsize=8192)
def _reference(path: AnyPath, stamp: tuple[int, ...]) -> str | None:
    return _of_file(path, frozenset()) or _beside(path)


def _of_file(path: AnyPath, above: frozenset[str]) -> str | None:
    head = first_bytes(path)
    if b"<VRTDataset" in head:
        return _of_vrt(path, above) if isinstance(path, Path) else "files (a VRT at an address)"
    if isinstance(path, Path) and h5py.is_hdf5(path):
        return hdf5_reference(path)
    kind = format_of(path)
    if re.search(r"\.gti\.\w+$", path.name):
        return "an index of tiles (GTI)"
    if kind not in WRITTEN or GRIDS.match(head) or b"\n" not in head:
        return None
    return kind


def _beside(path: AnyPath) -> str | None:
    """Return what the mask, the overviews or the metadata beside a raster on disk name."""
    if not isinstance(path, Path):
        return None
    for ending in (".msk", ".ovr", ".aux.xml"):
        file = path.with_name(path.name + ending)
        if not file.is_file():
            continue
        if ending != ".aux.xml":
            found = _of_file(file, frozenset())
        else:
            content = _content(file)
            hostile = content is None or b"OVERVIEW_FILE" in content or b"<!" in content
            found = "overviews or entities in other files" if hostile else None
        if found:
            return f"{found}, named by {file.name} beside it"
    return None


def _content(path: Path) -> bytes | None:
    """Return the bytes of a document; None if it is too large."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    return content if len(content) <= MAX_BYTES else None


def _of_vrt(path: Path, above: frozenset[str]) -> str | None:
    content = _content(path)
    if content is None:
        return f"a VRT of more than {MAX_BYTES:,} bytes"
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        return "a VRT with a document type or entities"
    if str(path) in above or len(above) == MAX_NESTED:
        return f"VRTs nested in each other or in more than {MAX_NESTED} levels"
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        return f"a VRT that cannot be read ({error})"
    texts = list(_texts(root))
    if any(name == "PixelFunctionLanguage" and "python" in text.lower() for name, text, _ in texts):
        return PYTHON
    inside = above | {str(path)}
    for name, text, relative in texts:
        if found := _of_text(path, name, text, relative, inside):
            return found
    return None


def _texts(root: Any) -> Iterator[tuple[str, str, bool]]:
    """Yield the element, the text and whether it is relative to the VRT, of all texts."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.tag in WORDS or node.tag.endswith("SRS"):
            continue
        waiting += list(node)
        relative = node.get("relativeToVRT", node.get("relativetoVRT", "0")) == "1"
        if node.text and node.text.strip():
            yield f"{node.tag} {node.get('name', '')}".strip(), node.text.strip(), relative
        yield from (("attributes", value, False) for value in node.attrib.values())


def _of_text(path: Path, name: str, text: str, relative: bool, above: frozenset[str]) -> str | None:
    """Return what a text of a VRT names beyond its folder; None for nothing or for no name."""
    is_name = re.search("file|dataset|url|path", name, re.IGNORECASE) is not None
    if not is_name and not re.search(r"^[/\\<~]|/vsi|\.\./|://|^[A-Za-z]\w+:", text):
        return None
    part = named_part(text)
    named = part[0] if part else text
    base = path.parent if relative else Path()
    if re.search(r"^[<~]|^\w{2,}:|/vsi|\\", named) or not is_within(named, path.parent, base):
        return f'"{text[:120]}" in its {name}'
    target = (base / named).resolve()
    found = _of_file(target, above) if target.is_file() else None
    return f'"{named}", {found}' if found in WRITTEN else found
