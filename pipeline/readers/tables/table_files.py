"""read_table(): the rows of one table of an entry, text or Parquet, each with its location's id."""

from __future__ import annotations

import re
from collections.abc import Set
from fnmatch import translate
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow
from pyarrow import parquet
from pydantic import model_validator

from pipeline.core.archives.unpacked_files import member_copy
from pipeline.core.errors import LIBRARY_ERRORS, bad_input
from pipeline.core.files import version_of
from pipeline.core.settings import later
from pipeline.core.system.promises import require_room
from pipeline.entries.source import Source
from pipeline.readers.common.first_bytes import HEAD, PARQUET, ROWS, format_of, format_of_bytes
from pipeline.readers.common.refusals import unreadable
from pipeline.readers.tables.text_table import TextOptions, opened, read_text_table

LONGEST_LINE = 1 << 22
"""Bytes within which the first line of a table ends."""
READ = (PARQUET, *ROWS, None)
"""Formats of first bytes that may be tables; texts in other encodings have no known one."""


class TableOptions(TextOptions):
    """Options of an entry: how the table is written, its dates and the places of its stations."""

    date_format: str | None = None
    """Format of dates that are not ISO 8601, such as "%d.%m.%Y"; `excel` for numbers such as 36892
    (2001-01-01)."""
    date_columns: tuple[str, ...] = ()
    """Columns that make the time together: year, month, day, or a date and a time of day."""
    stations: str | tuple[str, ...] | None = None
    """Table with a row for each location and the columns `cell`, `lat` and `lon` of the entry; or
    several, of which the first has these. Variables that are other columns of them are attributes
    of the locations."""
    wide: bool = False
    """Whether each column but the dates has the values of a station, whose id is its name."""
    cell_in_name: str | None = later(None)
    """Name of files of one location each, such as `{cell}_flow_*.txt`, in which {cell} is the id of
    the location, the column `cell` of all their rows."""

    @property
    def station_tables(self) -> tuple[str, ...]:
        """Paths of the tables of the locations."""
        return (self.stations,) if isinstance(self.stations, str) else self.stations or ()

    @model_validator(mode="after")
    def _located(self) -> TableOptions:
        if self.wide and self.stations is None:
            raise ValueError("`wide` without `stations`, the table that locates the columns")
        if self.cell_in_name is not None and self.cell_in_name.count("{cell}") != 1:
            raise ValueError(
                f"`cell_in_name` {self.cell_in_name}, which does not have {{cell}} once"
            )
        return self


def date_columns(source: Source, options: TableOptions) -> tuple[str, ...]:
    """Return the names of the columns with the times; () for a table without times."""
    named = source.dims.get("time")
    return options.date_columns or ((named,) if named else ())


def read_table(path: Path, source: Source, options: TableOptions) -> pd.DataFrame:
    """Return the rows of a table of the entry, whose rows are locations or times.

    A table whose columns are locations and whose first column has the names of attributes is
    turned. Raises `InputError` for files that are no tables or whose name lacks the id.
    """
    stamp, where = version_of(path), f'source "{source.name}", {path}'
    # Leading zeros are a part of dates such as 010203, and of ids.
    texts = date_columns(source, options)
    texts += (source.cell,) if source.cell and options.stations else ()
    expected = "a CSV or Parquet table"
    try:
        copy = member_copy(path)
        with opened(copy) as file:
            content = format_of_bytes(file.read(HEAD))
        if not {format_of(copy), content} <= {*READ}:
            raise ValueError("neither text nor Parquet")
        frame = _read(path, stamp, options, texts, where)
    except (*LIBRARY_ERRORS, pyarrow.ArrowException, pd.errors.ParserError) as error:
        formats = [name for name in READ if name]
        raise unreadable(where, path, error, expected, *formats) from None
    if options.cell_in_name:
        frame = frame.assign(**{str(source.cell): _cell_of(path, options.cell_in_name, where)})
    return _upright(frame, str(source.lat))


def _cell_of(path: Path, form: str, where: str) -> str:
    """Return the id of the location in the name of its file; `InputError` for another name."""
    before, after = (translate(part)[:-2] for part in form.split("{cell}"))
    match = re.fullmatch(f"{before}(?P<cell>.+?){after}", path.name)
    if match is None:
        raise bad_input(where, f"a file called {path.name}", f"names such as {form}",
                        "Correct `options: {cell_in_name: …}`, or the uri.")  # fmt: skip
    return match["cell"]


def _upright(frame: pd.DataFrame, lat: str) -> pd.DataFrame:
    """Return a table whose rows are locations, also of one whose columns are, with names first."""
    names = frame.iloc[:, 0] if len(frame.columns) else pd.Series(dtype=str)
    if lat in frame.columns or not names.astype(str).eq(lat).any():
        return frame
    turned = frame.set_index(str(names.name)).T
    turned.index.name = names.name
    return turned.reset_index()


def used_columns(frame: pd.DataFrame, used: Set[str], needed: Set[str]) -> pd.DataFrame:
    """Return the columns that are used, or all where one that is needed is missing or repeated."""
    if frame.attrs.get("repeated") or not needed <= set(frame.columns):
        return frame
    return frame[[name for name in frame.columns if name in used]]


def _check_lines(path: Path, where: str) -> None:
    """Raise `InputError` for a text without lines, or one that memory cannot hold."""
    require_room(where, (path.stat().st_size,), 4, "a text")
    with opened(path) as file:
        head = file.read(LONGEST_LINE)
    if len(head) == LONGEST_LINE and not {*b"\r\n"} & {*head}:
        raise bad_input(
            where, f"a first line of more than {LONGEST_LINE:,} bytes", "a table of lines",
            "The file may be damaged, or be none: look at its beginning.",
        )  # fmt: skip


@lru_cache(maxsize=8)
def _read(
    path: Path, stamp: tuple[int, ...], options: TableOptions, texts: tuple[str, ...], where: str
) -> pd.DataFrame:
    copy = member_copy(path)
    if format_of(copy) == PARQUET:
        described = parquet.read_metadata(copy)
        require_room(where, (described.num_rows, described.num_columns), 8, "a table")
        return pd.read_parquet(copy)
    _check_lines(copy, where)
    return read_text_table(copy, options, where, texts)
