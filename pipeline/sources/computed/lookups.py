"""lookup_table(): values of stored numbers by a table, such as of the mapping units of soil."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow

from pipeline.core.addresses import path_of
from pipeline.core.archives.unpacked_files import plain_copy
from pipeline.core.errors import Faults, bad_input, listed, nearest_name
from pipeline.core.files import version_of
from pipeline.entries.nodata import codes_of, ranges_of
from pipeline.entries.values import Lookup
from pipeline.readers.common.first_bytes import PACKED, PARQUET, TABLE, TEXT, XML, first_bytes
from pipeline.readers.common.first_bytes import SQLITE as DATABASE
from pipeline.readers.common.refusals import check_format
from pipeline.readers.guards.vectors import check_database, check_vector
from pipeline.readers.tables.text_table import (
    SAMPLE,
    TextOptions,
    check_first_line,
    decimal_mark,
    uneven_lines,
)  # fmt: skip

SQLITE = (".sqlite", ".sqlite3", ".db")
"""Suffixes of databases of SQLite."""
TABLES = "CSV, Parquet, dBase (.dbf), SQLite or a raster attribute table of GDAL (.aux.xml)"
READ = (PARQUET, DATABASE, TABLE, TEXT, XML)
"""Formats of first bytes that may be tables; those of dBase have no known one."""


@dataclass(frozen=True)
class LookupTable:
    """Stored numbers [N], ascending, and the value of each (float64, NaN if it is missing)."""

    keys: np.ndarray
    values: np.ndarray

    def __call__(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of stored numbers, NaN for unknown ones, and which are known.

        >>> LookupTable(np.array([7, 9]), np.array([0.5, 1.0]))(np.array([9, 8]))
        (array([ 1., nan]), array([ True, False]))
        """
        if not self.keys.size:
            return np.full(stored.shape, np.nan), np.zeros(stored.shape, bool)
        at = np.minimum(np.searchsorted(self.keys, stored), self.keys.size - 1)
        known = self.keys[at] == stored
        return np.where(known, self.values[at], np.nan), known


def lookup_table(lookup: Lookup, band: str, where: str) -> LookupTable:
    """Return the table of a lookup; `band` is the name of the band of a raster attribute table.

    Several rows of one number are averaged by their weights, without rows of missing values or
    weights. Raises `InputError` for a table that cannot be read, for unknown columns, and for
    several rows of one number with different values and without weights.
    """
    frame, where = _opened(lookup, band, where)
    return _table(frame, lookup, where)


def values_of_rows(lookup: Lookup, band: str, where: str) -> np.ndarray:
    """Return the value of each row that a lookup uses, NaN if missing; the errors are the same."""
    frame, where = _opened(lookup, band, where)
    return _values(frame[lookup.value], lookup, f"{where}: {lookup.value}")


def _opened(lookup: Lookup, band: str, where: str) -> tuple[pd.DataFrame, str]:
    """Return the rows that a lookup chooses, and the name of their table for messages."""
    path: Any = path_of(lookup.lookup)
    try:
        for formats in (READ + PACKED, READ):
            if path.exists():
                check_format(f"{where}, {lookup.lookup}", path, TABLES, *formats)
            path = plain_copy(path)
        stamp = version_of(path)
        part = (lookup.table, _columns(lookup)) if path.suffix.lower() in SQLITE else band
        frame = _read(path, stamp, part, lookup.skip_lines)
    except (OSError, ValueError, pyarrow.ArrowException, pd.errors.ParserError,
            ElementTree.ParseError, sqlite3.Error) as error:  # fmt: skip
        raise bad_input(
            f"{where}, {lookup.lookup}", f"a table that cannot be read ({error})", TABLES
        ) from None  # fmt: skip
    where = f"{where}, {lookup.lookup}"
    return _chosen(frame, lookup, where), where


def _columns(lookup: Lookup) -> tuple[str, ...]:
    """Return the columns of the table that a lookup uses."""
    used = filter(None, (lookup.key, lookup.value, lookup.weight, *lookup.where))
    return tuple(dict.fromkeys(used))


