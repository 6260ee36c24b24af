"""Every packaged product: described in full, with a page, and fetched to where its sources look."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from pipeline.catalog.catalog import Catalog, read_catalog, read_variables
from pipeline.catalog.product import Product
from pipeline.core.errors import InputError
from pipeline.core.packaged import packaged_products
from pipeline.readers.registry import driver_of
from tests.conftest import ROOT

DATA = "/data"
PRODUCTS = packaged_products()
REQUIRED = """
product:
  title: Rain of the village
  provider: the school
  licence: CC0
  reference: the teacher 2020
  version: "1"
  keywords: [rain]
  resolution: 1 km, daily
  region: the village
  get: {rain: {kind: manual, steps: [Ask the teacher.]}}
rain: {uri: "${data}/rain.nc", driver: netcdf, variables: {precipitation: {name: r}}}
"""


def read(name: str) -> tuple[Catalog, Product]:
    catalog = read_catalog(name, data=DATA)
    return catalog, catalog.products[name]


def test_the_first_products_are_there() -> None:
    assert {"aorc", "chirps", "era5_land"} <= set(PRODUCTS)


def test_the_index_lists_all_products() -> None:
    index = (ROOT / "docs/data/README.md").read_text()
    assert set(re.findall(r"\]\((\w+)\.md\)", index)) == set(PRODUCTS)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_described_in_full(name: str) -> None:
    catalog, product = read(name)
    for source in catalog.sources.values():
        assert source.title
        assert source.licence
        assert source.reference
        assert source.variables or not driver_of(source).has_variables
        assert set(source.variables) <= set(read_variables())
        for part in source.parts:
            assert part.address.startswith(f"{DATA}/{name}"), "files of a product lie in its folder"
        # Names stay unique where several products are used together.
        assert source.name == name or source.name.startswith(f"{name}_")
    assert name in catalog.sources, "the main source has the name of the product"
    assert set(product.get) <= set(catalog.sources)
    assert product.notes


@pytest.mark.parametrize("name", PRODUCTS)
def test_files_are_fetched_to_where_the_sources_look(name: str) -> None:
    catalog, product = read(name)
    for source, download in product.get.items():
        if download.kind == "manual" or download.to is None:
            continue
        uri = re.sub(r"\{[^}]*\}", "*", catalog[source].uris[0].removeprefix(f"{DATA}/"))
        path = re.sub(r"\{[^}]*\}", "1", download.to)
        if path.endswith("/"):  # files keep their names, and archives are unpacked into folders
            folder = re.sub(r"\{[^}]*\}", "*", download.to)
            assert fnmatch(uri, f"{folder}*"), (folder, uri)
            continue
        assert fnmatch(path, uri) or path.startswith(uri.split("*")[0]), (path, uri)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_has_a_page_that_says_what_to_type(name: str) -> None:
    text = (ROOT / "docs" / "data" / f"{name}.md").read_text()
    assert text.startswith("# ")
    assert f"stefaland catalog check {name}" in text


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_has_a_test_of_its_values(name: str) -> None:
    assert (ROOT / "tests" / "products" / f"test_{name}.py").exists()


def test_a_description_is_not_a_source_and_sources_inherit_from_it(tmp_path: Path) -> None:
    (tmp_path / "village.yml").write_text(REQUIRED)
    catalog = read_catalog(tmp_path / "village.yml", data=DATA)
    assert list(catalog.sources) == ["rain"]
    assert catalog["rain"].licence == "CC0"
    assert catalog.products["village"].get["rain"].kind == "manual"


def test_a_source_may_be_called_product(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        "product: {uri: x.nc, driver: netcdf, variables: {precipitation: {name: r}}}\n"
    )
    catalog = read_catalog(tmp_path / "a.yml")
    assert (list(catalog.sources), catalog.products) == (["product"], {})


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("licence: CC0", "license: CC0", 'Did you mean "licence"?'),
        ("kind: manual", "kind: gopher", "gopher"),
        ("version:", "bounds: [10, 0, 5, 1]\n  version:", "bounds that are not west"),
        ("kind: manual, steps: [Ask the teacher.]", "kind: http, files: s3://a/b", "without http"),
        ("kind: manual, steps: [Ask the teacher.]", "kind: http, files: 'http://a/*'", "buckets"),
        (
            "kind: manual, steps: [Ask the teacher.]",
            "kind: s3, files: 's3://a/{tile}'",
            "{tile} in s3://a/{tile}, which has no values",
        ),
        (
            "kind: manual, steps: [Ask the teacher.]",
            "kind: s3, files: s3://a/b, checksums: {b: 123}",
            "checksum",
        ),
    ],
)
def test_faults_of_a_description_are_reported(
    old: str, new: str, found: str, tmp_path: Path
) -> None:
    (tmp_path / "village.yml").write_text(REQUIRED.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_catalog(tmp_path / "village.yml", data=DATA)
    assert found in str(caught.value)
    assert "village.yml: product" in str(caught.value)


def test_an_unknown_product_has_a_hint() -> None:
    with pytest.raises(InputError) as caught:
        read_catalog("era5land")
    assert 'Did you mean "era5_land"?' in str(caught.value)
