"""The report with hostile texts in every field, opened in Chromium: it works, and nothing runs."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import Legend
from pipeline.publish.geotiff import write_cog
from pipeline.publish.webmap import page_product
from tests.hostile import HOSTILE, MARK
from workflows.products.figures import boxes, scatter, series
from workflows.products.map_viewer import FILES, viewer_html
from workflows.products.page import render_page
from workflows.products.pretraining import PretrainingTable

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")
GRID = TargetGrid.from_bounds("page", "EPSG:4326", (0, 0, 6, 4), 1.0)
ALL = " ".join(text for text in HOSTILE if len(text) < 1000)


def products(folder: Path) -> list[dict[str, object]]:
    """A product of two maps, of a quantity and of classes, with a band for each text."""
    made = []
    for kind in ("continuous", "categorical"):
        stops = [
            {"value": i, "colour": f"#{i:02x}8000", "label": text} for i, text in enumerate(HOSTILE)
        ]
        legend = Legend.model_validate(
            {"name": kind, "title": ALL, "kind": kind, "units": ALL, "stops": stops}
        )
        values = np.arange(len(HOSTILE) * 24).reshape(len(HOSTILE), *GRID.shape) % len(HOSTILE)
        values = values.astype(np.float32 if kind == "continuous" else np.uint8)
        da = xr.DataArray(values, {**GRID.coords(), "band": list(HOSTILE)}, ("band", "y", "x"))
        path = folder / f"{kind}.tif"
        write_cog(path, da, GRID, kind=legend.kind, units=ALL)
        made.append((path, legend, ALL))
    return [page_product(text, made, 10**6) for text in (ALL, *HOSTILE[:3])]


def report(folder: Path) -> str:
    """The report with hostile texts in all of its fields."""
    texts = list(HOSTILE)
    rows = [{"model": text, "values": texts, "best": text == texts[0]} for text in texts]
    place = {"lon": 0, "lat": 0, "minimum": 0, "maximum": 1, "found": 0.5, "passed": True}
    image = series(
        np.arange(3), {text: np.arange(3.0) for text in texts[:4]},
        {"stefaland": {text: np.arange(3.0) for text in texts[:4]}}, "$x_{",
    )  # fmt: skip
    return render_page(
        "report.html.j2",
        "report.css",
        of_parts=FILES,
        title=ALL,
        name=ALL,
        version=ALL,
        summary=ALL,
        scored=[
            {
                "target": ALL,
                "score_names": texts,
                "scores": rows,
                "verdict": ALL,
                "comparisons": [
                    {"model": t, "difference": t, "interval": t, "share": t} for t in texts
                ],
                "comparison_metric": ALL,
                "fold_metric": ALL,
                "folds": texts,
                "fold_rows": rows,
                "missing": texts,
                "missing_rows": rows,
                "figures": [{"caption": text, "image": image} for text in texts],
            }
        ],
        ranking=ALL,
        pretraining=PretrainingTable(texts, [{"variable": t, "values": texts} for t in texts], []),
        maps=[{"caption": text, "file": text, "image": image} for text in texts],
        viewer=viewer_html(products(folder)),
        places=[{**place, "name": text, "why": text} for text in texts],
        score_text=ALL,
        caveats=texts,
        costs=[{"stage": text, "seconds": text, "memory": text} for text in texts],
        sources=[
            {"name": text, "variables": text, "licence": text, "reference": text} for text in texts
        ],
        config="\n".join(texts),
        versions=ALL,
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(tmp_path_factory.mktemp("hostile"))


class Tags(HTMLParser):
    """Every element of a page with its attributes, and the texts of styles and scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, Any]]:
        return [attrs for name, attrs in self.found if name == tag]


def test_a_page_has_its_own_elements_alone(page: str) -> None:
    tags = Tags(page)
    assert [len(tags.named(name)) for name in ("script", "style", "title", "body")] == [2, 2, 1, 1]
    for name in ("iframe", "link", "a", "object", "embed", "base", "form"):
        assert not tags.named(name)
    assert not [attrs for _, attrs in tags.found if any(key.startswith("on") for key in attrs)]
    images = tags.named("img")
    assert images
    assert all(attrs["src"].startswith("data:image/png;base64,") for attrs in images)
    assert [attrs["alt"] for attrs in images[: len(HOSTILE)]] == list(HOSTILE)
    cells = " ".join(tags.texts)
    assert all(text in cells for text in HOSTILE)


def test_the_policy_allows_the_pages_own_style_and_script_alone(page: str) -> None:
    tags = Tags(page)
    # Before everything that it is about.
    assert [name for name, _ in tags.found[:4]] == ["html", "head", "meta", "meta"]
    policy = tags.named("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    rules = dict(rule.split(" ", 1) for rule in policy["content"].split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    assert not re.search("unsafe|http|\\*", policy["content"])
    styles = re.findall(r"<style>(.*?)</style>", page, re.S)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    for texts, rule in ((styles, "style-src"), (scripts, "script-src")):
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in texts]
        assert rules[rule].split() == [f"'sha256-{digest.decode()}'" for digest in digests]
    compared = render_page(
        "comparison.html.j2", "comparison.css", a=ALL, b=ALL, version=ALL, headers=HOSTILE,
        rows=[HOSTILE],
    )  # fmt: skip
    assert "script-src" not in compared
    assert len(Tags(compared).named("th")) == len(HOSTILE)


def test_data_in_a_page_have_no_character_of_html() -> None:
    data = re.search(
        r'<script type="application/json" id="maps-data">(.*?)</script>',
        viewer_html([{"name": f"{ALL}</script><!--<script>&\u2028"}]), re.S,
    )  # fmt: skip
    assert data
    assert not set(data[1]) & set("<>&\u2028\u2029")


def opened(page: str, folder: Path) -> tuple[str, str]:
    """The DOM that Chromium makes of a page, and what it logs."""
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
        "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=10000", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@needs_chromium
def test_the_page_works_and_nothing_runs(page: str, tmp_path: Path) -> None:
    dom, logged = opened(page, tmp_path)
    assert not logged
    assert not Tags(dom).named("html")[0].get(MARK)
    assert 'data-ready="yes"' in dom
    assert len(Tags(dom).named("option")) == 4 + 2
    ticks = re.search(r'data-part="legend">(.*?)</section>', dom, re.S)
    assert ticks
    assert ticks[1].count("<span") == len(HOSTILE) + 1


@pytest.mark.slow
@needs_chromium
def test_the_policy_stops_a_script_that_is_not_the_pages_own(page: str, tmp_path: Path) -> None:
    script = f"<script>document.documentElement.setAttribute('{MARK}', 1)</script>"
    remote = '<img src="https://example.org/x.png"><p style="color: red">'
    dom, logged = opened(page.replace("</h1>", f"</h1>{script}{remote}", 1), tmp_path)
    assert not Tags(dom).named("html")[0].get(MARK)
    assert logged.count("Content Security Policy") >= 3
    assert 'data-ready="yes"' in dom


def test_figures_draw_formulas_that_are_none_and_long_names() -> None:
    values = np.arange(5.0)
    for text in (*HOSTILE[21:24], HOSTILE[-2], ALL):
        assert scatter(values, values, text, text).startswith("data:image/png")
    assert boxes({"$x_{": values, "stefaland": values}, "NSE", (0, 5)).startswith("data:image/png")
