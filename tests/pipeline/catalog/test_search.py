"""The search of products: what matches, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.catalog.catalog import read_variables
from pipeline.catalog.search import search_products, similar_words
from pipeline.core import packaged

PRODUCT = """
product:
  title: {title}
  provider: nobody
  licence: CC0
  reference: none
  version: "1"
  keywords: [{keywords}]
  resolution: 1°
  region: {region}
  get: {{{name}: {{kind: manual, steps: [Ask.]}}}}
  notes: {notes}
{name}: {{uri: x.nc, driver: netcdf, variables: {{{variable}: {{name: v}}}}}}
"""


@pytest.fixture(autouse=True)
def products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four products of a packaged catalog of their own."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for name, title, variable, keywords, region, notes in [
        ("snowy", "Height of snow", "snow_amount", "winter", "Alps", "It melts to rain."),
        ("rain", "Gauges", "precipitation", "summer", "Alps", "None."),
        ("gauges", "Rain of the Åre valley", "precipitation", "summer", "Sweden", "None."),
        ("wind", "Masts", "eastward_wind", "storms", "Sweden", "None."),
    ]:
        (folder / f"{name}.yml").write_text(
            PRODUCT.format(
                name=name,
                title=title,
                variable=variable,
                keywords=keywords,
                region=region,
                notes=notes,
            )
        )
    monkeypatch.setattr(packaged, "packaged_catalogs", lambda: tmp_path)


def names(text: str) -> list[str]:
    return [match.name for match in search_products(text, read_variables())]


def test_names_count_more_than_titles_and_titles_more_than_notes() -> None:
    assert names("rain") == ["rain", "gauges", "snowy"]


def test_words_match_beginnings_without_case_and_accents() -> None:
    assert names("ARE") == ["gauges"]
    assert names("precip") == ["gauges", "rain"]
    assert names("east") == ["wind"]


def test_words_of_long_names_are_found_and_all_words_count() -> None:
    assert names("snow water equivalent") == ["snowy"]
    assert names("rain Sweden") == ["gauges"]
    assert names("storms xyz") == ["wind"]


def test_no_words_list_everything_and_unknown_words_nothing() -> None:
    assert names("") == ["gauges", "rain", "snowy", "wind"]
    assert names("xyz") == []


@pytest.mark.parametrize("text", ["lwe_precipitation_rate", "mm/day", "MM day"])
def test_cf_names_and_units_are_found(text: str) -> None:
    assert set(names(text)) == {"rain", "gauges"}


def test_words_of_one_letter_are_whole_words() -> None:
    assert names("m s-1") == ["wind"]


def test_a_misspelt_word_has_a_hint() -> None:
    assert names("percipitation") == []
    assert similar_words("percipitation", read_variables()) == 'Did you mean "precipitation"?'
    assert similar_words("zzz", read_variables()) == ""
