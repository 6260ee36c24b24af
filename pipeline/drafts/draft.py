"""draft_sources(): catalog entries for files, as far as the files say what they are.

Each draft is compared with its files as `stefaland catalog check` does; what disagrees is noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Fault, Faults, InputError
from pipeline.core.packaged import packaged_products
from pipeline.core.settings import validated
from pipeline.drafts.grids import draft_grids
from pipeline.drafts.listing import list_grid
from pipeline.drafts.look import Group, found_files, name_key, require_one
from pipeline.drafts.tables import draft_table
from pipeline.drafts.text import DECIDE, ENTRY, Draft
from pipeline.entries.source import Source
from pipeline.entries.variable import Variable
from pipeline.readers.registry import check_entry
from pipeline.sources.open import check_source


def draft_sources(
    addresses: Iterable[str | Path],
    *,
    name: str | None = None,
    data: Path | None = None,
    variables: Mapping[str, Variable] | None = None,
) -> list[Draft]:
    """Return a draft for each source in files: paths, folders or globs.

    Files of one driver with the same variables on the same grid are one source. Addresses below the
    folder `data` begin with `${data}`. Raises `InputError` for files that cannot be read, and for a
    `name` of several sources.
    """
    known = dict(read_variables() if variables is None else variables)
    groups = _groups(addresses)
    if name is not None:
        require_one(groups, name)
    drafts: list[Draft] = []
    for group in groups:
        for draft in _of_group(group, name, known):
            unique = _unique(draft.name, {one.name for one in drafts})
            drafts.append(replace(draft, name=unique))
    return [_below(_checked(_of_product(draft), known), data) for draft in drafts]


def _groups(addresses: Iterable[str | Path]) -> list[Group]:
    """Return the files that are one source each, in the order of their names."""
    found: dict[tuple[Any, ...], list[Path]] = {}
    faults = Faults()
    for driver, path in found_files(addresses):
        key: tuple[Any, ...] = (driver, path.parent, name_key(path))
        if driver in ("netcdf", "zarr", "grib"):
            with faults.collecting():
                listing = list_grid(driver, path, path.stem)
                names = tuple(sorted(field.name for field in listing.fields))
                axes = listing.axes
                sizes = listing.sizes or {}
                plane = (axes.y, axes.x) if axes else ()
                key = (driver, path.parent, names, tuple(sizes.get(dim) for dim in plane))
        found.setdefault(key, []).append(path)
    faults.raise_if_any()
    return [Group(key[0], tuple(sorted(paths))) for key, paths in found.items()]


def _of_group(group: Group, name: str | None, variables: Mapping[str, Variable]) -> list[Draft]:
    """Return the drafts of files; of those that do not join, one for each kind of name.

    Where these do not join either, a person must decide how the files belong together.
    """
    try:
        return _drafts(group, name or group.stem, variables)
    except InputError as error:
        if len(group.paths) == 1:
            raise
        kinds: dict[str, list[Path]] = {}
        for path in group.paths:
            kinds.setdefault(name_key(path), []).append(path)
        if len(kinds) > 1:
            parts = [Group(group.driver, tuple(paths)) for paths in kinds.values()]
            return [draft for part in parts for draft in _of_group(part, name, variables)]
        notes = [f"{DECIDE}{_text(fault)}" for fault in error.faults]
        entry: dict[str, Any] = {"uri": group.uri, "driver": group.driver, "variables": {}}
        return [Draft(name or group.stem, entry, {ENTRY: notes})]


def _drafts(group: Group, name: str, variables: Mapping[str, Variable]) -> list[Draft]:
    if group.driver == "table":
        return [draft_table(group, name, variables)]
    if group.driver == "vector":
        return [Draft(name, {"uri": group.uri, "driver": "vector"})]
    return draft_grids(group, name, variables)


def _of_product(draft: Draft) -> Draft:
    """Return the draft with a note on the product whose name its files seem to have."""
    text = str(draft.entry["uri"]).rpartition("/")[2].lower()
    name = next((one for one in reversed(packaged_products()) if text.startswith(one)), None)
    if name is None:
        return draft
    return draft.with_note(ENTRY, f"found: `stefaland catalog show {name}` has the traps of the"
                           " product of this name.")  # fmt: skip


def _unique(name: str, used: set[str]) -> str:
    number, unique = 2, name
    while unique in used:
        unique, number = f"{name}_{number}", number + 1
    return unique


def _checked(draft: Draft, variables: Mapping[str, Variable]) -> Draft:
    """Return the draft with a note for each fault that `catalog check` finds."""
    faults = Faults()
    with faults.collecting():
        source = validated(Source, {"name": draft.name, **draft.entry}, "")
        check_entry(source, "", faults)
        if not faults.faults:
            draft = replace(draft, source=source, info=check_source(source, faults, variables))
    for fault in faults.faults:
        draft = draft.with_note(_key(fault, draft), f"{DECIDE}{_text(fault)}")
    return draft


def _text(fault: Fault) -> str:
    found = fault.found if fault.found != "none" else "nothing"
    text = f"found {found}; expected {fault.expected}."
    return f"{text} {fault.hint}".strip()


def _key(fault: Fault, draft: Draft) -> str:
    """Return the key of the entry that a fault concerns, as far as its place says."""
    words = re.findall(r"\w+", fault.where.rpartition(":")[2])
    variables = draft.entry.get("variables", {})
    by_field = {settings.get("name"): key for key, settings in variables.items()}
    for word in reversed(words):
        key = word if word in variables else by_field.get(word)
        if key is not None:
            return f"variables.{key}"
    return next((word for word in words if word in draft.entry), ENTRY)


def _below(draft: Draft, data: Path | None) -> Draft:
    """Return the draft with addresses relative to the data folder, where they lie below it."""

    def relative(uri: str) -> str:
        path = Path(uri).expanduser().absolute()
        if data is not None and path.is_relative_to(data.expanduser().absolute()):
            return f"${{data}}/{path.relative_to(data.expanduser().absolute()).as_posix()}"
        return str(path)

    uri = draft.entry["uri"]
    uris = relative(uri) if isinstance(uri, str) else [relative(one) for one in uri]
    return replace(draft, entry={**draft.entry, "uri": uris})
