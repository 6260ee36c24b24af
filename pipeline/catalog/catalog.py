"""Catalogs of data sets: YAML files read as typed entries, with all faults reported together.

No data are opened here: `pipeline.sources` opens the files of an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.catalog.merged import with_parts
from pipeline.catalog.numbered import numbered
from pipeline.catalog.product import Product, describes_product, inherited
from pipeline.catalog.variables import (
    SECTION,
    add_variables,
    check_definitions,
    own_variables,
    packaged_file,
    variables_of,
    with_definitions,
)
from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.core.packaged import catalog_path
from pipeline.core.settings import check_texts, expanded, read_entries, validated
from pipeline.entries.source import Source, Variable
from pipeline.readers.registry import check_entry


@dataclass(frozen=True)
class Catalog:
    """Sources by name.

    >>> catalog = read_catalog("quickstart.yml", data="data/registry")
    >>> catalog["elevation"].driver
    'netcdf'
    >>> [source.name for source in catalog.select("precipitation", "elevation")]
    ['precipitation', 'elevation']
    """

    sources: Mapping[str, Source]
    products: Mapping[str, Product] = field(default_factory=dict)
    """Descriptions of products by the name of their catalog file without its suffix."""

    def __getitem__(self, name: str) -> Source:
        """Return the source of that name; `InputError` with the nearest name if it is unknown."""
        if name not in self.sources:
            known = ", ".join(sorted(self.sources))
            hint = nearest_name(name, self.sources)
            raise bad_input("catalog", f'no source "{name}"', f"one of {known}", hint)
        return self.sources[name]

    def select(self, *names: str) -> tuple[Source, ...]:
        """Return the sources of those names; raises one `InputError` with all unknown names."""
        faults = Faults()
        for name in names:
            with faults.collecting():
                self[name]
        faults.raise_if_any()
        return tuple(self.sources[name] for name in names)


def _root_lookup(roots: Mapping[str, str | Path]) -> Callable[[str], str]:
    """Return a function that looks up `${name}` of a catalog in `roots` and installed packages."""

    def lookup(name: str) -> str:
        if name == "pyogrio":
            return str(resources.files("pyogrio"))
        if name not in roots:
            known = sorted([*roots, "pyogrio"])
            raise LookupError(f"one of the roots {', '.join(known)}", nearest_name(name, known))
        return str(roots[name])

    return lookup


def read_catalog(
    paths: str | Path | Sequence[str | Path],
    roots: Mapping[str, str | Path] | None = None,
    *,
    data: str | Path | None = None,
    variables: Mapping[str, Variable] | None = None,
) -> Catalog:
    """Return all sources of one or more catalog files: paths, or names of packaged catalogs.

    `${data}` in an entry stands for `data`, and `${NAME}` for `roots["NAME"]`.
    `${pyogrio}` is the folder of the installed pyogrio, whose country outlines serve as regions.
    A range, as in `embedding_[00-63]: {name: "band_[1-64]"}`, stands for one variable per number.
    An entry `both: {merge: [west, east]}` is made of other entries of the files.
    Entries may use the canonical variables of `variables.yml`, further `variables`, and those under
    `variables:` in a catalog or in `variables.yml` beside it, which their entries then carry.
    Raises one `InputError` with the faults of all entries.

    >>> catalog = read_catalog("quickstart.yml", data="data/registry")
    >>> sorted(catalog.sources)[:3]
    ['air_temperature', 'c4_fraction', 'continents']
    """
    faults = Faults()
    sources: dict[str, Source] = {}
    names: dict[str, str] = {}
    merged: dict[str, tuple[str, dict[str, Any]]] = {}
    products: dict[str, Product] = {}
    roots = {**(roots or {}), **({} if data is None else {"data": data})}
    named = [paths] if isinstance(paths, str | Path) else paths
    files = [(path, read_entries(path, "sources")) for path in map(catalog_path, named)]
    packaged, own = read_variables(), dict(variables or {})
    for path, entries in files:
        check_texts(entries, path.name, faults)
        section = entries.pop(SECTION, {})
        add_variables(own, own_variables(section, path, faults), path.name, faults)
    for path, entries in files:
        for name, entry in entries.items():
            if describes_product(name, entry):
                with faults.collecting():
                    products[path.stem] = validated(Product, entry, f"{path.name}: {name}")
                continue
            where = f'{path.name}: source "{name}"'
            if name in names:
                faults.add(where, "a second source of this name", "unique names")
            names[name] = where
            entry = {**inherited(entries), **entry}
            settings = expanded(entry, _root_lookup(roots), where, faults)
            if isinstance(settings.get("variables"), dict):
                numbered_names = numbered(settings["variables"], where, faults)
                settings["variables"] = with_definitions(numbered_names, own)
            if "merge" in settings:
                merged[name] = (where, settings)
                continue
            with faults.collecting():
                sources[name] = validated(Source, {"name": name, **settings}, where)
                check_entry(sources[name], where, faults)
                check_definitions(sources[name], packaged, where, faults)
    sources = with_parts(merged, sources, names, faults)
    faults.raise_if_any()
    return Catalog(sources, products)


def read_variables(path: Path | None = None) -> dict[str, Variable]:
    """Return canonical variables by name, by default those of the packaged `variables.yml`."""
    return dict(_variables_in(packaged_file()) if path is None else _read(path))


@lru_cache(maxsize=4)
def _variables_in(packaged: Path) -> dict[str, Variable]:
    return _read(packaged)


def _read(path: Path) -> dict[str, Variable]:
    faults = Faults()
    variables = variables_of(read_entries(path, "variables"), path.name, faults)
    faults.raise_if_any()
    return variables
