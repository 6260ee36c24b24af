"""catalog_path(): a catalog file by its path, or by its name among those of the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pipeline.core.errors import bad_input, nearest_name


def catalog_path(name: str | Path) -> Path:
    """The catalog file `name`: as given, or from the packaged `catalogs/`.

    `InputError` with the nearest name where there is none.

    >>> catalog_path("grids.yml").name
    'grids.yml'
    """
    given = Path(name)
    if given.is_file():
        return given
    packaged = Path(str(resources.files("catalogs")))
    if (packaged / name).is_file():
        return packaged / name
    # Of a name such as legends/x.yml, those of that folder.
    beside = (packaged / name).parent
    names = sorted(str(item.relative_to(packaged)) for item in beside.glob("*.yml"))
    raise bad_input(
        str(name), "no such file", f"a catalog, or one of {', '.join(names)}",
        nearest_name(str(name), names),
    )  # fmt: skip
