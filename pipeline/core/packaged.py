"""catalog_path(): the path of a catalog file, which may be one that the package ships."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pipeline.core.errors import bad_input, nearest_name


def catalog_path(name: str | Path) -> Path:
    """Return the path of the catalog file `name`: a path, or a name in the packaged `catalogs/`.

    Raises `InputError` with the nearest name if there is no such file.

    >>> catalog_path("grids.yml").name
    'grids.yml'
    """
    path = Path(name)
    if path.is_file():
        return path
    packaged = Path(str(resources.files("catalogs")))
    if (packaged / name).is_file():
        return packaged / name
    # For a name in a subfolder, such as legends/x.yml, the names in that subfolder are listed.
    beside = (packaged / name).parent
    names = sorted(str(item.relative_to(packaged)) for item in beside.glob("*.yml"))
    raise bad_input(
        str(name), "no such file", f"a catalog, or one of {', '.join(names)}",
        nearest_name(str(name), names),
    )  # fmt: skip
