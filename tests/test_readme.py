"""README's section "In Python" runs as it stands."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
import rasterio

from tests.conftest import ROOT


@pytest.mark.registry
@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = (ROOT / "README.md").read_text().split("## In Python\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.S)
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert 0 < float(printed.getvalue().split()[0]) < 0.2
    with rasterio.open(tmp_path / "soil_moisture.tif") as raster:
        assert raster.shape == (26, 59)
        assert set(raster.units) == {"m3 m-3"}
