"""search_products(): packaged products that a text describes, the best match first."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.catalog.catalog import read_catalog
from pipeline.catalog.product import Product
from pipeline.core.packaged import packaged_products
from pipeline.entries.source import Source, Variable

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Match:
    """A product that matches a search: its name, description and sources."""

    name: str
    product: Product
    sources: tuple[Source, ...]

    @property
    def variables(self) -> list[str]:
        """Canonical names of the variables of all its sources."""
        return list(dict.fromkeys(name for source in self.sources for name in source.variables))


def search_products(text: str, variables: Mapping[str, Variable]) -> list[Match]:
    """Return the packaged products that match as many words of `text` as any, the best first.

    Words match words that begin with them, without regard to case and accents, in the name (which
    counts most), title, variables, keywords, provider, region and notes (which count least).

    >>> from pipeline.catalog.catalog import read_variables
    >>> [match.name for match in search_products("chirps", read_variables())]
    ['chirps']
    """
    wanted = list(_words(text))
    ranked = []
    for match in _packaged():
        weights = _weights(match, variables)
        best = [max((w for word, w in weights if word.startswith(one)), default=0)
                for one in wanted]  # fmt: skip
        ranked.append((sum(weight > 0 for weight in best), sum(best), match))
    most = max((found for found, _, _ in ranked), default=0)
    chosen = [item for item in ranked if item[0] == most and (most or not wanted)]
    return [match for _, _, match in sorted(chosen, key=lambda item: (-item[1], item[2].name))]


def _packaged() -> Iterator[Match]:
    # The data folder matters only to paths.
    for name in packaged_products():
        catalog = read_catalog(name, data="data")
        yield Match(name, catalog.products[name], tuple(catalog.sources.values()))


def _weights(match: Match, variables: Mapping[str, Variable]) -> list[tuple[str, int]]:
    """Return each word of the description of a product with its weight."""
    product = match.product
    long_names = [variables[name].long_name for name in match.variables if name in variables]
    texts: Sequence[tuple[int, Sequence[str]]] = (
        (8, [match.name]),
        (5, [product.title, *(source.title for source in match.sources)]),
        (4, [*match.variables, *long_names]),
        (3, product.keywords),
        (2, [product.provider, product.region, product.resolution]),
        (1, [product.notes]),
    )
    return [(word, weight) for weight, many in texts for one in many for word in _words(one)]


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text in lower case without accents."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    yield from _WORD.findall(plain.casefold())