def _chosen(frame: pd.DataFrame, lookup: Lookup, where: str) -> pd.DataFrame:
    """Return the rows that `where` of the lookup chooses, after a check of all columns."""
    faults, known = Faults(), [str(name) for name in frame.columns]
    for column in _columns(lookup):
        if column not in known:
            faults.add(where, f"columns {', '.join(known)}", f'a column "{column}"',
                       nearest_name(column, known))  # fmt: skip
    faults.raise_if_any()
    for column, wanted in lookup.where.items():
        texts = frame[column].astype(str).str.strip()
        same = texts == str(wanted)
        if not isinstance(wanted, str):
            same |= pd.to_numeric(frame[column], errors="coerce") == wanted
        if not same.any():
            raise bad_input(
                where, f"{column} {listed(sorted(set(texts)))}", f"{wanted} in some row"
            )
        frame = frame[same]
    return frame


def _table(frame: pd.DataFrame, lookup: Lookup, where: str) -> LookupTable:
    keys = _numbers(
        frame[lookup.key], f"{where}: {lookup.key}",
        "Name the column with the stored numbers as `key`.",
    )  # fmt: skip
    values = _values(frame[lookup.value], lookup, f"{where}: {lookup.value}")
    rows = pd.DataFrame({"key": keys, "value": values, "weight": 1.0})
    if lookup.weight:
        rows["weight"] = _numbers(frame[lookup.weight], f"{where}: {lookup.weight}")
        if (rows["weight"] < 0).any():
            raise bad_input(f"{where}: {lookup.weight}", "negative weights", "weights from 0 on")
    rows = rows[rows["key"].notna()]
    if lookup.weight is None:
        rows = rows.drop_duplicates(["key", "value"])
    if lookup.weight is None and rows["key"].duplicated().any():
        several = rows["key"][rows["key"].duplicated()]
        raise bad_input(
            where, f"several rows of {lookup.key} {listed(f'{key:g}' for key in several.unique())}",
            "one row for each number",
            "Choose rows with `where`, or name the column of their weights with `weight`.",
        )  # fmt: skip
    return _dominant(rows) if lookup.codes and lookup.weight else _mean(rows)


def _mean(rows: pd.DataFrame) -> LookupTable:
    """Return the weighted mean of the valid rows of each key."""
    weight = rows["weight"].where(rows["value"].notna(), 0.0).fillna(0.0)
    sums = pd.DataFrame(
        {"key": rows["key"], "weight": weight, "value": weight * rows["value"].fillna(0.0)}
    )
    sums = sums.groupby("key", sort=True).sum()
    weights = sums["weight"].to_numpy()
    means = np.where(weights > 0, sums["value"] / np.where(weights > 0, weights, 1.0), np.nan)
    return LookupTable(sums.index.to_numpy(float), means)


def _dominant(rows: pd.DataFrame) -> LookupTable:
    """Return the valid value of the largest weight in each key; the least of several such."""
    weights = rows.groupby(["key", "value"], sort=True)["weight"].sum().reset_index()
    weights = weights[weights["weight"] > 0].sort_values("weight", ascending=False, kind="stable")
    first = weights.drop_duplicates("key").set_index("key")["value"]
    keys = np.unique(rows["key"])
    return LookupTable(keys, first.reindex(keys).to_numpy(float))


def _values(column: pd.Series, lookup: Lookup, where: str) -> np.ndarray:
    """Return the values of a column, NaN for missing ones; texts by their codes."""
    if lookup.codes:
        texts = column.astype(str).str.strip().where(column.notna())
        unknown = sorted(set(texts.dropna()) - {*lookup.codes})
        if unknown:
            raise bad_input(
                where, f"texts without a code, {listed(unknown)}", "a code for each text",
                "Add them to `codes`; those that mean missing with the code .nan.",
            )  # fmt: skip
        return texts.map(lookup.codes).to_numpy(float)
    values = _numbers(column, where)
    missing = np.isin(values, codes_of(lookup.nodata))
    for low, high in ranges_of(lookup.nodata):
        missing |= (values >= low) & (values <= high)
    return np.where(missing, np.nan, values)


