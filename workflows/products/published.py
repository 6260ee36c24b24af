"""read_published(): the list of published maps that the report shows, from published.json."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pipeline.core.errors import bad_input
from pipeline.core.files import read_json
from pipeline.core.settings import Frozen, validated
from pipeline.core.written.names import PathName
from workflows.config.publish import KnownLocation


class PublishedMap(Frozen):
    """A published map: its file and its picture beside the list, and its caption."""

    file: PathName
    image: PathName
    caption: str


class CheckedLocation(KnownLocation):
    """A location with a known value, and the published value there."""

    found: float | Literal["no value"]
    passed: bool


class Published(Frozen):
    """What a run has published."""

    maps: tuple[PublishedMap, ...]
    places: tuple[CheckedLocation, ...]


def read_published(path: Path) -> Published:
    """Return what a file lists; `InputError` for one of another kind, and for missing pictures."""
    found = validated(Published, read_json(path), str(path))
    for item in found.maps:
        if not (picture := path.parent / item.image).is_file():
            raise bad_input(str(path), f"no picture {picture}", "a picture of each map",
                            "Run `stefaland publish CONFIG` again.")  # fmt: skip
    return found
