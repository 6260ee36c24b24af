"""Interactive maps of the report: published GeoTIFFs packed into HTML with their script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from pipeline.maps.mosaic import SPREAD
from pipeline.publish.webmap import page_product
from workflows.products.map_layers import Layer
from workflows.products.page import render, template

PAGE_CELLS = 4_000_000
"""Maximum number of cells of all maps and bands in the page: 8 MB before, 11 MB after encoding."""

FILES = ("viewer.css", "viewer.js")
"""Style and script of the viewer, which the policy of its page must allow."""


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
    data = htmlsafe_json_dumps(products, separators=(",", ":"), allow_nan=False)
    css, script = (Markup(template(name)) for name in FILES)
    return Markup(render("viewer.html.j2", css=css, script=script, data=data))
