"""Drivers: the registry, checks of entries, and readers of other packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.catalog.catalog import Catalog, read_catalog
from pipeline.core import plugins
from pipeline.core.errors import Faults, InputError
from pipeline.core.plugins import Registry, load_plugins, loaded_plugins
from pipeline.entries.source import Source, Variable
from pipeline.execution.cluster import ClusterConfig, connect
from pipeline.execution.dask import OnCluster
from pipeline.grid.target_grid import TargetGrid
from pipeline.readers import registry
from pipeline.readers.driver import Driver
from pipeline.readers.registry import DRIVERS, driver_of, files_of
from pipeline.regridding.regrid import regrid
from pipeline.sites.regions import read_polygons
from pipeline.sources.canonical import canonicalise
from pipeline.sources.locations import read_locations_source
from pipeline.sources.open import check_source, open_source
from workflows.cli import main
from workflows.commands.submit import freeze_settings
from workflows.config.load import load_config
from workflows.fingerprints import stage_fingerprint
from workflows.run import Run

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "docs" / "templates" / "my_reader.py"
VARIABLES = {"rain": Variable(long_name="rain", units="mm/day", valid_range=(0, 500))}
ENTRY = """
rain:
  uri: ${data}/rain_{year}.txt
  driver: toy
  time: {years: [2001, 2002]}
  variables: {rain: {name: value, units: mm/day}}
  options: {header_lines: 1}
