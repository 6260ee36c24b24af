"""read_text_table(): tables of text with the separators, decimals and headers that people use."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import IO, cast

import pandas as pd
from pydantic import Field

from pipeline.core.addresses import AnyPath
from pipeline.core.errors import bad_input, listed, nearest_name
from pipeline.core.settings import Frozen, later

SEPARATORS = (",", ";", "\t", "|")
ENCODINGS = ("utf-8-sig", "latin-1")
"""Encodings that are tried in turn; the first reads files with and without byte order mark."""
SAMPLE = 500
"""Lines from which the separator and the decimal mark are recognised."""
MOST_TITLES = 20
"""Lines above the names of columns that are recognised."""
COMMA = re.compile(r"[+-]?\d+,\d+")
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
POINT = re.compile(r"[+-]?\d*\.\d+")
SEPARATOR_LINE = re.compile(r"sep=(.)", re.IGNORECASE)
"""First line with which Excel states the separator."""
RDB = re.compile(r"\d+[sdn]")
"""Widths and types in the second line of a table of USGS (RDB), such as 5s and 20d."""


class TextOptions(Frozen):
    """How a table is written; what is not set is recognised."""

    separator: str | None = None
    """Separator of columns, such as ";" or a tab; " " stands for any white space."""
    decimal: str | None = Field(None, pattern="^[.,]$")
    """Decimal mark, a point or a comma."""
    thousands: str | None = None
    """Mark between groups of three digits, if the numbers have one."""
    encoding: str | None = None
    """Encoding, by default UTF-8 (with or without byte order mark), or else Latin-1."""
    comment: str = "#"
    """Character that begins a comment."""
    skip_lines: int = Field(0, ge=0)
    """Number of lines before the names of the columns, other than comments."""
    header_lines: int = Field(1, ge=1)
    """Number of lines of the header, of which the first has the names of the columns."""
    missing: tuple[str, ...] = ()
    """Texts that mean a missing value, such as "Ice", in addition to empty fields, NA and nan."""
    columns: tuple[str, ...] = later(())
    """Names of the columns of files without a line of names."""
    comment_columns: tuple[str, ...] = later(())
    """Names in comments such as `# Latitude (DD): 52.3`, each of which becomes a column with that
    value in every row of its file."""


@dataclass(frozen=True)
class Layout:
    """How a table was recognised to be written."""

    encoding: str
    separator: str
    decimal: str
    header: tuple[str, ...]
    """Names of the columns."""
    skipped: tuple[int, ...]
    """Lines, from 0, that are neither names, comments nor rows."""
    constants: dict[str, str]
    """Values that comments state for columns, by their names."""
    ends_with_separator: bool = False
    """Whether all rows, but not the names, end with a separator."""


def read_text_table(
    path: AnyPath, options: TextOptions, where: str, texts: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the rows of a table of text; columns named in `texts` stay texts.

    Names of columns that occur twice are in the attribute `repeated`. Raises `InputError` for
    numbers whose decimal mark is unclear, and where comments lack a column that they should state.
    """
    for encoding in [options.encoding] if options.encoding else ENCODINGS:
        try:
            layout = _recognised(path, encoding, options, where)
            with opened(path) as file, uneven_lines(where, layout.header):
                frame = pd.read_csv(
                    file, sep=r"\s+" if layout.separator == " " else layout.separator,
                    decimal=layout.decimal, thousands=options.thousands, encoding=layout.encoding,
                    comment=options.comment, skiprows=list(layout.skipped) or None,
                    na_values=list(options.missing) or None,
                    dtype={name: str for name in layout.header if name.strip() in texts},
                    header=None if options.columns else "infer",
                    names=list(options.columns) or None,
                    index_col=False if layout.ends_with_separator else None,
                )  # fmt: skip
            break
        except UnicodeDecodeError:
            if encoding in (options.encoding, ENCODINGS[-1]):
                raise
    names = [name.strip() for name in layout.header]
    frame.attrs["repeated"] = sorted({name for name in names if names.count(name) > 1})
    return frame.rename(columns=lambda name: str(name).strip()).assign(**layout.constants)


def marks_of(
    path: AnyPath, encoding: str, where: str, decimal: str | None = None
) -> tuple[str, str]:
    """Return the separator by which a table with free texts is written, and the decimal mark.

    The separator is that which the names of columns have most of. Raises `InputError` for numbers
    whose decimal mark is unclear.
    """
    with opened(path) as file:
        text = io.TextIOWrapper(file, encoding=encoding, newline="")
        lines = list(islice(text, SAMPLE))
    separator = max(SEPARATORS, key=lines[0].count) if lines else ","
    rows = csv.reader(lines[1:], delimiter=separator)
    mark = decimal or decimal_mark(list(rows), separator, TextOptions(), where)
    return separator, mark


def ungrouped(column: pd.Series) -> pd.Series:
    """Return a column of which texts such as "1,000" are 1000; others, such as "12,5", stay."""
    if column.dtype.kind in "iufM":
        return column
    texts = column.astype("string").str.strip()
    grouped = texts.str.fullmatch(GROUPED.pattern).fillna(value=False).astype(bool)
    return column.where(~grouped, texts.str.replace(",", "")) if grouped.any() else column


def opened(path: AnyPath) -> IO[bytes]:
    """Return the file for reading, decompressed if it begins like a gzip archive."""
    file = path.open("rb")
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(IO[bytes], gzip.GzipFile(fileobj=file) if packed else file)


