"""check_vector(): vector files that refer to other files, or that run code, before GDAL reads them.

`check_database` is the part for SQLite, of which GeoPackages are a kind.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path

from pipeline.core.files import version_of
from pipeline.readers.common.first_bytes import format_of
from pipeline.readers.common.refusals import unreadable
from pipeline.readers.guards.outside import refused, trustable

# Also where the user's environment allows them.
os.environ |= {"GML_DOWNLOAD_SCHEMA": "NO", "OGR_SQLITE_ALLOW_EXTERNAL_ACCESS": "NO"}
os.environ.pop("OGR_SQLITE_LOAD_EXTENSIONS", None)

SQLITE = b"SQLite format 3\x00"
KINDS = re.compile(rb"\s*<(?:\w+:)?(kml|FeatureCollection|gpx|osm)\b", re.IGNORECASE)
"""Elements with which the texts of KML, GML, GPX and OpenStreetMap begin."""
TABLES = ("rtree", "fts3", "fts4", "fts5", "virtualspatialindex")
"""Kinds of virtual tables that hold values of the database itself."""
HEAD = 4096
OTHER_XML = "XML that is neither KML, GML nor GPX"


def check_vector(path: Path, where: str, trust: bool) -> None:
    """Raise `InputError` for a vector file on disk that names other files, servers or commands."""
    if trust or not path.is_file():
        return
    if found := _reference(path, version_of(path)):
        if found == OTHER_XML:
            raise trustable(unreadable(where, path, ValueError(found), "a file of polygons"))
        raise refused(where, found)


def check_database(path: Path, where: str, trust: bool = False) -> None:
    """Raise `InputError` for a database of SQLite whose tables are those of other files."""
    if not trust and (found := _of_database(path)):
        raise refused(where, found)


@lru_cache(maxsize=256)
def _reference(path: Path, stamp: tuple[int, ...]) -> str | None:
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(SQLITE):
        with suppress(sqlite3.Error, UnicodeDecodeError):  # GDAL reports what is damaged
            return _of_database(path)
        return None
    if b"<OGRVRTDataSource" in head:
        return "other sources (OGR VRT)"
    if b"gdal_streamed_alg" in head:
        return "commands of GDAL"
    comments = re.compile(rb"<\?.*?\?>|<!--.*?-->", re.DOTALL)
    text = comments.sub(b"", head.removeprefix(b"\xef\xbb\xbf"))
    if not text.lstrip().startswith(b"<"):
        return None
    if format_of(path) == "an HTML page":
        return None
    if b"<!" in text.replace(b"<![CDATA[", b""):
        return "a document type or entities of XML"
    return None if KINDS.match(text) else OTHER_XML


def _of_database(path: Path) -> str | None:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        database.text_factory = lambda text: text.decode(errors="replace")
        rows = database.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        for name, sql in rows.fetchall():
            made = re.search(r"\bVIRTUAL\s+TABLE\b.*?\bUSING\s+[\"'`\[]?(\w+)", sql, re.I | re.S)
            if made and made[1].lower() not in TABLES:
                return f'the table "{name}" of the module {made[1]}'
            if re.search(r"\bload_extension\s*\(|\bgdal_\w+\s*\(|\bogr_\w+\s*\(", sql, re.I):
                return f'a function that reads other files in "{name}"'
    return None
