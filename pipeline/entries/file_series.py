"""Files of a catalog entry, from a `uri` with keys such as `{year}` and globs such as `*`."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fnmatch import translate
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.core.addresses import Access, AnyPath, RemotePath, is_remote, path_of
from pipeline.core.errors import bad_input
from pipeline.core.system.globs import matching

KEYS = ("year", "month", "day", "hour", "doy")
MAX_STEPS = 1_000_000
"""Number of steps that the keys of one entry may stand for: a century of hours."""
MAX_FILES = 1_000_000
"""Number of files or folders that a glob may stand for, or that its folder may hold."""
SUFFIXES = {
    "netcdf": (".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".he5"),
    "grib": (".grib", ".grib2", ".grb", ".grb2"),
    "raster": (".tif", ".tiff", ".vrt", ".hgt", ".asc", ".bil", ".img", ".jp2", ".hdf"),
    "npz": (".npz",),
    "table": (".csv", ".tsv", ".txt", ".parquet", ".pq"),
}
"""Suffixes of the files that a folder stands for, by driver; other drivers read the folder."""
Step = tuple[int, ...]
"""Year, month, day and hour, or the first of these; the month alone in a climatology."""
Period = tuple[date, date]
Series = dict[Step, tuple[Any, ...]]
"""Paths of each step: `pathlib.Path`, or `RemotePath` of remote addresses."""
_KEY = re.compile(r"\{(\w+)(?::(?:0([1-9]))?d)?\}")
_ADJACENT = re.compile(r"\{(month|day|hour|doy)(?::d)?\}\{(?:month|day|hour|doy)(?::d)?\}")
_GLOB = re.compile(r"[*?]|\[[^\]]+\]")


@dataclass(frozen=True)
class Pattern:
    """One address of a catalog entry, and what decides for which times it stands."""

    uri: str
    driver: str
    years: tuple[int, int] | None = None
    period: Period | None = None
    spare: tuple[int, int] = (0, 0)
    """Days before and after the period of which files are read too, where they exist."""
    access: Access = field(default_factory=Access)

    def path(self, text: str) -> AnyPath:
        """Return the path that a text made of the uri stands for."""
        return path_of(text, self.access)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Steps of the keys, within the period if any is; `((),)` without keys."""
        return _steps(pattern_keys(self.uri), self.years, self.period, self.spare)


def pattern_keys(uri: str) -> tuple[str, ...]:
    """Return the keys of `KEYS` that the uri contains.

    Raises `ValueError` for other keys, for formats that are not those of whole numbers, and for
    combinations that do not exist: a day needs a month and a year, a day of the year (`doy`) the
    year, an hour a day; a month without a year is one of a climatology.
    """
    names = set()
    for text in re.findall(r"\{\w[^{}]*\}?", uri):
        name = re.findall(r"\w+", text)[0]
        if name not in KEYS:
            known = [f"{{{key}}}" for key in KEYS]
            accepted = f"{', '.join(known[:-1])} and {known[-1]}"
            raise ValueError(f"{{{name}}} in the uri, which accepts {accepted}")
        if not _KEY.fullmatch(text):
            accepted = f"{{{name}}} or {{{name}:02d}}"
            raise ValueError(f"a uri that cannot be filled in ({text} instead of {accepted})")
        names.add(name)
    if joined := _ADJACENT.search(uri):
        raise ValueError(
            f"{joined[0]} in the uri, of which 111 may be two dates: write {padded(joined[0])}"
        )
    if "day" in names and not {"year", "month"} <= names:
        raise ValueError("{day} in the uri without {year} and {month}")
    if "doy" in names and "year" not in names:
        raise ValueError("{doy} in the uri without {year}")
    if "hour" in names and not names & {"day", "doy"}:
        raise ValueError("{hour} in the uri without {day} or {doy}")
    return tuple(key for key in KEYS if key in names)


def named_part(uri: str) -> tuple[str, str] | None:
    """Return the file and the part of it of a name of GDAL, None for other addresses.

    >>> named_part('HDF5:"imerg.HDF5"://Grid/precipitation')
    ('imerg.HDF5', 'Grid/precipitation')
    """
    match = re.fullmatch(r'(?:HDF5|NETCDF|ZARR|HDF4_\w+:\w+):"?([^"]+?)"?:/{0,2}(.+)', uri)
    return (match[1], match[2].replace('"', "")) if match else None


def padded(uri: str) -> str:
    """Return the uri with keys of two or three digits each: `{month:02d}` instead of `{month}`."""
    return re.sub(r"\{(month|day|hour|doy)(?::d)?\}",
                  lambda key: f"{{{key[1]}:0{3 if key[1] == 'doy' else 2}d}}", uri)  # fmt: skip