def _recognised(path: AnyPath, encoding: str, options: TextOptions, where: str) -> Layout:
    with opened(path) as file:
        if not options.encoding and file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            encoding = "utf-16"
        file.seek(0)
        text = io.TextIOWrapper(file, encoding=encoding)
        lines = list(enumerate(line.rstrip("\r\n") for line in islice(text, SAMPLE)))
    rows = [(i, s) for i, s in lines if s.strip() and not s.startswith(options.comment)]
    comments = [s[len(options.comment) :] for _, s in lines if s.startswith(options.comment)]
    constants = _constants(comments, options, where)
    before, declared = options.skip_lines, options.separator
    if rows and (stated := SEPARATOR_LINE.fullmatch(rows[0][1])):
        before, declared = max(before, 1), declared or stated[1]
    if not (before or declared or options.columns):
        check_first_line([line for _, line in rows], where, "options: {skip_lines: …}")
    skipped = [i for i, _ in rows[:before]]
    rows = rows[before:]
    separator = declared or _separator([line for _, line in rows])
    split = [_fields(line, separator) for _, line in rows]
    under = 0 if options.columns else options.header_lines
    if len(split) > 1 and all(RDB.fullmatch(field) for field in split[1]):
        under = max(under, 2)
    skipped += [i for i, _ in rows[1:under]]
    decimal = options.decimal or decimal_mark(split[under:], separator, options, where)
    header = options.columns or (tuple(split[0]) if split else ())
    if options.columns and split and len(split[0]) != len(header):
        raise bad_input(where, f"{len(split[0])} columns", f"the {len(header)} of `columns`",
                        "Correct `options: {columns: […]}`.")  # fmt: skip
    body = split[under:]
    ends = bool(body) and all(len(row) == len(header) + 1 and not row[-1].strip() for row in body)
    return Layout(encoding, separator, decimal, header, tuple(skipped), constants, ends)


def check_first_line(lines: Sequence[str], where: str, option: str) -> None:
    """Raise `InputError` where lines such as a title are above the names of columns.

    These are the first line with as many fields as all that follow, none of which is a number.
    """
    for above in range(1, min(MOST_TITLES, len(lines) - 2) + 1):
        rest = lines[above : above + 20]
        for mark in SEPARATORS:
            split = [_fields(line, mark) for line in rest]
            count = len(split[0])
            if count < 2 or any(len(row) != count for row in split[1:]):
                continue
            is_above = all(len(_fields(line, mark)) < count for line in lines[:above])
            has_names = all(field.strip() and not _is_number(field) for field in split[0])
            if is_above and has_names and any(map(_is_number, split[1])):
                raise bad_input(
                    where, f'{above} line{"s" * (above > 1)} above the names of columns, "'
                    f'{lines[0][:60]}"', "the names of columns first",
                    f"Set `{option.replace('…', str(above))}`.",
                )  # fmt: skip


def _is_number(field: str) -> bool:
    return re.fullmatch(r"\s*[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?\s*", field) is not None


@contextmanager
def uneven_lines(where: str, header: Sequence[str]) -> Iterator[None]:
    """Raise `InputError` with its number where a reader finds a line with too many fields."""
    try:
        yield
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if found is None:
            raise
        raise bad_input(
            where, f"{found[3]} fields in line {found[2]}", f"{found[1]}, as in the lines above",
            "Correct the line, or quote the text with a separator in it; the names of columns are "
            f"{listed(header)}.",
        ) from None  # fmt: skip


def _constants(comments: Sequence[str], options: TextOptions, where: str) -> dict[str, str]:
    """Return the values that comments state, by name; `InputError` if one of them is not there."""
    pairs = [comment.partition(":") for comment in comments if ":" in comment]
    stated = {name.strip(): value.strip() for name, _, value in reversed(pairs)}
    for name in options.comment_columns:
        if name not in stated:
            raise bad_input(where, f"comments that state {listed(stated)}", f'a line "{name}: …"',
                            nearest_name(name, stated))  # fmt: skip
    return {name: stated[name] for name in options.comment_columns}


def _separator(lines: Sequence[str]) -> str:
    """Return the separator that splits all of the first lines into most columns, else the names.

    It is white space if that alone splits all of them into as many columns.
    """
    counts = {mark: [len(_fields(line, mark)) for line in lines[:20]] for mark in SEPARATORS}
    even = {mark: found[0] for mark, found in counts.items() if len(set(found)) == 1}
    if max(even.values(), default=1) == 1:
        spaced = {len(_fields(line, " ")) for line in lines[:20]}
        if len(lines) > 1 and len(spaced) == 1 and max(spaced) > 1:
            return " "
        even = {mark: found[0] for mark, found in counts.items() if found}
    return max(SEPARATORS, key=lambda mark: even.get(mark, 0))


def _fields(line: str, separator: str) -> list[str]:
    if separator == " ":
        return [text.strip('"') for text in re.findall(r'"[^"]*"|\S+', line)]
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error as error:
        raise ValueError(f"a line that is no row of a table: {error}") from None


def decimal_mark(
    rows: Sequence[Sequence[str]], separator: str, options: TextOptions, where: str
) -> str:  # fmt: skip
    """Return the decimal mark; raises `InputError` if commas may be either mark."""
    fields = [field.strip() for row in rows for field in row]
    grouped = [field for field in fields if GROUPED.fullmatch(field)]
    clear = [f for f in fields if COMMA.fullmatch(f) and not GROUPED.fullmatch(f)]
    points = [field for field in fields if POINT.fullmatch(field)]
    if options.thousands == "," or points or not (clear or grouped):
        return "."
    if clear:
        return ","
    if separator == ",":
        return "."
    raise bad_input(
        where, f'numbers such as "{grouped[0]}", whose comma may be a decimal mark or separate '
        "thousands", "numbers with a clear decimal mark",
        'Set `options: {decimal: ","}` or `options: {thousands: ","}`.',
    )  # fmt: skip
