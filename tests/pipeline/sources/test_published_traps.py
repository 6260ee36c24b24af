"""Every case of `shared/cases/sources` gives its values, or an error that names the key that does.

A case is data as they are published (`make.py`), the entry as a user writes it (`catalog.yml`) and
the values on a grid (`expected.json`). They lie beside the checkout; the project never reads them.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

import pipeline
from pipeline.core import transfers
from pipeline.core.errors import Fault, Faults, InputError
from pipeline.entries.source import Source
from pipeline.execution.run import StageError
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.open import check_source
from tests.conftest import SHARED

CASES = SHARED / "cases" / "sources"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="no cases beside this checkout")

READ = {
    "01_era5land_accumulated": ["by_maximum", "hours_00_only"],
    "02_daily_stamped_at_end": ["daily_extremes"],
    "05_daymet": ["daymet"],
    "06_gridmet": ["as_the_file_says", "with_units_per_day", "calling_the_file_wrong"],
    "07_imerg_groups": ["flat", "grouped", "path_in_name", "group_option"],
    "12_alphaearth_int8": ["bottom_up"],
    "15_glim_polygons": ["glim", "glhymps"],
    "16_dem_tiles": ["folder", "glob"],
    "21_month_totals_of_real_years": ["monthly"],
    "32_own_variable": ["daymet_vp"],
    "34_unit_spellings": [
        "aorc", "aorc_told", "era5_rate", "era5_rate_told", "era5_snow", "share", "slope",
    ],
    "38_zarr_fill_value_zero": ["v2", "v2_told", "v3"],
    "44_monthly_stamps": ["cru", "terra"],
    "56_kind_without_its_method": ["classes", "aspect"],
}  # fmt: skip
"""Entries that give the values as they stand."""

REFUSED = {
    "01_era5land_accumulated": {"as_a_user_writes_it": "cell_method: accumulated"},
    "07_imerg_groups": {"gdal_name": "name: Grid/precipitation"},
    "10_soil_layers": {"noah": "select: {depth: 0}"},
    "13_hwsd_lookup": dict.fromkeys(["hwsd_as_numbers", "hwsd_lookup"], "`transform: {lookup: …"),
    "20_tiny_negative": {"era5": "clip: "},
    "22_remote_uris": {
        "s3_zarr": "Check the address", "gs_zarr": "Check the address",
        "https_nc": "Check the address", "vsicurl_tif": "Check the address",
        "kerchunk": "correct `uri`",
    },
    "44_monthly_stamps": {"cru + terra": "restamp: month"},
    "50_series_on_two_curvilinear_grids": {"wrf": "`merge`"},
    "54_two_sources_one_variable": {"west + east": "merge: [west, east]"},
    "56_kind_without_its_method": {"classes_bilinear": "Set `method` to fractions"},
}  # fmt: skip
"""Entries, or several of one cube, that are refused, and the key that the error names."""

SILENT = {
    "09_quality_flag": ["cci", "ndvi"],
    "12_alphaearth_int8": ["linear_scale"],
    "31_log_statics": ["polaris"],
}
"""Entries that read what they name; the values that are wanted need a key."""

WITH_KEYS = {
    "01_era5land_accumulated": """
        amounts:
          uri: ${data}/era5land.nc
          driver: netcdf
          time: {daily: true, resets: 0}
          variables: {precipitation: {name: tp, cell_method: accumulated}}
        """,
    "07_imerg_groups": """
        path:
          uri: ${data}/imerg.HDF5
          driver: netcdf
          variables: {precipitation: {name: Grid/precipitation}}
        """,
    "09_quality_flag": """
        cci:
          uri: ${data}/cci.nc
          driver: netcdf
          variables: {soil_moisture: {name: sm, mask: {name: flag, keep: [0]}}}
        ndvi:
          uri: ${data}/ndvi_qa.tif
          driver: raster
          variables:
            ndvi_max: {name: band_1, units: "1", scale: 1.0e-4, mask: {name: band_2, keep: [0]}}
        """,
    "10_soil_layers": """
        first:
          uri: ${data}/s.nc
          driver: netcdf
          select: {depth: 0}
          variables: {soil_moisture: {name: SoilM}}
        by_value:
          uri: ${data}/s.nc
          driver: netcdf
          select: {depth: {value: 0.05}}
          variables: {soil_moisture: {name: SoilM}}
        """,
    "12_alphaearth_int8": """
        linear_scale:
          uri: ${data}/up.tif
          driver: raster
          crs: EPSG:32614
          method: mean
          variables:
            "embedding_[00-63]": {name: "band_[1-64]", units: "1", transform: square_signed}
        """,
    "13_hwsd_lookup": """
        soil:
          uri: ${data}/HWSD2.tif
          driver: raster
          method: mean
          variables:
            sand:
              name: band_1
              units: "%"
              transform: {lookup: "${data}/HWSD2_LAYERS.csv", key: HWSD2_SMU_ID, value: SAND}
        """,
    "20_tiny_negative": """
        era5:
          uri: ${data}/e.nc
          driver: netcdf
          time: {daily: true}
          variables: {precipitation: {name: tp, cell_method: sum, clip: 1.0e-6}}
        """,
    "31_log_statics": """
        polaris:
          uri: ${data}/om.tif
          driver: raster
          method: mean
          variables: {water_capacity: {name: band_1, units: "%", transform: power10}}
        """,
    "32_own_variable": """
        variables: {vapour_pressure: {long_name: vapour pressure, units: Pa}}
        daymet_vp:
          uri: ${data}/vp.nc
          driver: netcdf
          variables: {vapour_pressure: {name: vp}}
        """,
    "44_monthly_stamps": """
        cru:
          uri: ${data}/cru.nc
          driver: netcdf
          time: {step: monthly, restamp: month}
          variables: {air_temperature: {name: tmp}}
        terra:
          uri: ${data}/terra.nc
          driver: netcdf
          time: {step: monthly}
          variables: {precipitation: {name: ppt}}
        """,
    "50_series_on_two_curvilinear_grids": """
        first:
          uri: ${data}/wrf_2019.nc
          driver: netcdf
          lat: XLAT
          lon: XLONG
          method: bilinear
          variables: {air_temperature: {name: T2}}
        second:
          uri: ${data}/wrf_2020.nc
          driver: netcdf
          lat: XLAT
          lon: XLONG
          method: bilinear
          variables: {air_temperature: {name: T2}}
        both: {merge: [first, second], time: {gaps: missing}}
        """,
    "54_two_sources_one_variable": """
        west: {uri: "${data}/west.nc", driver: netcdf, variables: {elevation: {name: z}}}
        east: {uri: "${data}/east.nc", driver: netcdf, variables: {elevation: {name: z}}}
        both: {merge: [west, east]}
        """,
}
"""Catalogs with the documented keys, for what is refused or silent."""

TOGETHER = {"44_monthly_stamps": ["cru", "terra"], "50_series_on_two_curvilinear_grids": ["both"],
            "54_two_sources_one_variable": ["both"]}  # fmt: skip
"""Entries of one cube, of catalogs that need others; elsewhere each has a cube of its own."""

OWN_VALUES = {"54_two_sources_one_variable": {"elevation": [[100, 100, 200, 200]] * 4}}
"""Values of cases without any, which may also be refused."""
TIMES = {
    "01_era5land_accumulated": ["2020-01-01", "2020-01-02", "2020-01-03"],
    "02_daily_stamped_at_end": ["1979-10-02", "1979-10-03"],
    "06_gridmet": ["2020-02-28", "2020-02-29", "2020-03-01", "2020-03-02"],
    "44_monthly_stamps": ["2020-01-01", "2020-02-01", "2020-03-01"],
    "50_series_on_two_curvilinear_grids": ["2019-01-01", "2020-01-01"],
}
OWN_STAMPS = ["cru"]
"""Entries whose times stay in the middle of their months as long as they are alone."""
LISTED = sorted({*READ, *REFUSED, *SILENT})


def pairs(table: dict[str, Any]) -> list[Any]:
    return [pytest.param(case, name, id=f"{case}-{name}") for case in table for name in table[case]]


def made(case: str, data: Path) -> ModuleType:
    """The module of a case, whose data are written into the folder `data`."""
    spec = importlib.util.spec_from_file_location(f"case_{case}", CASES / case / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    data.mkdir()
    module.make(data)
    return module


def own_entries(case: str) -> dict[str, Any]:
    entries = yaml.safe_load((CASES / case / "catalog.yml").read_text())
    assert isinstance(entries, dict)
    return entries


class Trial:
    """The data of a case on disk, and the cubes of entries that read them."""

    def __init__(self, case: str, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        module = made(case, self.data)
        crs, bounds, size = module.GRID
        self.grid = TargetGrid.from_bounds("case", crs, bounds, size)

    def sources(self, catalog: str) -> dict[str, Source]:
        path = self.folder / "my.yml"
        path.write_text(catalog)
        return dict(pipeline.read_catalog(path, data=self.data).sources)

    def cube(self, *sources: Source) -> xr.Dataset:
        path = self.folder / f"{'_'.join(source.name for source in sources)}.zarr"
        return pipeline.build_cube(path, self.grid, sources)


def checked(source: Source) -> list[Fault]:
    faults = Faults()
    check_source(source, faults)
    return faults.faults


def compare(cube: xr.Dataset, case: str, name: str = "") -> None:
    """Compare a cube with all expected values of its variables: of the entry, or of any."""
    path = CASES / case / "expected.json"
    expected = OWN_VALUES[case] if case in OWN_VALUES else json.loads(path.read_text())
    common = [key for key in expected if "." not in key and f"{name}.{key}" not in expected]
    of_entry = {key.removeprefix(f"{name}."): values for key, values in expected.items()
                if key in common or key.startswith(f"{name}.")}  # fmt: skip
    compared = of_entry.keys() & {*map(str, cube.data_vars)}
    assert compared
    for variable in compared:
        wanted = np.array(of_entry[variable], float)
        assert cube[variable].shape == wanted.shape
        np.testing.assert_allclose(cube[variable].values, wanted, rtol=1e-5, atol=1e-6)
    if case in TIMES and name not in OWN_STAMPS:
        np.testing.assert_array_equal(cube["time"], np.array(TIMES[case], "datetime64[ns]"))


def test_all_cases_and_their_entries_are_listed() -> None:
    assert sorted(path.parent.name for path in CASES.glob("*/make.py")) == LISTED
    for case in LISTED:
        alone = {name for name in REFUSED.get(case, {}) if " + " not in name}
        together = {part for name in REFUSED.get(case, {}) for part in name.split(" + ")} - alone
        listed = [*READ.get(case, []), *alone, *SILENT.get(case, [])]
        assert len(listed) == len({*listed})
        assert {*listed, *together} == {*own_entries(case)}
        if case != "22_remote_uris" and (alone or together or case in SILENT):
            assert case in WITH_KEYS or READ[case]


@pytest.mark.parametrize(("case", "name"), pairs(READ))
def test_entries_as_they_stand(case: str, name: str, tmp_path: Path) -> None:
    trial = Trial(case, tmp_path)
    (source,) = trial.sources(yaml.safe_dump({name: own_entries(case)[name]})).values()
    assert not checked(source)
    compare(trial.cube(source), case, name)


@pytest.mark.parametrize("case", sorted(WITH_KEYS))
def test_entries_with_the_keys(case: str, tmp_path: Path) -> None:
    trial = Trial(case, tmp_path)
    sources = trial.sources(WITH_KEYS[case])
    for source in sources.values():
        assert not checked(source)
    together = TOGETHER.get(case, [])
    if together:
        compare(trial.cube(*(sources[name] for name in together)), case)
        return
    for name, source in sources.items():
        compare(trial.cube(source), case, name)


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets at an address of this machine where nothing answers."""
    for name in ("AWS_ENDPOINT_URL", "GOOGLE_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(transfers, name, 0.01)
    monkeypatch.setattr(transfers, "_SILENT", {})


@pytest.mark.parametrize(("case", "name"), pairs(REFUSED))
@pytest.mark.usefixtures("_no_network")
def test_refusals_name_the_key(case: str, name: str, tmp_path: Path) -> None:
    trial = Trial(case, tmp_path)
    own = own_entries(case)
    try:
        chosen = {part: own[part] for part in name.split(" + ")}
        sources = trial.sources(yaml.safe_dump(chosen, sort_keys=False))
    except InputError as error:
        found = [list(error.faults)]
    else:
        # The cube is refused too, whether it is checked before or not.
        with pytest.raises((InputError, StageError)) as caught:
            trial.cube(*sources.values())
        found = [list(caught.value.faults)]
        if len(sources) == 1:
            found.append(checked(next(iter(sources.values()))))
    for faults in found:
        assert len(faults) == 1, faults
        assert REFUSED[case][name] in faults[0].hint
