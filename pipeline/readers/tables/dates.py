"""dates_of(): columns of a table as times; the order of day and month is never guessed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.core.errors import InputError, bad_input

NUMERALS = r"\s*\d{1,2}[./ -]\d{1,2}[./ -]\d{2,4}\b"
"""Dates that begin with a day, a month or a year of two digits: which of these is not stated."""
NAMED = r"^\d{4}[/.]|[A-Za-z]{3}.*\d{4}|\d{4}.*[A-Za-z]{3}"
"""Dates with the year first, or with the name of the month."""
ZONE = r"(?<=:\d\d)(?:\.0+)?\s*[+-]\d\d:?\d\d$"
"""Time zone at the end of a time, other than Z."""
MIDNIGHT = r"(?<=[ T])24:00\b(?=:00\b|$)"
"""The end of a day as a time of that day."""
FORMATS = (
    *("%d.%m.%Y", "%m.%d.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y"),
    *("%d/%m/%y", "%m/%d/%y", "%y-%m-%d", "%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"),
    *("%m/%d/%Y %I:%M %p", "%d/%m/%Y %I:%M %p", "%d/%m/%Y %I:%M:%S %p"),
    *("%Y%m", "%Y%j", "%Y-%j", "%d-%b-%y", "%Y%m%d%H", "%Y%m%d%H%M"),
    *("%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S"),
)
"""Formats that are proposed where they fit all rows."""
EXCEL, EPOCH = "excel", pd.Timestamp("1899-12-30")
"""Format of days as numbers of Excel, such as 36892 for 2001-01-01, and what it counts from."""
PARTS = ("year", "month", "day", "hour", "minute")
NAMES = {
    **{part: part for part in (*PARTS, "doy")}, "yyyy": "year", "yr": "year", "mm": "month",
    "mon": "month", "mo": "month", "dd": "day", "hh": "hour", "hr": "hour", "jday": "doy",
    "julian_day": "doy", "day_of_year": "doy",
}  # fmt: skip
"""Usual names of columns, in lower case, and the part of a date that each has."""


def dates_of(
    table: pd.DataFrame, columns: Sequence[str], date_format: str | None, where: str
) -> np.ndarray:
    """Return the times [rows] of one or several columns as datetime64[ns].

    They are in UTC if zones are given, except for values of days, at midnight in their zone.

    Several columns of numbers are what their names state, such as year and doy, or else year,
    month, day, hour and minute; several texts, or numbers with a format, are joined by a
    space. Texts are ISO 8601, such as 2001-02-28 or 20010228, or have the `date_format` (of
    `datetime.strptime`, or `excel` for the numbers that Excel has for days). Raises
    `InputError` for missing and other dates, with two of the rows.
    """
    label = f"{where}: {', '.join(columns)}"
    column, later = _before_midnight(_joined(table, columns, date_format))
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        times = pd.to_datetime(column, utc=True)
    elif date_format == EXCEL:
        texts = column.astype("string").str.replace(",", ".")
        times = _of_excel(pd.to_numeric(texts, errors="coerce"))
    elif date_format is not None:
        texts = _texts(column)
        times = pd.to_datetime(texts, format=date_format, errors="coerce", utc=True)
    else:
        texts = _texts(column)
        unclear = unclear_order(texts)
        if unclear.any():
            rows = [f"in row {row + 1}" for row in np.flatnonzero(unclear)]
            raise unclear_dates(texts[unclear].set_axis(rows), label)
        times = clear_dates(texts)
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        expected = f'dates such as "{date_format}"' if date_format else "ISO dates or times"
        fit = [EXCEL] if _are_serial(column) else formats_of(_texts(column))
        proposed = f"`date_format: {fit[0]}`" if fit else "`date_format`"
        shown = " ".join(str(table[name].iloc[row]) for name in columns)
        raise bad_input(
            label, f'"{shown}" in row {row + 1}', expected,
            f"Correct the row; or set `options` of the entry: {proposed} for other dates,"
            " `header_lines: 2` where a line of units is below the names of columns.",
        )  # fmt: skip
    times = times.dt.tz_localize(None) + pd.to_timedelta(later, unit="D")
    return times.to_numpy().astype("datetime64[ns]")


def _of_excel(days: pd.Series) -> pd.Series:
    """Return days since the end of 1899, as Excel counts them from March 1900, as times."""
    return (EPOCH + pd.to_timedelta(days, unit="D")).dt.round("s").dt.tz_localize("UTC")


def _are_serial(column: pd.Series) -> bool:
    """Whether all values may be the numbers that Excel has for days from 1927 to 2100."""
    days = pd.to_numeric(column, errors="coerce")
    return bool(days.between(10_000, 73_415).all())


def _before_midnight(column: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return times at 24:00 as 0:00, and the days [rows] that these are later: 1, or else 0."""
    if column.dtype.kind not in "OT" and not pd.api.types.is_string_dtype(column.dtype):
        return column, pd.Series(0, column.index)
    at_end = column.astype("string").str.contains(MIDNIGHT).fillna(value=False).astype(bool)
    if not at_end.any():
        return column, pd.Series(0, column.index)
    texts = column.astype("string").str.replace(MIDNIGHT, "00:00", regex=True)
    return texts.where(at_end, column.astype("string")), at_end.astype(int)