def _numbers(
    column: pd.Series, where: str, hint: str = "Name the number of each text with `codes`."
) -> np.ndarray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
    filled = column.notna() & column.astype(str).str.strip().ne("")
    text = column[np.isnan(values) & filled.to_numpy()]
    if text.size:
        raise bad_input(where, listed(f'"{value}"' for value in text.unique()), "numbers",
                        hint)  # fmt: skip
    return np.asarray(values)


@lru_cache(maxsize=16)
def _read(path: Path, stamp: tuple[int, ...], part: Any, skip: int) -> pd.DataFrame:
    """Return a table; `part` is the table and columns of a database, or the band of a raster."""
    if isinstance(part, tuple):
        return _of_database(path, *part)
    if path.suffix in (".parquet", ".pq"):
        return pd.read_parquet(path)
    if path.name.endswith(".xml"):
        return attribute_table(path, part)
    if path.suffix.lower() == ".dbf":
        import pyogrio

        check_vector(path, str(path), trust=False)
        return pyogrio.read_dataframe(path, read_geometry=False)
    encoding = _encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        every = [line.rstrip("\r\n") for line in islice(file, SAMPLE)]
    used = [i for i, line in enumerate(every) if line.strip() and not line.startswith("#")]
    lines, skipped = [every[i] for i in used[skip:]], used[:skip]
    if not skip:
        check_first_line(lines, str(path), "transform: {skip_lines: …}")
    separator = max(",;\t|", key=(lines or [""])[0].count)
    rows = list(csv.reader(lines[1:], delimiter=separator))
    decimal = decimal_mark(rows, separator, TextOptions(), str(path))
    with uneven_lines(str(path), next(csv.reader(lines, delimiter=separator), [])):
        return pd.read_csv(
            path, sep=separator, decimal=decimal, comment="#", encoding=encoding,
            skipinitialspace=True, keep_default_na=False, na_values=["", "NA", "NaN", "nan"],
            low_memory=False, quoting=csv.QUOTE_MINIMAL, skiprows=skipped or None,
        )  # fmt: skip


def _of_database(path: Path, table: str | None, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of a table of SQLite; all, without rows, where it lacks one of them."""
    check_database(path, str(path))
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master")]
        if table is None or table not in tables:
            raise ValueError(f"tables {', '.join(tables)}, none of which is `table: {table}`")
        known = [row[1] for row in database.execute(f"PRAGMA table_info({_quoted(table)})")]
        if not {*columns} <= {*known}:
            return pd.DataFrame(columns=known)
        wanted = ", ".join(map(_quoted, columns))
        return pd.read_sql_query(f"SELECT {wanted} FROM {_quoted(table)}", database)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _encoding(path: Path) -> str:
    """Return the encoding of a text file; tables of soil maps are often in Latin-1."""
    if first_bytes(path)[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    try:
        with path.open(encoding="utf-8-sig") as file:
            while file.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def attribute_table(path: Path, band: str = "band_1") -> pd.DataFrame:
    """Return the raster attribute table of a band, which GDAL writes beside a raster.

    It is the only one in the file, or that of the band. Raises `ValueError` if there is none.
    """
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("a document type or entities of XML")
    root = ElementTree.fromstring(content)
    bands = {
        f"band_{node.get('band', '1')}": table
        for node in root.iter("PAMRasterBand")
        if (table := node.find("GDALRasterAttributeTable")) is not None
    }
    if not bands or (len(bands) > 1 and band not in bands):
        raise ValueError(f"raster attribute tables of {', '.join(bands) or 'no band'}")
    table = bands.get(band, next(iter(bands.values())))
    names = [str(field.findtext("Name")) for field in table.iter("FieldDefn")]
    numeric = [field.findtext("Type") in ("0", "1") for field in table.iter("FieldDefn")]
    rows = [[cell.text for cell in row.iter("F")] for row in table.iter("Row")]
    frame = pd.DataFrame(_even(rows, len(names)), columns=names)
    for name, is_number in zip(names, numeric, strict=True):
        frame[name] = pd.to_numeric(frame[name]) if is_number else frame[name].str.strip()
    return frame


def _even(rows: Sequence[Sequence[Any]], length: int) -> list[Sequence[Any]]:
    if any(len(row) != length for row in rows):
        raise ValueError(f"rows that do not have {length} fields")
    return list(rows)
