"""What `import pipeline` and `import stefaland` offer: light, documented, with examples."""

from __future__ import annotations

import ast
import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
import stefaland

PACKAGES = {"pipeline": pipeline, "stefaland": stefaland}
NAMES = [(package, name) for package, of in PACKAGES.items() for name in of.EXPORTS]
HEAVY = ("torch", "numpy", "xarray", "pandas", "rasterio", "dask", "zarr")


@pytest.mark.parametrize("package", list(PACKAGES))
def test_importing_a_package_loads_no_heavy_library(package: str) -> None:
    code = f"import sys, {package}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", list(PACKAGES))
def test_type_checkers_see_the_names_that_are_exported(package: str) -> None:
    tree = ast.parse(Path(str(PACKAGES[package].__file__)).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == PACKAGES[package].EXPORTS
    assert set(PACKAGES[package].__all__) == set(seen)
    assert set(seen) | {"__version__"} <= set(dir(PACKAGES[package]))


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_an_exported_name_is_documented_by_an_example_that_runs(
    package: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    value = getattr(PACKAGES[package], name)
    text = inspect.getdoc(value) or ""
    if isinstance(value, type):
        methods = [inspect.getdoc(member) or "" for member in vars(value).values()
                   if inspect.isroutine(member) or isinstance(member, classmethod)]  # fmt: skip
        text = "\n".join([text, *methods])
    assert ">>>" in text, f"{package}.{name} has no example"
    module = sys.modules[str(getattr(value, "__module__", package))]
    tests = doctest.DocTestFinder().find(value, name, globs=dict(vars(module)))
    results = [doctest.DocTestRunner().run(test) for test in tests if test.examples]
    assert results
    assert not any(result.failed for result in results)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'pipeline' has no attribute 'regird'"):
        _ = pipeline.regird