def clear_dates(texts: pd.Series) -> pd.Series:
    """Return texts as times in UTC, NaT for those that are not surely dates.

    Surely dates are those of ISO 8601, and those with the name of the month or the year first.
    """
    days = _of_days(texts)
    iso = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    times = iso if days is None else days
    other = times.isna() & texts.str.contains(NAMED).fillna(value=False)
    if other.any():
        named = pd.to_datetime(texts[other], format="mixed", errors="coerce", utc=True)
        times = times.where(~other, named.reindex(times.index))
    return times


def _of_days(texts: pd.Series) -> pd.Series | None:
    """Return the days of times that are all midnight in a time zone; None for other times.

    Values of local days belong to these, although their midnight is in another day of UTC.
    """
    if not texts.str.contains(ZONE).fillna(value=False).all():
        return None
    local = pd.to_datetime(
        texts.str.replace(ZONE, "", regex=True), format="ISO8601", errors="coerce", utc=True
    )
    return local if (local == local.dt.normalize()).all() else None


def _joined(table: pd.DataFrame, columns: Sequence[str], date_format: str | None) -> pd.Series:
    if len(columns) == 1:
        return table[columns[0]]
    numbers = [pd.to_numeric(table[name], errors="coerce") for name in columns]
    if date_format is None and all(column.notna().all() for column in numbers):
        named = [NAMES.get(name.strip().lower()) for name in columns]
        if None in named or len(set(named)) < len(named) or "year" not in named:
            named = list(PARTS[: len(columns)])
        return _of_parts(pd.DataFrame(dict(zip(named, numbers, strict=False))))
    texts = [_texts(table[name]) for name in columns]
    return pd.concat(texts, axis=1).agg(" ".join, axis=1)


def _of_parts(parts: pd.DataFrame) -> pd.Series:
    """Return the times of rows with a year and, if they have them, a month and day or a doy."""
    days = pd.Series(0, parts.index)
    if "doy" in parts:
        days = parts.pop("doy") - 1
        days = days.where((days >= 0) & (days < 365 + _is_leap(parts["year"])))
        parts = parts.assign(month=1, day=1)
    whole = parts.assign(**{part: parts.get(part, 1) for part in ("month", "day")})
    return pd.to_datetime(whole, errors="coerce") + pd.to_timedelta(days, unit="D")


def _is_leap(years: pd.Series) -> pd.Series:
    return (years % 4 == 0) & ((years % 100 != 0) | (years % 400 == 0))


def _texts(column: pd.Series) -> pd.Series:
    """Return a column as texts; whole numbers have no decimal point."""
    if column.dtype.kind == "f" and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype("string").str.strip()


def unclear_order(texts: pd.Series) -> pd.Series:
    """Return where a text is a date whose day and month may be in any order."""
    return texts.astype("string").str.match(NUMERALS).fillna(value=False).astype(bool)


def formats_of(texts: pd.Series) -> list[str]:
    """Return the usual formats of dates that fit all texts."""
    unique = texts.drop_duplicates()
    return [
        form for form in FORMATS
        if pd.to_datetime(unique, format=form, errors="coerce").notna().all()
    ]  # fmt: skip


def unclear_dates(texts: pd.Series, where: str) -> InputError:
    """Return the error for dates whose order is not stated, with two of them and formats that fit.

    The index of `texts` is where each is.
    """
    unique = texts.drop_duplicates()
    rows = " and ".join(f'"{text}" {at}' for at, text in unique[:2].items())
    fit = formats_of(unique)
    proposed = " or ".join(f'"{form}"' for form in fit) or '"%d.%m.%Y"'
    return bad_input(
        where, f"{rows}, in which the order of day and month is not stated",
        "ISO 8601 dates such as 2001-02-28, or a declared format",
        f"Set `options: {{date_format: …}}` to {proposed}.",
    )  # fmt: skip
