"""The project's own files agree: environment.yml with pyproject.toml, imports with the layers."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {
    "torch": "pytorch", "netCDF4": "netcdf4", "types-PyYAML": "types-pyyaml",
    "eccodes": "python-eccodes",
}  # fmt: skip


def _split(requirement: str) -> tuple[str, str]:
    name, bound = re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", requirement).groups()
    return CONDA_NAMES.get(name, name), bound


def test_environment_yml_is_in_step_with_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    expected = dict(map(_split, [*wanted, f"python{project['requires-python']}"]))
    *conda, pip, from_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip == "pip"
    assert dict(map(_split, [*conda, *from_pip["pip"]])) == expected


def test_constraints_pin_every_dependency_exactly() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    normal = {re.split(r"[<>=]", w)[0].lower().replace("_", "-") for w in wanted}
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert normal <= pinned


def test_every_packaged_file_beside_the_code_has_a_pattern() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    for package in ("pipeline", "stefaland", "workflows", "catalogs"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix != ".py" and path.parent.name != "__pycache__":
                assert any(path.match(pattern) for pattern in patterns), path


@pytest.mark.parametrize("recipe", ["Dockerfile", "apptainer.def"])
def test_containers_hold_every_package_and_the_tested_torch(recipe: str) -> None:
    text = (ROOT / recipe).read_text()
    pinned = re.search(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    assert set(re.findall(r"torch==(\S+)", text)) == {pinned.group(1)}
    assert all("-c constraints.txt" in line for line in text.splitlines() if "pip install" in line
               and not line.startswith("#"))  # fmt: skip
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package in project["packages"]["find"]["include"]:
        assert re.search(rf"\b{package.rstrip('*')} ", text), package


def test_batch_scripts_are_shipped_and_valid_shell() -> None:
    scripts = sorted((ROOT / "workflows" / "slurm").glob("*.s*"))
    names = [script.name for script in scripts]
    assert names == ["array.sbatch", "requeue.sh", "stage.sbatch", "train.sbatch"]
    for script in scripts:
        done = subprocess.run(["bash", "-n", str(script)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