def series_keys(uris: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of the addresses of an entry; `ValueError` if they have different keys."""
    keys = {pattern_keys(uri): uri for uri in uris}
    if len(keys) > 1:
        raise ValueError(f"addresses with different keys, {' and '.join(keys.values())}")
    return next(iter(keys), ())


def has_glob(uri: str) -> bool:
    """Whether the uri contains `*`, `?` or `[..]`; the query of an address is no glob."""
    return bool(_GLOB.search(uri.partition("?")[0] if "://" in uri else uri))


def count_steps(keys: Sequence[str], years: tuple[int, int]) -> int:
    """Return the number of steps for which the keys stand, with every year of 366 days."""
    in_year = 366 if {"day", "doy"} & set(keys) else 12 if "month" in keys else 1
    return (years[1] - years[0] + 1) * in_year * (24 if "hour" in keys else 1)


def series_files(patterns: Sequence[Pattern]) -> Series:
    """Return the paths of each step in order, existing or not; the key is () without keys.

    A glob stands for the files that match it, in the order of their names, and a folder for its
    files with a suffix of the driver; where there are none, the path is that of the glob or folder.
    Files whose days are all outside the `period` and its spare days are left out, and those of
    spare days that do not exist.
    """
    found = [_series(pattern, _stamps(pattern)) for pattern in patterns]
    series = found[0]
    if len(found) > 1:
        series = {step: tuple(path for one in found for path in one[step]) for step in series}
    period = patterns[0].period
    if period is None or not any(patterns[0].spare) or "year" not in pattern_keys(patterns[0].uri):
        return series
    kept = {
        step: paths for step, paths in series.items()
        if (_last(step) >= period[0] and _first(step).date() <= period[1])
        or all(path.exists() for path in paths)
    }  # fmt: skip
    return kept or series


@lru_cache(maxsize=512)
def _steps(
    keys: tuple[str, ...], years: tuple[int, int] | None, period: Period | None,
    spare: tuple[int, int],
) -> tuple[Step, ...]:  # fmt: skip
    if "year" not in keys or years is None:
        return tuple((month,) for month in range(1, 13)) if "month" in keys else ((),)
    daily = bool({"day", "doy"} & set(keys))
    steps: list[Step] = [(year,) for year in range(years[0], years[1] + 1)]
    if "month" in keys or daily:
        steps = [(*step, month) for step in steps for month in range(1, 13)]
    if daily:
        steps = [(*s, day) for s in steps for day in range(1, monthrange(*s)[1] + 1)]
    if "hour" in keys:
        steps = [(*step, hour) for step in steps for hour in range(24)]
    if period:
        early, late = period[0] - timedelta(spare[0]), period[1] + timedelta(spare[1])
        steps = [s for s in steps if _last(s) >= early and _first(s).date() <= late] or steps
    return tuple(steps)


def _first(step: Step) -> datetime:
    """Return the time at which a step begins."""
    year, month, day, hour, minute, second = (*step, *(1, 1, 1, 0, 0, 0)[len(step) :])
    return datetime(year, month, day, hour, minute, second)


def _last(step: Step) -> date:
    """Return the last day of a step."""
    if len(step) >= 3:
        return _first(step).date()
    year, month = (*step, 12)[:2]
    return date(year, month, monthrange(year, month)[1])


def step_date(step: Step) -> str:
    """Return the ISO date, or date and hour, at which a step begins."""
    return _first(step).isoformat() if len(step) > 3 else _first(step).date().isoformat()


def _numbers(step: Step) -> dict[str, int]:
    """Return the number of each key at a step; steps of a climatology are months."""
    if len(step) == 1:
        return {"year": step[0], "month": step[0]}
    named = dict(zip(KEYS, step, strict=False))
    return named | {"doy": _first(step).timetuple().tm_yday} if len(step) > 2 else named


def _filled(uri: str, step: Step) -> str:
    numbers = _numbers(step)

    def number(key: re.Match[str]) -> str:
        return f"{numbers[key[1]]:0{key[2] or 1}d}"

    return _KEY.sub(number, uri) if step else uri


def _stamps(pattern: Pattern) -> tuple[int, ...]:
    """Return the times at which the folders that a glob lists were changed; () for no glob."""
    return tuple(_changed(folder) for folders in _folders(pattern).values() for folder in folders)


def _changed(folder: AnyPath) -> int:
    """Return the time at which a folder was changed; 0 for remote ones, which are listed once."""
    if isinstance(folder, RemotePath):
        return 0
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _folders(pattern: Pattern) -> dict[str, list[AnyPath]]:
    """Return the folders to list, by the text that a step makes of the part before the name."""
    remote = is_remote(pattern.uri)
    if has_glob(pattern.uri) and (remote or not Path(pattern.uri).exists()):
        return {text: _expanded(text, pattern) for text in _by_folder(pattern)}
    folder = pattern.path(pattern.uri)
    is_folder = pattern.uri.endswith("/") if remote else folder.is_dir()
    return {pattern.uri: [folder]} if pattern.driver in SUFFIXES and is_folder else {}


@lru_cache(maxsize=128)
def _by_folder(pattern: Pattern) -> dict[str, list[Step]]:
    """Return the steps by the text that they make of the folder of a glob."""
    steps: dict[str, list[Step]] = {}
    head = pattern.uri.rpartition("/")[0] or "/"[: pattern.uri.startswith("/")]
    for step in pattern.steps:
        steps.setdefault(_filled(head, step), []).append(step)
    return steps


def _expanded(folder: str, pattern: Pattern) -> list[AnyPath]:
    """Return the folders that match a glob, or the one folder of a text without one."""
    path = pattern.path(folder)
    if not has_glob(folder) or (isinstance(path, Path) and path.is_dir()):
        return [path]
    parts = folder.split("/")
    first = next(i for i, part in enumerate(parts) if has_glob(part))
    base = "/".join(parts[:first]) or ("/" if folder.startswith("/") else "")
    begin, rest = pattern.path(base), "/".join(parts[first:])
    if isinstance(begin, Path):
        return [path for path in matching(begin, rest, pattern.uri, MAX_FILES) if path.is_dir()]
    found: list[Any] = _sorted(begin.glob(rest), folder)
    return [path for path in found if isinstance(path, RemotePath) or path.is_dir()]


@lru_cache(maxsize=512)
def _series(pattern: Pattern, stamps: tuple[int, ...]) -> Series:
    """Return the files of one address, cached until one of the listed folders changes."""
    folders = _folders(pattern)
    if folders and not has_glob(pattern.uri):
        whole = pattern.path(pattern.uri)
        kept = [path for path in _listed(whole) if path.suffix.lower() in SUFFIXES[pattern.driver]]
        return {(): tuple(kept) or (whole,)}
    paths: dict[Step, list[AnyPath]] = {step: [] for step in pattern.steps}
    name = pattern.uri.rpartition("/")[2]
    keys, matching = list(dict.fromkeys(_named(name))), _regex(name)
    for text, listed in folders.items():
        steps = {
            tuple(_numbers(step)[key] for key in keys): step for step in _by_folder(pattern)[text]
        }
        for path in (path for folder in listed for path in _visible(folder, name)):
            match = matching.fullmatch(path.name)
            step = steps.get(tuple(int(match[key]) for key in keys)) if match else None
            if step is not None:
                paths[step].append(path)
    return {
        step: tuple(found) or (pattern.path(_filled(pattern.uri, step)),)
        for step, found in paths.items()
    }


def _named(text: str) -> Iterable[str]:
    return (key[1] for key in _KEY.finditer(text))


def _listed(folder: AnyPath) -> list[Any]:
    return _sorted(folder.iterdir(), str(folder))


def _sorted(paths: Iterable[Any], where: str) -> list[Any]:
    """Return paths by name; `InputError` for more than `MAX_FILES`."""
    found = list(islice(paths, MAX_FILES + 1))
    if len(found) > MAX_FILES:
        raise bad_input(where, f"more than {MAX_FILES:,} files or folders", "the files of a source",
                        "Name the part of their path that is a time with keys.")  # fmt: skip
    return sorted(found)


def _visible(folder: AnyPath, name: str) -> list[AnyPath]:
    """Return what a folder holds, by name, without hidden files unless the glob names them."""
    if not isinstance(folder, RemotePath) and not folder.is_dir():
        return []
    return [path for path in _listed(folder) if not path.name.startswith(".") or name[0] == "."]


def _regex(name: str) -> re.Pattern[str]:
    """Return the expression of a file name with keys and globs; groups are named by keys."""
    parts, end, seen = [], 0, set()
    for key in _KEY.finditer(name):
        digits = f"{{{key[2]}}}" if key[2] else "{4}" if key[1] == "year" else "{1,3}"
        again = key[1] in seen
        parts += [_glob(name[end : key.start()])]
        parts += [f"(?P={key[1]})" if again else rf"(?P<{key[1]}>\d{digits})"]
        seen.add(key[1])
        end = key.end()
    return re.compile("".join([*parts, _glob(name[end:])]))


def _glob(text: str) -> str:
    """Return the expression of a glob, without the end of the text that `translate` adds."""
    return translate(text)[:-2]
