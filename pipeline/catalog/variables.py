"""Canonical variables: the packaged ones, and those that a catalog or config defines itself.

Own variables are under `variables:` in a catalog or config, or in `variables.yml` beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.catalog.numbered import numbered
from pipeline.core.errors import Faults, nearest_name
from pipeline.core.settings import read_entries, validated
from pipeline.core.units import same_units
from pipeline.core.written.names import checked_name
from pipeline.entries.source import Source, Variable

FILE = "variables.yml"
SECTION = "variables"
"""Key of a catalog or config under which variables are defined."""


def packaged_file() -> Path:
    """Return the path of the packaged `variables.yml`."""
    return Path(str(resources.files("catalogs") / FILE))


def variables_of(entries: Mapping[str, Any], where: str, faults: Faults) -> dict[str, Variable]:
    """Return the variables that entries define, by name; adds all faults.

    A range, as in `embedding_[00-63]`, stands for one variable per number.
    """
    variables: dict[str, Variable] = {}
    for name, entry in numbered(entries, where, faults).items():
        with faults.collecting():
            checked_name(f"{where}: variables", name, "It is the name of an array of cubes.")
        with faults.collecting():
            variables[name] = validated(Variable, entry, f'{where}: variable "{name}"')
    return variables


def own_variables(section: Mapping[str, Any], file: Path, faults: Faults) -> dict[str, Variable]:
    """Return the variables defined in the `section` of a file, and in `variables.yml` beside it."""
    beside = file.parent / FILE
    own: dict[str, Variable] = {}
    if beside.is_file() and beside.resolve() != packaged_file().resolve() != file.resolve():
        own |= variables_of(read_entries(beside, "variables"), beside.name, faults)
    inline = variables_of(section, file.name, faults)
    add_variables(own, inline, file.name, faults)
    return own


def add_variables(
    known: dict[str, Variable], more: Mapping[str, Variable], where: str, faults: Faults
) -> None:
    """Add `more` variables to `known`; adds a fault for each that differs from one in there."""
    for name, variable in more.items():
        if known.setdefault(name, variable) != variable:
            faults.add(f'{where}: variable "{name}"', "another definition of this variable",
                       "one definition of each name")  # fmt: skip


def with_definitions(settings: Any, own: Mapping[str, Variable]) -> Any:
    """Return the variables of an entry with the definitions of those that are own ones."""
    if not isinstance(settings, Mapping):
        return settings
    return {
        name: {"define": own[name], **entry}
        if name in own and isinstance(entry, Mapping)
        else entry
        for name, entry in settings.items()
    }


def check_definitions(
    source: Source, known: Mapping[str, Variable], where: str, faults: Faults
) -> None:
    """Add a fault for each definition of an entry in other units than the variable in `known`.

    Values of one name are in the same units everywhere.
    """
    for name, own in source.own_variables.items():
        if name in known and not _is_same(own.units, known[name].units):
            faults.add(
                f"{where}: {name}", f'a definition in "{own.units}"',
                f'"{known[name].units}", as variables.yml defines this name',
                "Define yours under a name of its own.",
            )  # fmt: skip


def check_names(
    source: Source, known: Mapping[str, Variable], where: str, faults: Faults
) -> None:  # fmt: skip
    """Add a fault for each variable of an entry that is not in `known`."""
    for name in source.variables:
        if name not in known:
            hint = (
                f"{nearest_name(name, known)} To define it, write `variables: {{{name}: "
                "{long_name: ..., units: ...}}` at the top of the catalog."
            )
            faults.add(
                f"{where}: {name}", "no canonical variable of this name",
                "a name from variables.yml, or a variable of your own", hint.strip(),
            )  # fmt: skip


def _is_same(first: str, second: str) -> bool:
    try:
        return same_units(first, second)
    except ValueError:
        return False
