"""Drafts of entries of gridded files: NetCDF, GRIB, Zarr and rasters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import InputError, listed
from pipeline.core.units import may_be_total
from pipeline.drafts.known import extreme_of, known_variable, of_file_name
from pipeline.drafts.listing import Field, list_grid, probe_source
from pipeline.drafts.look import Group
from pipeline.drafts.text import DECIDE, ENTRY, FOUND, Draft, plain
from pipeline.drafts.times import Adding, adding_of
from pipeline.drafts.values import guess_units, sample_of
from pipeline.entries.source import Source
from pipeline.entries.variable import Variable
from pipeline.grid.crs import declared_crs, is_geographic_crs, named_crs
from pipeline.readers.common.dims import Layout, cell_size
from pipeline.sources.arrays.resets import opened, sampled
from pipeline.sources.axes import axes_of
from pipeline.sources.decode import stated_units
from pipeline.times.calendars import STANDARD, calendar_seconds
from pipeline.times.stamps import HOURS
from pipeline.times.steps import step_of

MOST_CLASSES = 60
"""Codes of a class map that are listed; more are hardly classes."""
CLASSES = ("landcover", "koppen", "lithology")
"""Canonical variables whose values are classes."""


@dataclass(frozen=True)
class _Look:
    """An opened group of files: the entry that opens it, its dataset, axes and time step."""

    probe: Source
    ds: xr.Dataset
    axes: Layout | None
    hours: float | None
    step: str | None
    is_dated: bool
    """Whether there is an axis of more than one time."""


def draft_grids(group: Group, name: str, variables: Mapping[str, Variable]) -> list[Draft]:
    """Return drafts for files of one grid: one for each way in which values add up in time.

    Variables that no canonical one matches are named in a note. Raises `InputError` for files that
    cannot be read.
    """
    listing = list_grid(group.driver, group.paths[0], name)
    names = _matched(listing.fields, group, variables)
    notes = _unmatched(listing.fields, names)
    if listing.skipped:
        text = f"cfgrib left out {'; '.join(listing.skipped)}: read them by entries with"
        notes.append(f"{DECIDE}{text} `options: {{filter_by_keys: …}}`.")
    if listing.problem:
        notes = [f"{DECIDE}{listing.problem}"]
    elif not listing.fields:
        notes = [f"{DECIDE}the root of the file has no variables on a grid; name those in groups by"
                 " their path, such as `VARIABLE: {name: Grid/precipitation}`."]  # fmt: skip
    entry = {"uri": group.uri, "driver": group.driver}
    if not names:
        return [Draft(name, {**entry, "variables": {}}, {ENTRY: notes})]
    look = _opened(group, name, listing.fields, names)
    common = _common(look, group)
    if any(field.is_class or names.get(field.name) in CLASSES for field in listing.fields):
        return _classes(look, names, name, {**entry, **common}, notes)
    found: dict[Any, dict[str, tuple[dict[str, Any], Sequence[str]]]] = {}
    for field in listing.fields:
        if field.name in names:
            key = names[field.name]
            adding = _adding(look, key, variables[key])
            settings, said = _settings(look, key, field, adding, variables[key])
            found.setdefault((adding.stamp, adding.resets), {})[key] = settings, said
    drafts: list[Draft] = []
    for (stamp, resets), of_kind in found.items():
        time = _time(look, stamp, resets)
        means = all(s.get("cell_method") == "mean" for s, _ in of_kind.values())
        drafts.append(Draft(
            _name(name, stamp, resets, len(found)),
            {**entry, **common, **({"time": time} if time else {}),
             "variables": {key: settings for key, (settings, _) in of_kind.items()},
             **({"method": "bilinear"} if means and look.is_dated else {})},
            {**({} if drafts else {ENTRY: notes}), **_calendar(look),
             **{f"variables.{key}": said for key, (_, said) in of_kind.items() if said}},
        ))  # fmt: skip
    return drafts


def _name(name: str, stamp: str | None, resets: Any, count: int) -> str:
    """Return the name of an entry: several of one file are told apart by their times."""
    if count == 1 or (stamp is None and resets is None):
        return name
    return f"{name}_{'steps' if resets is None else 'accumulated'}"


def _matched(
    fields: Sequence[Field], group: Group, variables: Mapping[str, Variable]
) -> dict[str, str]:
    """Return the canonical variable of each field that has one, each once."""
    found: dict[str, str] = {}
    for field in fields:
        key = known_variable(
            field.name, variables, standard_name=field.standard_name, units=field.units
        )
        if key is None and field.long_name:
            key = known_variable(field.long_name, variables, units=field.units)
        if key is None and len(fields) == 1:
            key = of_file_name(group.paths[0].stem, variables)
        key = extreme_of(key, group.paths[0], variables)
        if key is not None and key not in found.values():
            found[field.name] = key
    return found


def _unmatched(fields: Sequence[Field], names: Mapping[str, str]) -> list[str]:
    """Return a note on the fields that no canonical variable matches."""
    others = [f"{f.name} ({f.long_name or f.units})" if f.long_name or f.units else f.name
              for f in fields if f.name not in names]  # fmt: skip
    if not others:
        return []
    text = f"no canonical variable is known for {', '.join(others[:8])}"
    text += f" and {len(others) - 8} more" if len(others) > 8 else ""
    return [
        f"{DECIDE if not names else FOUND}{text}; write `VARIABLE: {{name: {fields[0].name}}}` with"
        " a name of catalogs/variables.yml or your own (`variables:`) to use one."
    ]


def _opened(
    group: Group, name: str, fields: Sequence[Field], names: Mapping[str, str]
) -> _Look:  # fmt: skip
    variables = {key: {"name": field} for field, key in names.items()}
    probe = probe_source(group.driver, group.uri, name, variables)
    ds = _read(probe)
    axes = axes_of(ds, probe)
    time = axes.time if axes else None
    times = np.atleast_1d(ds[time].values) if time in ds.coords else np.zeros(0)
    dated = times.size > 1 and (times.dtype.kind == "M" or hasattr(times[0], "calendar"))
    step: str | float | None = None
    if dated:
        calendar = STANDARD if times.dtype.kind == "M" else str(times[0].calendar)
        step = step_of(calendar_seconds(times, calendar), calendar)
    by_hours = {hours: text for text, hours in HOURS.items()}
    hours = step if isinstance(step, float) else {"daily": 24.0, "monthly": 730.0}.get(str(step))
    hours = 8766.0 if step == "yearly" else hours
    named = by_hours.get(step) if isinstance(step, float) else step
    return _Look(probe, ds, axes, hours, named, bool(dated))


def _read(probe: Source) -> xr.Dataset:
    """Return the opened files; of layers beside time, y and x the first is looked at."""
    ds = opened(probe)
    axes = axes_of(ds, probe)
    plane = {axes.y, axes.x, axes.time} if axes else {"cell", "time"}
    extra = {str(d): 0 for da in ds.data_vars.values() for d in da.dims if d not in plane}
    return ds.isel(extra) if extra else ds


def _common(look: _Look, group: Group) -> dict[str, Any]:
    """Return the keys of all entries of the files: dims, CRS, resolution, a single time."""
    entry: dict[str, Any] = {}
    axes = look.axes
    if axes is None:
        return entry
    if group.driver != "raster" and not axes.is_curvilinear:
        times = {"time": axes.time} if axes.time else {}
        entry["dims"] = {**times, "y": axes.y, "x": axes.x}
    declared = declared_crs(look.ds)
    if declared is not None and not axes.is_curvilinear:
        crs = named_crs(declared.to_wkt())
        entry["crs"] = crs if len(crs) < 30 or not is_geographic_crs(crs) else "EPSG:4326"
    if axes.is_curvilinear:
        entry |= {"lat": axes.lat, "lon": axes.lon}
    else:
        sizes = (cell_size(look.ds[n].values.astype(float)) for n in (axes.x, axes.y))
        entry["resolution"] = [plain(size) for size in sizes]
    if axes.time and not look.is_dated and look.ds.sizes.get(axes.time) == 1:
        entry["static"] = True
    return entry


def _adding(look: _Look, key: str, variable: Variable) -> Adding:
    """Return how the values of a variable add up; of a map without times not at all."""
    if not look.is_dated or look.axes is None:
        return Adding()
    da = look.ds[look.probe.opened_name(key)]
    is_rate = not may_be_total(variable.units)
    pieces = [] if look.hours is None or look.hours >= 24 else list(
        sampled(look.ds, look.probe, key)
    )  # fmt: skip
    return adding_of(da, look.hours, pieces, {str(look.axes.time), "time"}, is_rate)


def _time(look: _Look, stamp: str | None, resets: Any) -> dict[str, Any]:
    """Return the settings of time: the step, days of shorter ones, stamp and resets."""
    time: dict[str, Any] = {}
    if not look.is_dated:
        return time
    if look.step:
        time["step"] = look.step
    if look.hours is not None and look.hours < 24:
        time["daily"] = True
    if _is_other_calendar(look):
        time["calendar"] = "convert"
    if stamp:
        time["stamp"] = stamp
    if resets is not None:
        time["resets"] = list(resets) if isinstance(resets, tuple) else resets
    return time


def _is_other_calendar(look: _Look) -> bool:
    axis = look.axes.time if look.axes else None
    return bool(look.is_dated and axis and look.ds[axis].dtype == object)


def _calendar(look: _Look) -> dict[str, list[str]]:
    """Return the note on a calendar that lacks days."""
    if not _is_other_calendar(look):
        return {}
    text = "days that the calendar of the file lacks become missing; delete `calendar` to refuse it"
    return {"time": [f"{DECIDE}{text}."]}


def _settings(
    look: _Look, key: str, field: Field, adding: Adding, variable: Variable
) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of a variable and what to note above it."""
    da, notes = look.ds[look.probe.opened_name(key)], list(adding.notes)
    stated = stated_units(da)
    settings: dict[str, Any] = {"name": field.name}
    if stated.strip("- "):
        settings["units"] = stated
    else:
        notes += guess_units(settings, key, variable, sample_of(da))
    if adding.cell_method:
        settings["cell_method"] = adding.cell_method
    return settings, notes


