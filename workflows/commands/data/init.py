"""A config and a catalog for a folder of files: `stefaland init`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.core.files import write_text
from pipeline.drafts.draft import draft_sources
from pipeline.drafts.text import Draft
from pipeline.grid.around import checked_crs, grid_around
from pipeline.grid.target_grid import TargetGrid
from workflows.commands.data.draft import add_drafts
from workflows.commands.data.found_sources import Degrees, Found, Offer, look_at
from workflows.commands.data.new_config import Plan, config_text
from workflows.console import OUTPUT

CATALOG = "catalog.yml"
Ask = Callable[[str, str | None], str]
"""A question and its default → the answer."""


@dataclass(frozen=True)
class Wishes:
    """What a person said on the command line; None where nothing."""

    target: tuple[str, ...] = ()
    grid: str | None = None
    like: Path | None = None
    crs: str | None = None
    bounds: Degrees | None = None
    resolution: float | None = None
    period: tuple[str, str] | None = None


def start(
    name: str, folder: Path, data: Path | None, wishes: Wishes, ask: Ask | None
) -> dict[str, Any]:
    """Write `catalog.yml`, unless it is there, and NAME.yml; returns them and what to decide.

    What the wishes leave open is asked, or follows from the files where nobody can be asked. Raises
    `InputError` for files that cannot be read, a config that exists, and wishes that do not fit.
    """
    config, catalog = folder / f"{name}.yml", folder / CATALOG
    if config.exists():
        raise bad_input(str(config), "a config that is there already", "a new name",
                        "Remove it, or choose another name: `stefaland init NAME`.")  # fmt: skip
    if data is None:
        data = Path(_asked(ask, "Folder of the data", None, "--data", "the folder of the data"))
    if not data.is_dir():
        raise bad_input("--data", f"{data}, which is no folder", "the folder of the data")
    data = data.expanduser().absolute()
    drafts: list[Draft] = []
    left_out: list[str] = []
    faults = Faults()
    if catalog.exists():
        found = look_at(read_catalog(catalog, data=data).sources.values(), faults)
        if wishes.period:
            raise bad_input("--period", f"a period beside {catalog}, which is there already",
                            "`time: {period: […]}` of its entries", "Write it there.")  # fmt: skip
    else:
        drafts, left_out = _drafted(data)
        found = [Found(one.source, one.info) for one in drafts if one.source is not None]
    plan = _plan(name, str(data), Offer.of(found), wishes, ask)
    if drafts:
        first, last = map(date.fromisoformat, plan.period)
        drafts = [draft.within((first, last)) for draft in drafts]
        add_drafts(drafts, catalog, data)
    write_text(config, config_text(plan))
    decide = [text for draft in drafts for text in draft.to_decide]
    decide += [str(fault) for fault in faults.faults]
    return {"config": str(config), "catalog": str(catalog), "left_out": left_out, "decide": decide}


def _drafted(data: Path) -> tuple[list[Draft], list[str]]:
    """Return drafts of all files, and the names of those in which no variable is known."""
    drafts = draft_sources([data], data=data)
    kept = [one for one in drafts if one.entry.get("variables") or one.entry["driver"] == "vector"]
    left = [str(one.entry["uri"]) for one in drafts if one not in kept]
    if not kept:
        raise bad_input(
            str(data),
            f"no file with a known variable in {len(drafts)} sources",
            "forcings, maps and stations",
            "Draft each with `stefaland catalog add FILE` to see what is missing.",
        )
    return kept, left


def _plan(name: str, data: str, offer: Offer, wishes: Wishes, ask: Ask | None) -> Plan:
    if not offer.variables(series=True):
        raise bad_input("the catalog", "no gridded forcings", "a grid that changes in time",
                        "A run of stations alone has `cubes: {stations: {locations: NAME}}`, as"
                        " the packaged config uscrn.")  # fmt: skip
    target = wishes.target or _target(offer, ask)
    known = offer.targets()
    faults = Faults()
    for one in target:
        if one not in known:
            faults.add(
                "--target", f'"{one}"', f"one of {', '.join(known)}", nearest_name(one, known)
            )
    faults.raise_if_any()
    plan = Plan(
        name=name, data=data, catalog=CATALOG, target=target, grid="", offer=offer,
        period=("", ""), variable=read_variables()[target[0]],
    )  # fmt: skip
    plan = replace(plan, grid=_grid(offer, wishes, ask), period=_period(plan, wishes, ask))
    if not offer.variables(series=True, besides=target):
        raise bad_input("--target", f"{', '.join(target)}, the only series", "forcings beside it")
    return plan


def _target(offer: Offer, ask: Ask | None) -> tuple[str, ...]:
    """Return the variable to predict: that of the sites where they have one."""
    known = offer.targets()
    of_sites = list(dict.fromkeys(v for f in offer.sites for v in f.source.variables))
    usual = of_sites[0] if len(of_sites) == 1 else None
    if usual is not None and ask is None:
        return (usual,)
    question = f"Variable to predict ({', '.join(known)})"
    answer = _asked(ask, question, usual, "--target", f"one of {', '.join(known)}")
    return tuple(part.strip() for part in answer.split(","))


def _grid(offer: Offer, wishes: Wishes, ask: Ask | None) -> TargetGrid | str:
    """Return the grid of the map: by name, that of a file, or the region that all grids cover."""
    if wishes.grid is not None:
        return wishes.grid
    if wishes.like is not None:
        return TargetGrid.like(wishes.like, "map")
    crs = wishes.crs or _asked(ask, "CRS of the map", "EPSG:4326", "--crs", "a CRS")
    checked_crs(crs, "--crs")
    bounds = wishes.bounds or offer.region()
    if wishes.bounds is None and ask is not None:
        shown = " ".join(f"{edge:.6g}" for edge in bounds) if bounds else None
        answer = ask("Region: west, south, east and north in degrees", shown)
        bounds = _numbers(answer, 4, "--bounds")  # type: ignore[assignment]
    if bounds is None:
        raise bad_input(
            "--bounds",
            "grids that share no region, or unknown ones",
            "west, south, east and north in degrees",
            "As in `--bounds 10 46 12 48`.",
        )
    usual = offer.cell(crs)
    resolution = wishes.resolution
    if resolution is None:
        text = None if usual is None else f"{usual:g}"
        answer = _asked(ask, f"Cell size in units of {crs}", text, "--resolution", "a cell size")
        (resolution,) = _numbers(answer, 1, "--resolution")
    return grid_around("map", crs, bounds, resolution)


def _period(plan: Plan, wishes: Wishes, ask: Ask | None) -> tuple[str, str]:
    """Return the first and last day: the wished ones, or those that all series have."""
    if all(f.source.time.kind == "months" for f in plan.offer.grids if f.is_series):
        raise bad_input("the catalog", "forcings of 12 months without years", "series in time",
                        "For means of months begin with `extends: quickstart.yml`.")  # fmt: skip
    usual = plan.offer.period(plan.site)
    if wishes.period is not None:
        period = wishes.period
    elif ask is not None:
        answer = ask("First and last day", " ".join(usual) if usual else None).split()
        if len(answer) != 2:
            raise bad_input("the period", " ".join(answer), "two dates such as 2001-01-01")
        period = (answer[0], answer[1])
    elif usual is not None:
        period = usual
    else:
        raise bad_input(
            "--period",
            "series that share no days, or unknown ones",
            "the first and last day",
            "As in `--period 2001-01-01 2010-12-31`.",
        )
    for day in period:
        try:
            date.fromisoformat(day)
        except ValueError:
            raise bad_input("--period", f'"{day}"', "a date such as 2001-01-01") from None
    return period


def _numbers(text: str, count: int, option: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        found = ()
    if len(found) != count:
        raise bad_input(option, f'"{text}"', "a number" if count == 1 else f"{count} numbers")
    return found


def _asked(ask: Ask | None, question: str, default: str | None, option: str, what: str) -> str:
    """Return the answer to a question, or the default where nobody can be asked."""
    if ask is not None:
        return ask(question, default)
    if default is None:
        raise bad_input(option, "nothing, and no terminal to ask at", what, f"Add `{option} …`.")
    return default


def print_started(document: dict[str, Any]) -> None:
    """Print the result of `start`: the files, what to decide, and the next command."""
    OUTPUT.plain(f"{document['catalog']}: the sources")
    OUTPUT.plain(f"{document['config']}: the run")
    for uri in document["left_out"]:
        OUTPUT.plain(
            f"left out {uri}: no variable in it is known; `stefaland catalog add` drafts it"
        )
    for text in document["decide"]:
        OUTPUT.plain(f"decide {text}")
    OUTPUT.plain(f"next: stefaland check {document['config']}")
