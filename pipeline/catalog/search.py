"""search_products(): packaged products that a text describes, the best match first."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.catalog.catalog import read_catalog
from pipeline.catalog.product import Product
from pipeline.core.errors import nearest_name
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
    counts most), title, variables (with their CF names and units), keywords, provider, region and
    notes (which count least); words of one or two letters match whole words.

    >>> from pipeline.catalog.catalog import read_variables
    >>> [match.name for match in search_products("chirps", read_variables())]
    ['chirps']
    """
    wanted = list(_words(text))
    ranked = []
    for match in _packaged():
        weights = _weights(match, variables)
        best = [max((w for word, w in weights if _fits(one, word)), default=0) for one in wanted]
        ranked.append((sum(weight > 0 for weight in best), sum(best), match))
    most = max((found for found, _, _ in ranked), default=0)
    chosen = [item for item in ranked if item[0] == most and (most or not wanted)]
    return [match for _, _, match in sorted(chosen, key=lambda item: (-item[1], item[2].name))]


def _fits(wanted: str, word: str) -> bool:
    return word.startswith(wanted) if len(wanted) > 2 else word == wanted


def similar_words(text: str, variables: Mapping[str, Variable]) -> str:
    """Return a hint with words of the products that resemble those of a text; empty for none.

    >>> from pipeline.catalog.catalog import read_variables
    >>> similar_words("precipitaton", read_variables())
    'Did you mean "precipitation"?'
    """
    known = {word for match in _packaged() for word, _ in _weights(match, variables)}
    near = [hint for word in _words(text) if (hint := nearest_name(word, known))]
    return " ".join(near)


def _packaged() -> Iterator[Match]:
    # The data folder matters only to paths.
    for name in packaged_products():
        catalog = read_catalog(name, data="data")
        yield Match(name, catalog.products[name], tuple(catalog.sources.values()))


def _weights(match: Match, variables: Mapping[str, Variable]) -> list[tuple[str, int]]:
    """Return each word of the description of a product with its weight."""
    product = match.product
    known = [variables[name] for name in match.variables if name in variables]
    long_names = [variable.long_name for variable in known]
    standard = [text for one in known for text in (one.standard_name, one.units) if text]
    texts: Sequence[tuple[int, Sequence[str]]] = (
        (8, [match.name]),
        (5, [product.title, *(source.title for source in match.sources)]),
        (4, [*match.variables, *long_names]),
        (3, [*product.keywords, *standard]),
        (2, [product.provider, product.region, product.resolution]),
        (1, [product.notes]),
    )
    return [(word, weight) for weight, many in texts for one in many for word in _words(one)]


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text in lower case without accents."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    yield from _WORD.findall(plain.casefold())
