"""What a config finds beside itself: catalogs, grids, legends and canonical variables of its own.

The resolved settings hold the definitions or their full paths, so that a run can be repeated from
any folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.catalog.numbered import numbered
from pipeline.catalog.variables import FILE
from pipeline.core.errors import Faults
from pipeline.core.packaged import packaged_catalogs
from pipeline.core.settings import read_entries, read_mapping

GRIDS = "grids.yml"
PACKAGED = Path(str(resources.files("workflows") / "configs"))
"""Folder of the packaged configs."""


def with_own_files(settings: dict[str, Any], config: Path) -> dict[str, Any]:
    """Return a config's settings with what it names, or has by its usual name, in its own folder.

    Files under `catalogs` and `grids` are found beside the config; `grids.yml` there is used in
    any case, and `variables.yml` there defines variables as `variables` in the config does.
    """
    found = dict(settings)
    for key in ("catalogs", "grids"):
        if isinstance(names := found.get(key), list | tuple):
            found[key] = [_beside(name, config) for name in names]
    if _is_own(config.parent / GRIDS):
        path, named = str(config.parent / GRIDS), found.get("grids")
        if named is None or isinstance(named, list):
            found["grids"] = list(dict.fromkeys([*(named or []), path]))
    faults = Faults()
    variables = found.get("variables") or {}
    if _is_own(config.parent / FILE):
        variables = {**read_entries(config.parent / FILE, "variables"), **variables}
    if isinstance(variables, Mapping) and variables:
        found["variables"] = numbered(variables, f"{config.name}: variables", faults)
    faults.raise_if_any()
    return found


def with_own_legends(settings: dict[str, Any], folders: list[Path]) -> dict[str, Any]:
    """Return the settings with the legends that they name from `legends/` in any of the folders."""
    publish = settings.get("publish")
    if not isinstance(publish, Mapping) or not isinstance(publish.get("legends") or {}, Mapping):
        return settings
    listed = publish.get("products")
    products = [p for p in listed if isinstance(p, Mapping)] if isinstance(listed, list) else []
    names = [publish.get("legend"), publish.get("spread_legend")]
    of_target = publish.get("of_target")
    for own in of_target.values() if isinstance(of_target, Mapping) else ():
        if isinstance(own, Mapping):
            names += [own.get("legend"), own.get("spread_legend")]
    names += [f"{name}_anomaly" for name in names]
    names += [product.get("legend") for product in products]
    own = {
        str(name): read_mapping(path)
        for folder in folders
        for name in names
        if (path := folder / "legends" / f"{name}.yml").is_file() and _is_own(path)
    }
    legends = {**own, **(publish.get("legends") or {})}
    return {**settings, "publish": {**publish, "legends": legends}} if legends else settings


def inline_grids(settings: Any) -> Any:
    """Return a config's settings with all grids that are written out in it under `own_grids`.

    These are a mapping as `grids`, and a mapping as `grid` of a cube, which gets the cube's name.
    """
    if not isinstance(settings, Mapping) or not isinstance(
        settings.get("own_grids") or {}, Mapping
    ):
        return settings
    found, own = dict(settings), dict(settings.get("own_grids") or {})
    if isinstance(found.get("grids"), Mapping):
        own |= found.pop("grids")
    if isinstance(cubes := found.get("cubes"), Mapping):
        written = {
            name: cube["grid"]
            for name, cube in cubes.items()
            if isinstance(cube, Mapping) and isinstance(cube.get("grid"), Mapping)
        }
        found["cubes"] = {
            name: {**cube, "grid": name} if name in written else cube
            for name, cube in cubes.items()
        }
        own |= written
    return {**found, "own_grids": own} if own else found


def _beside(name: Any, config: Path) -> Any:
    """Return the path of a file beside the config; the name itself if there is none.

    The packaged configs have the names of the packaged catalogs that they read.
    """
    path = config.parent / str(name)
    if Path(str(name)).is_file() or not path.is_file() or path.samefile(config):
        return name
    return name if config.parent.resolve() == PACKAGED.resolve() else str(path)


def _is_own(path: Path) -> bool:
    """Whether a file exists and is not the packaged one of its name."""
    return path.is_file() and packaged_catalogs().resolve() not in path.resolve().parents