def _classes(
    look: _Look, names: Mapping[str, str], name: str, entry: dict[str, Any], notes: list[str]
) -> list[Draft]:
    """Return the draft of a map of classes: the codes in it, each a class of its own."""
    field, key = next(iter(names.items()))
    da = look.ds[look.probe.opened_name(key)]
    try:
        values = sample_of(da)
    except InputError as error:
        return [Draft(name, {**entry, "variables": {key: {"name": field}}},
                      {ENTRY: [*notes, f"{DECIDE}{error}"]})]  # fmt: skip
    codes = [int(code) for code in np.unique(values[np.isfinite(values)]) if code == int(code)]
    said = [f"{FOUND}each code is a class; name them, such as `{{forest: [{codes[0]}]}}`, or merge"
            " some."] if 0 < len(codes) <= MOST_CLASSES else []  # fmt: skip
    if not said:
        said = [f"{DECIDE}{listed(codes)} numbers, which are hardly classes: list their codes, or"
                " remove `kind` and `classes` and write `units`."]  # fmt: skip
    kept = {"kind": "categorical", "classes": codes[:MOST_CLASSES]}
    return [Draft(name, {**entry, **kept, "variables": {key: {"name": field}}},
                  {ENTRY: notes, "classes": said})]  # fmt: skip
