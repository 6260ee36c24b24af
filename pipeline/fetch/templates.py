"""Templates of addresses and paths, and the values of their keys for an order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from itertools import product
from typing import Any

from pipeline.catalog.downloads import BOUNDS_KEYS, TILE_KEYS, Tiles, template_keys
from pipeline.fetch.order import Bounds, Order, Period

Values = dict[str, Any]


def moments(keys: set[str], period: Period | None) -> list[Values]:
    """Return year, month, day, hour and day of the year for each step of `keys` in a period.

    The step is the finest of the keys; without any of them, there is one step without values.
    """
    hourly, daily = "hour" in keys, bool({"day", "doy"} & keys)
    if period is None or not (hourly or daily or {"month", "year"} & keys):
        return [{}]
    begin, end = (datetime.combine(day, datetime.min.time()) for day in period)
    step, count = timedelta(hours=1 if hourly else 24), (period[1] - period[0]).days + 1
    every = [begin + i * step for i in range(count * (24 if hourly else 1))]
    assert every[-1].date() == end.date()
    names = ["year"] if not (hourly or daily or "month" in keys) else ["year", "month"]
    if hourly or daily:
        return [_named(moment) for moment in every]
    kept = {tuple(_named(moment)[name] for name in names): None for moment in every}
    return [dict(zip(names, values, strict=True)) for values in kept]


def _named(moment: datetime) -> Values:
    return {
        "year": moment.year, "month": moment.month, "day": moment.day, "hour": moment.hour,
        "doy": moment.timetuple().tm_yday,
    }  # fmt: skip


def day_values(day: date) -> Values:
    """Return the values of the keys of time at the begin of a day."""
    return _named(datetime.combine(day, datetime.min.time()))


def tile_values(tiles: Tiles, bounds: Bounds) -> list[Values]:
    """Return the values that name the tiles which meet the bounds, from southwest to northeast.

    `lat` and `lon` are whole degrees without sign; `ns` and `ew` are n or s and e or w, `NS` and
    `EW` the same in upper case; `left`, `bottom`, `right` and `top` have their signs.
    """
    (width, height), (x, y) = tiles.size, tiles.origin
    west, south, east, north = bounds
    rows = range(math.floor((south - y) / height), math.ceil((north - y) / height))
    columns = range(math.floor((west - x) / width), math.ceil((east - x) / width))
    named = []
    for row, column in product(rows, columns):
        bottom, left = round(y + row * height), round(x + column * width)
        top, right = round(y + (row + 1) * height), round(x + (column + 1) * width)
        lat, lon = top if tiles.corner == "northwest" else bottom, left
        ns, ew = "s" if lat < 0 else "n", "w" if lon < 0 else "e"
        named.append({"lat": abs(lat), "lon": abs(lon), "ns": ns, "ew": ew, "NS": ns.upper(),
                      "EW": ew.upper(), "left": left, "bottom": bottom, "right": right,
                      "top": top})  # fmt: skip
    return named


def all_values(
    order: Order,
    keys: set[str],
    each: Mapping[str, tuple[str | int, ...]],
    tiles: Tiles | None,
) -> Iterator[Values]:
    """Yield the values of the keys of an order's templates, one for each file."""
    bounds = order.bounds or order.product.bounds
    names = order.variables or tuple(order.download.variables)
    variables = list(dict.fromkeys(order.download.variables.get(name, name) for name in names))
    axes: list[list[Values]] = [moments(keys, order.period)]
    if "variable" in keys:
        axes.append([{"variable": name} for name in variables])
    if tiles and keys & set(TILE_KEYS):
        axes.append(tile_values(tiles, bounds))
    axes += [[{key: value} for value in values] for key, values in each.items() if key in keys]
    fixed = dict(zip(BOUNDS_KEYS, bounds, strict=True))
    for parts in product(*axes):
        yield {**fixed, **{key: value for part in parts for key, value in part.items()}}


def keys_of(*templates: str) -> set[str]:
    """Return the keys of all templates."""
    return set().union(*map(template_keys, templates))
