"""Products of the packaged catalog: `stefaland catalog search rain`, `catalog show era5_land`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.catalog.product import Product
from pipeline.catalog.search import Match, search_products, similar_words
from pipeline.core.errors import bad_input
from pipeline.core.packaged import catalog_path
from workflows.console import OUTPUT, REPORT


def found_products(text: str) -> list[dict[str, Any]]:
    """The products that a text describes, the best match first, as plain values.

    docs/json.md describes every key.
    """
    return [_document(match) for match in search_products(text, read_variables())]


def _document(match: Match) -> dict[str, Any]:
    product = match.product
    return {
        "name": match.name,
        "title": product.title,
        "variables": match.variables,
        "resolution": product.resolution,
        "period": _period(product),
        "licence": product.licence,
        "sources": [source.name for source in match.sources],
    }


def _period(product: Product) -> list[str | None] | None:
    if product.period is None:
        return None
    first, last = product.period
    return [first.isoformat(), last.isoformat() if last else None]


def print_products(products: Sequence[dict[str, Any]], text: str = "") -> None:
    """Print the result of `found_products` for a text, one row for each product."""
    if not products:
        hint = similar_words(text, read_variables())
        REPORT.plain(
            " ".join(["no product matches; other words, or none, may help.", hint]).strip()
        )
        return
    table = Table("name", "title", "variables", "resolution", "period", "licence")
    for product in products:
        first, last = product["period"] or ("static", "static")
        table.add_row(
            product["name"],
            product["title"],
            ", ".join(product["variables"]),
            product["resolution"],
            first if first == last else f"{first} to {last or 'now'}",
            product["licence"],
        )
    OUTPUT.print(table)


def product_document(catalog: str, data: Path) -> dict[str, Any]:
    """The description of the product of a catalog, and the names of its sources.

    Raises `InputError` for a catalog without such a description.
    """
    found = read_catalog(catalog, data=data)
    name = catalog_path(catalog).stem
    if name not in found.products:
        sources = ", ".join(sorted(found.sources))
        raise bad_input(catalog, "no name of a source", f"one of {sources}")
    product = found.products[name].model_dump(mode="json", exclude_unset=True)
    return {"name": name, "product": product, "sources": list(found.sources)}


def print_product(document: dict[str, Any]) -> None:
    """Print the result of `product_document` as YAML."""
    OUTPUT.print(yaml.safe_dump(document["product"], sort_keys=False, allow_unicode=True),
                 markup=False)  # fmt: skip
    OUTPUT.plain(f"sources: {', '.join(document['sources'])}")
