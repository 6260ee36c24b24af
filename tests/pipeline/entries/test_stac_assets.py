"""Documents of STAC as services send them: pages, loops, relative and signed addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.addresses import Access
from pipeline.core.errors import InputError
from pipeline.core.remote_path import _HEADS
from pipeline.entries.stac_assets import asset_series
from tests.loopback import Loopback, ask_afresh, serving


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask_afresh(monkeypatch, tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    return tmp_path / "served"


@pytest.fixture
def web(folder: Path) -> Iterator[Loopback]:
    with serving(folder) as server:
        yield server


def item(name: str, day: int, href: str = "rain.tif", **more: Any) -> dict[str, Any]:
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": name, "links": [], "geometry": None,
        "properties": {"datetime": f"2001-01-{day:02d}T00:00:00Z", "proj:code": "EPSG:4326"},
        "assets": {"rain": {"href": href, **more}},
    }  # fmt: skip


def write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document))


def series(*uris: object) -> dict[Any, Any]:
    return asset_series([str(uri) for uri in uris], "rain", Access(), None, 0)


def test_all_pages_of_a_search_are_read(folder: Path, web: Loopback) -> None:
    for page in (1, 2, 3):
        links = [{"rel": "self", "href": "x"}]
        if page < 3:
            links.append({"rel": "next", "href": web.to(f"page{page + 1}.json?token=SECRET")})
        write(folder / f"page{page}.json",
              {"type": "FeatureCollection", "features": [item("a", page, f"{page}.tif")],
               "links": links})  # fmt: skip
    found = series(web.to("page1.json"))
    assert list(found) == [(2001, 1, day) for day in (1, 2, 3)]
    assert [str(path) for (path,) in found.values()] == [web.to(f"{i}.tif") for i in (1, 2, 3)]
    assert any("token=SECRET" in path for _, path, _ in web.requests)
    document = json.loads((folder / "page1.json").read_text())
    document["links"][1] |= {"method": "POST", "body": {}}
    write(folder / "page1.json", document)
    _HEADS.known.clear()
    with pytest.raises(InputError, match="one page of a list of items"):
        series(web.to("page1.json"))


def test_a_collection_of_a_service_has_its_items_at_their_own_address(
    folder: Path, web: Loopback
) -> None:
    links = [
        {"rel": "items", "href": web.to("items.json")},
        {"rel": "root", "href": web.to("c.json")},
    ]
    write(folder / "c.json", {"type": "Collection", "id": "c", "links": links})
    write(
        folder / "items.json",
        {"type": "FeatureCollection", "features": [item("a", 1), item("b", 2)]},
    )
    assert len(series(web.to("c.json"))) == 2


def test_catalogs_that_link_to_each_other_end(folder: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        links = [
            {"rel": "child", "href": f"./{other}.json"},
            {"rel": "item", "href": f"{name}i.json"},
        ]
        write(folder / f"{name}.json", {"type": "Catalog", "id": name, "links": links})
        write(folder / f"{name}i.json", item(name, 1 if name == "a" else 2, f"{name}.tif"))
    assert [path.name for (path,) in series(folder / "a.json").values()] == ["a.tif", "b.tif"]


@pytest.mark.parametrize("document", [
    {"type": "FeatureCollection", "features": []}, {"type": "Collection", "id": "c", "links": []},
])  # fmt: skip
def test_documents_without_items_are_refused(folder: Path, document: dict[str, Any]) -> None:
    write(folder / "c.json", document)
    with pytest.raises(InputError, match="no items"):
        series(folder / "c.json")


def test_signatures_of_relative_addresses_are_no_part_of_names(folder: Path, web: Loopback) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "a b.tif").write_bytes(b"II*\x00")
    write(folder / "i.json", item("a", 1, "data/a%20b.tif?sig=SECRET"))
    ((path,),) = series(web.to("i.json")).values()
    assert str(path) == web.to("data/a%20b.tif")
    assert path.name == "a b.tif"
    assert path.read_bytes() == b"II*\x00"
    assert "sig=SECRET" in web.requests[-1][1]
    write(folder / "i.json", item("a", 1, "data/a%20b.tif"))
    ((path,),) = series(folder / "i.json").values()
    assert path == folder / "data" / "a b.tif"
