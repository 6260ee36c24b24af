"""Differences between published and expected content: nested values and XML, by path.

Published text follows from the map, the legend, the grid and the settings alone, so that it is
generated again and compared as a whole.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.errors import Fault

SHOWN = 4
"""Largest number of differences that are listed per file; the others are counted."""
_HINT = (
    "If nobody changed the file, it differs from what this version publishes: run "
    "`stefaland publish CONFIG --restart`."
)
_ABSENT = object()
_TOLERANCE = 1e-9  # relative: the last digits of a projection differ between machines


def difference_faults(where: str, found: Any, expected: Any) -> list[Fault]:
    """The first differences of nested mappings, sequences and plain values, with their paths."""
    differences = list(_differences("", found, expected))
    faults = [
        Fault(f"{where}: {path or 'content'}", _shown(one), _shown(other), _HINT)
        for path, one, other in differences[:SHOWN]
    ]
    if len(differences) > SHOWN:
        rest = len(differences) - SHOWN
        faults.append(Fault(where, f"{rest} more differences", "none", _HINT))
    return faults


def restricted(found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `found` under the keys of `expected`; further entries are not compared."""
    return {key: found[key] for key in expected if key in found}


def xml_content(element: ET.Element) -> dict[str, Any]:
    """An element as nested values: attributes as `@name`, `text`, and children in lists by tag."""
    content: dict[str, Any] = {f"@{name}": value for name, value in element.attrib.items()}
    if element.text and element.text.strip():
        content["text"] = element.text.strip()
    for child in element:
        content.setdefault(child.tag, []).append(xml_content(child))
    return content


def _differences(path: str, found: Any, expected: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in [*expected, *(key for key in found if key not in expected)]:
            below = f"{path}/{key}" if path else str(key)
            yield from _differences(below, found.get(key, _ABSENT), expected.get(key, _ABSENT))
    elif isinstance(found, (list, tuple)) and isinstance(expected, (list, tuple)):
        if len(found) != len(expected):
            yield f"{path}: length", len(found), len(expected)
            return
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            item_path = path if len(expected) == 1 else f"{path}[{number}]"
            yield from _differences(item_path, one, other)
    elif not _is_same(found, expected):
        yield path, found, expected


def _is_same(found: Any, expected: Any) -> bool:
    if found is expected or found == expected:
        return True
    try:
        one, other = float(found), float(expected)
    except (TypeError, ValueError):
        return False
    return math.isclose(one, other, rel_tol=_TOLERANCE) or (math.isnan(one) and math.isnan(other))


def _shown(value: Any) -> str:
    text = "nothing" if value is _ABSENT else repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
