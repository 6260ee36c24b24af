"""Interactive maps of the report: published GeoTIFFs packed into HTML with their script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pipeline.maps.mosaic import SPREAD
from pipeline.publish.webmap import page_product
from workflows.products.map_layers import Layer

PAGE_CELLS = 4_000_000
"""Maximum number of cells of all maps and bands in the page: 8 MB before, 11 MB after encoding."""


def template(name: str) -> str:
    """The text of a file in `templates`."""
    return (resources.files("workflows.products") / "templates" / name).read_text(encoding="utf-8")


def viewer(layers_by_product: Mapping[str, Sequence[Layer]], outlines: Path | None) -> Markup:
    """HTML of the interactive maps of all products, by their suffix, with `outlines` over them."""
    products = []
    for suffix, layers in layers_by_product.items():
        maps = [(layer.path("tif"), layer.legend, layer.title) for layer in layers]
        number = {layer.variable: i for i, layer in enumerate(layers)}
        products.append(
            page_product(
                suffix, maps, PAGE_CELLS // len(layers_by_product),
                spreads={
                    i: number[f"{name}{SPREAD}"]
                    for name, i in number.items() if f"{name}{SPREAD}" in number
                },
                outlines=outlines, outlines_of=layers[0].da,
            )
        )  # fmt: skip
    return viewer_html(products)


def viewer_html(products: list[dict[str, object]]) -> Markup:
    """The viewer's HTML section with data, style and script, for products of `page_product`."""
    data = json.dumps(products, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        template("viewer.html.j2")
    )
    style, script = Markup(template("viewer.css")), Markup(template("viewer.js"))
    return Markup(page.render(css=style, script=script, data=Markup(data)))