"""
INFO = "Metadata-Version: 2.1\nName: toy-readers\nVersion: 3.1\n"
POINTS = "[stefaland.readers]\ntoy = my_reader:DRIVER\n"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove the readers that a test has added."""
    fresh: Registry[Driver] = Registry(
        DRIVERS.kind, DRIVERS.group, {name: point.value for name, point in DRIVERS._builtin.items()}
    )
    monkeypatch.setattr(registry, "DRIVERS", fresh)
    monkeypatch.setattr(plugins, "_LOADED", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if "my_reader" in name:
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy the template of a reader beside a catalog and two files of its format."""
    shutil.copy(TEMPLATE, tmp_path)
    (tmp_path / "my.yml").write_text(ENTRY)
    for year in (2001, 2002):
        text = f"a remark\n-10 50 1\n1 2 3\n4 -9999 {year - 1995}\n"
        (tmp_path / f"rain_{year}.txt").write_text(text)
    return tmp_path


def catalog_of(folder: Path) -> Catalog:
    return read_catalog([folder / "my.yml"], {"data": folder})


def refused(folder: Path, text: str) -> InputError:
    (folder / "my.yml").write_text(text)
    with pytest.raises(InputError) as caught:
        catalog_of(folder)
    return caught.value


def test_every_built_in_reader_is_a_driver_of_its_name() -> None:
    for name in DRIVERS.names():
        driver = DRIVERS.get(name)
        assert isinstance(driver, Driver)
        assert driver.name == name
        assert callable(driver.open)
    assert DRIVERS.get("units").returns == "network"
    assert {name for name in DRIVERS.names() if DRIVERS.get(name).is_series} == {
        "netcdf", "grib", "zarr", "raster", "npz", "table", "profiles",
    }  # fmt: skip


def test_the_registry_imports_a_reader_when_a_catalog_names_it(tmp_path: Path) -> None:
    (tmp_path / "my.yml").write_text(
        "a: {uri: x.csv, driver: table, lat: y, lon: x, variables: {rain: {name: r}}}\n"
    )
    code = (
        "import sys; from pathlib import Path; from pipeline.catalog.catalog import read_catalog\n"
        "names = {'rasterio', 'netCDF4', 'pandas', 'geopandas'}\n"
        "heavy = lambda: sorted(names & set(sys.modules))\n"
        "print(heavy()); read_catalog([Path('my.yml')], {}); print(heavy())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    before, after = done.stdout.splitlines()
    assert "rasterio" not in after
    assert "geopandas" not in after
    assert "netCDF4" not in after
    assert before == "[]"
    assert "pandas" in after


def test_what_drivers_need_of_entries_is_found_with_everything_else(tmp_path: Path) -> None:
    error = refused(
        tmp_path,
        "a: {uri: x.nc, driver: netdcf, variables: {rain: {name: v}}}\n"
        "b: {uri: x.nc, driver: netcdf}\n"
        "c: {uri: x.csv, driver: profiles, variables: {rain: {name: v}}}\n"
        "d: {uri: x, driver: caravan, variables: {r: {name: v}}, options: {form: nc, sits: []}}\n"
        "e: {uri: 'x_{month}', driver: ismn, variables: {rain: {name: v}}}\n"
        "f: {uri: x.nc, driver: units}\n",
    )
    texts = [str(fault) for fault in error.faults]
    assert 'source "a": driver: found no driver "netdcf"; expected one of basins, ' in texts[0]
    assert 'Did you mean "netcdf"?' in texts[0]
    assert "no plugin adds one" in texts[0]
    assert "at least one variable" in texts[1]
    assert "a table without lat and lon and cell" in texts[2]
    assert any("options.form" in text or "options: form" in text for text in texts)
    assert any('Did you mean "sites"?' in text for text in texts)
    assert any(
        "{month} in the uri, although the driver ismn reads a single file" in text for text in texts
    )
    assert sum('source "f": options' in text for text in texts) >= 5


@pytest.mark.parametrize(
    "driver",
    ["netcdf", "grib", "zarr", "raster", "npz", "table", "stations", "vector", "caravan", "ismn"],
)
def test_options_that_no_driver_knows_are_refused(tmp_path: Path, driver: str) -> None:
    needs = "lat: y, lon: x" if driver in ("table", "stations") else "title: t"
    entry = f"uri: x, driver: {driver}, {needs}, variables: {{rain: {{name: v}}}}"
    error = refused(tmp_path, f"a: {{{entry}, options: {{dept: [0, 5]}}}}\n")
    assert 'source "a": options' in str(error)
    assert "dept" in str(error)


def test_an_unknown_driver_is_refused_where_no_catalog_was_read() -> None:
    source = Source.model_validate({"name": "a", "uri": "x", "driver": "ntcdf"})
    with pytest.raises(InputError, match='source "a": driver: found no driver "ntcdf"'):
        check_source(source, Faults())


def test_readers_of_grids_are_none_of_polygons_and_none_of_locations(tmp_path: Path) -> None:
    source = Source.model_validate(
        {"name": "a", "uri": "x.nc", "driver": "netcdf", "variables": {"rain": {"name": "v"}}}
    )
    with pytest.raises(InputError, match="a reader of grid; expected a reader of polygons"):
        read_polygons(source)
    with pytest.raises(InputError, match="a reader of grid; expected a reader of sites"):
        read_locations_source(source, VARIABLES)


def test_the_files_of_a_network_are_those_that_its_options_name() -> None:
    options = {"forcings": {"rain": "a.nc"}, "units": {"rain": "in"}, "segments": "b.nc"}
    source = Source.model_validate(
        {"name": "n", "uri": "/data", "driver": "basins", "options": options}
    )
    assert files_of(source) == [Path("/data/a.nc"), Path("/data/b.nc")]


def is_regridded(catalog: Catalog) -> None:
    """Open, canonicalise and regrid the toy source, and compare with its two files."""
    source = catalog["rain"]
    faults = Faults()
    info = check_source(source, faults, VARIABLES)
    assert not faults.faults
    assert info is not None
    assert info.bounds == (-10, 48, -7, 50)
    ds = canonicalise(open_source(source), source, VARIABLES)
    expected = [[[1, 2, 3], [4, np.nan, 6]], [[1, 2, 3], [4, np.nan, 7]]]
    np.testing.assert_array_equal(ds["rain"], expected)
    assert ds["time"].dt.year.values.tolist() == [2001, 2002]
    target = TargetGrid.from_bounds("g", "EPSG:4326", (-10, 48, -7, 50), 1.0)
    np.testing.assert_allclose(regrid(ds, target, "mean")["rain"], expected, rtol=1e-6)


def test_the_template_is_a_reader_that_a_module_beside_the_config_adds(folder: Path) -> None:
    with pytest.raises(InputError, match='no driver "toy"'):
        catalog_of(folder)
    load_plugins(["my_reader"], folder)
    is_regridded(catalog_of(folder))
    entry = ENTRY.replace("header_lines: 1", "header_line: 1")
    assert 'Did you mean "header_lines"?' in str(refused(folder, entry))
    entry = ENTRY.replace("name: value", "name: valu").replace("1}", "0}")
    (folder / "my.yml").write_text(entry)
    with pytest.raises(InputError, match='Did you mean "value"') as caught:
        open_source(catalog_of(folder)["rain"])
    assert len(caught.value.faults) == 2


def test_the_template_is_a_reader_that_an_installed_package_adds(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = folder / "site"
    (site / "toy_readers-3.1.dist-info").mkdir(parents=True)
    (site / "toy_readers-3.1.dist-info" / "METADATA").write_text(INFO)
    (site / "toy_readers-3.1.dist-info" / "entry_points.txt").write_text(POINTS)
    (folder / "my_reader.py").rename(site / "my_reader.py")
    monkeypatch.syspath_prepend(str(site))
    is_regridded(catalog_of(folder))
    assert driver_of(catalog_of(folder)["rain"]).name == "toy"
    text = str(refused(folder, ENTRY.replace("driver: toy", "driver: toi")))
    assert "Searched besides this package: the installed package toy-readers 3.1." in text


def test_a_package_that_offers_something_else_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "odd-1.dist-info").mkdir()
    (folder / "odd-1.dist-info" / "METADATA").write_text(INFO)
    (folder / "odd-1.dist-info" / "entry_points.txt").write_text(
        "[stefaland.readers]\ntoy = math:pi\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(InputError, match='driver "toy", a float; expected'):
        catalog_of(folder)


def test_a_config_loads_its_plugins_before_its_catalogs_are_read(folder: Path) -> None:
    config = folder / "my_run.yml"
    config.write_text(
        "extends: quickstart\nplugins: [my_reader]\n"
        f"catalogs: [quickstart.yml, {folder / 'my.yml'}]\n"
        f"roots: {{data: '{folder}', runs: '{folder}'}}\n"
    )
    run = Run(load_config(config))
    assert run.config.plugins == ("my_reader",)
    assert loaded_plugins() == (str(folder / "my_reader"),)
    is_regridded(Catalog({"rain": run.catalog["rain"]}))
    freeze_settings(run.config, folder / "slurm")
    assert load_config(folder / "slurm" / "config.yml").plugins == loaded_plugins()
    before = stage_fingerprint(run, "regrid")
    with (folder / "my_reader.py").open("a") as file:
        file.write("# A change.\n")
    assert stage_fingerprint(run, "regrid") != before
    with pytest.raises(InputError, match='Did you mean "my_reader"'):
        load_config(config, ["plugins=[my_raeder]"])
    with pytest.raises(InputError, match=r"plugins\.0"):
        load_config(config, ["plugins=[3]"])


def test_settings_without_plugins_are_written_as_they_were() -> None:
    assert "plugins" not in load_config("quickstart").model_dump(mode="json")
    assert "plugins" not in load_config("quickstart").model_dump(exclude={"roots"})


def test_catalog_commands_take_the_plugins_of_a_catalog(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "my.yml").write_text(ENTRY.replace("rain: {name", "precipitation: {name"))
    arguments = ["catalog", "check", str(folder / "my.yml"), "--data", str(folder)]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert 'no driver "toy"' in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--plugin", "my_reader"])
    assert stopped.value.code == 0
    assert "1 sources agree" in capsys.readouterr().out


def test_workers_of_a_cluster_have_the_plugins_too(folder: Path) -> None:
    load_plugins(["my_reader"], folder)
    source = catalog_of(folder)["rain"]
    with connect(ClusterConfig(workers=1, dashboard_port=0)) as executor:
        assert isinstance(executor, OnCluster)
        size = executor.client.submit(lambda: open_source(source)["value"].shape).result()
    assert size == (2, 2, 3)
