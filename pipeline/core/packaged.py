"""catalog_path(): the path of a catalog file, which may be one that the package ships."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pipeline.core.errors import bad_input, nearest_name

PRODUCTS = "sources"
"""Folder of the packaged catalogs of products."""


def packaged_catalogs() -> Path:
    """Return the folder of the packaged catalogs."""
    return Path(str(resources.files("catalogs")))


def packaged_products() -> list[str]:
    """Return the names of the packaged products, such as `era5_land`, in alphabetical order."""
    return sorted(path.stem for path in (packaged_catalogs() / PRODUCTS).glob("*.yml"))


def catalog_path(name: str | Path) -> Path:
    """Return the path of the catalog file `name`: a path, or a name in the packaged `catalogs/`.

    The name of a product, such as `era5_land`, stands for its file in `catalogs/sources/`. Raises
    `InputError` with the nearest name if there is no such file.

    >>> catalog_path("grids.yml").name
    'grids.yml'
    """
    packaged = packaged_catalogs()
    for path in (Path(name), packaged / name, packaged / PRODUCTS / f"{name}.yml"):
        if path.is_file():
            return path
    # For a name in a subfolder, such as legends/x.yml, the names in that subfolder are listed.
    beside = (packaged / name).parent
    names = sorted(str(item.relative_to(packaged)) for item in beside.glob("*.yml"))
    names += packaged_products()
    raise bad_input(
        str(name), "no such file", f"a catalog, or one of {', '.join(names)}",
        nearest_name(str(name), names),
    )  # fmt: skip
