"""The house holds: who may import whom, no circles, and rooms of a size that can be taken in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "stefaland", "workflows")

# From the ground up; rooms of one line do not know each other.
FLOORS = """
pipeline.core
pipeline.times pipeline.grid pipeline.execution
pipeline.entries pipeline.regridding
pipeline.readers pipeline.cube pipeline.climate
pipeline.catalog
pipeline.sources pipeline.maps
pipeline.sites pipeline.publish pipeline.regrid_tile pipeline.fetch pipeline.drafts
pipeline.regrid_blocks
pipeline.build
stefaland.distributed
stefaland.tasks stefaland.metrics stefaland.data stefaland.physics
stefaland.config
stefaland.model stefaland.folds
stefaland.checkpoints
stefaland.prediction
stefaland.training
stefaland.baselines
workflows.config workflows.console
workflows.run
workflows.fingerprints
workflows.inputs
workflows.products
workflows.stages
workflows.commands
workflows.cli
stefaland.__main__
"""
FLOOR = {room: i for i, line in enumerate(FLOORS.split("\n")) for room in line.split()}
FOREIGN = {
    "pipeline": {"torch", "stefaland", "workflows"},
    "stefaland": {"workflows", "dask", "distributed", "rasterio", "rioxarray", "zarr", "geopandas",
                  "odc", "catalogs"},
    "workflows": set(),
}  # fmt: skip
# `python -m stefaland` is the command line: a program, which nothing may import.
PROGRAMS = {"stefaland.__main__"}
MOST_MODULES, MOST_LINES = 18, 350


@cache
def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(module: str) -> Iterator[str]:
    """Whatever a module imports, also inside functions: `a.b.c`, or `a.b` for a name in it."""
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where a name comes from"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules() else str(node.module)


def imported_later(module: str) -> set[str]:
    """Modules that a module names in strings to import when they are needed: `a.b.c:NAME`, or the
    beginning `a.b.` of an f-string, for all modules of that room."""
    nodes = ast.walk(ast.parse(modules()[module].read_text()))
    texts = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    named = {text.partition(":")[0] for text in texts if text.count(".") >= 2}
    return {name for name in modules() if {name, f"{room(name)}."} & named}


def room(module: str) -> str:
    """The first two names of a module."""
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_do_not_know_what_lies_above_them(package: str) -> None:
    mine = [name for name in modules() if room(name).startswith(package) and name not in PROGRAMS]
    wrong = {
        (name, other)
        for name in mine
        for other in imported(name)
        if other.split(".")[0] in FOREIGN[package]
    }
    assert not wrong


def test_the_model_knows_of_the_data_package_only_its_ground() -> None:
    mine = [name for name in modules() if name.startswith("stefaland")]
    found = {other for name in mine for other in imported(name) if other.startswith("pipeline")}
    assert found
    assert {room(other) for other in found} == {"pipeline.core"}


def test_no_room_imports_one_of_its_floor_or_above() -> None:
    doors = set(PACKAGES)
    wrong = {
        (name, other)
        for name in modules()
        for other in imported(name)
        if other.startswith(PACKAGES)
        and name not in doors
        and room(other) != room(name)
        and FLOOR[room(other)] >= FLOOR[room(name)]
    }
    assert not wrong


def test_no_files_import_each_other_in_a_circle_now_or_later() -> None:
    known = modules()
    assert "workflows.stages.regrid" in imported_later("workflows.stages.order")
    assert "pipeline.readers.nhm" in imported_later("pipeline.readers.registry")
    graph = {
        name: {o for o in (*imported(name), *imported_later(name)) if o in known and o != name}
        for name in known
    }
    TopologicalSorter(graph).prepare()


def test_every_room_has_a_line_that_says_what_it_is_for() -> None:
    folders = {path.parent for path in modules().values()}
    for folder in folders:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_folders_and_files_can_be_taken_in_at_a_glance() -> None:
    paths = list(modules().values())
    crowded = {
        folder: count
        for folder in {path.parent for path in paths}
        if (count := sum(p.parent == folder and p.name != "__init__.py" for p in paths))
        > MOST_MODULES
    }
    assert not crowded
    long = {p: n for p in paths if (n := len(p.read_text().splitlines())) > MOST_LINES}
    assert not long


def test_inputs_and_products_take_values_and_no_run() -> None:
    rooms = {"workflows.inputs", "workflows.products"}
    wrong = [
        name
        for name, path in modules().items()
        if room(name) in rooms
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and any(of.name == "Run" for of in node.names))
        or (isinstance(node, ast.arg) and node.arg == "run")
    ]
    assert not wrong
