"""ESA CCI land cover as the Climate Data Store delivers it: an archive with one NetCDF file."""

from __future__ import annotations

import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.fetch.listing import remote_files
from pipeline.fetch.order import make_order
from tests.pipeline.fetch.products import fast
from tests.products.common import cube, faults, same

NAME = "C3S-LC-L4-LCCS-Map-300m-P1Y-2022-v2.1.1.area-subset.41.2.39.1.nc"
VALUES = (0, 10, 11, 12, 20, 30, 40, 50, 60, 61, 62, 70, 71, 72, 80, 81, 82, 90, 100, 110, 120,
          121, 122, 130, 140, 150, 151, 152, 153, 160, 170, 180, 190, 200, 201, 202, 210,
          220)  # fmt: skip


def make_esa_cci_landcover(folder: Path, stored_as: str) -> None:
    """One archive; flag_values of the type that is stored, `_Unsigned` where it is int8."""
    codes = np.array([[[10, 11, 0, 0], [60, 61, 0, 0], [210, 210, 0, 190], [210, 62, 202, 200]]])
    attrs = {
        "standard_name": "land_cover_lccs", "long_name": "Land cover class defined in LCCS",
        "valid_min": 1, "valid_max": 220, "flag_values": np.array(VALUES, np.uint8).view(stored_as),
        "flag_meanings": "no_data " + " ".join(f"class_{value}" for value in VALUES[1:]),
        "ancillary_variables": "processed_flag current_pixel_state observation_count change_count",
    }  # fmt: skip
    if stored_as == "int8":
        attrs |= {"_Unsigned": "true"}
    cell = 1 / 360
    ds = xr.Dataset(
        {"lccs_class": (("time", "lat", "lon"), np.uint8(codes).view(stored_as), attrs),
         "processed_flag": (("time", "lat", "lon"), np.ones((1, 4, 4), np.int8)),
         "crs": ((), 0, {"wkt": "GEOGCS[\"WGS 84\"]", "i2m": f"{cell},0,0,-{cell},-180,90"})},
        {"time": ("time", [18993], {"units": "days since 1970-01-01", "calendar": "standard"}),
         "lat": ("lat", 41 - cell * (np.arange(4) + 0.5), {"units": "degrees_north"}),
         "lon": ("lon", 1 + cell * (np.arange(4) + 0.5), {"units": "degrees_east"})},
    )  # fmt: skip
    folder.mkdir(parents=True)
    ds.to_netcdf(folder / NAME)
    with zipfile.ZipFile(folder / "2022.zip", "w") as archive:
        archive.write(folder / NAME, NAME)
    (folder / NAME).unlink()


@pytest.mark.parametrize("stored_as", ["uint8", "int8"])
def test_fractions_with_regional_classes_in_their_tens(stored_as: str, tmp_path: Path) -> None:
    make_esa_cci_landcover(tmp_path / "esa_cci_landcover", stored_as)
    found = cube("esa_cci_landcover", tmp_path, (1, 41 - 1 / 90, 1 + 1 / 90, 41), 1 / 180)
    assert "time" not in found.dims
    part = {name: found[f"landcover_fraction_{name}"] for name in
            ("cropland_rainfed", "tree_broadleaved_deciduous", "water", "urban",
             "bare_areas")}  # fmt: skip
    nan = np.nan
    same(part["cropland_rainfed"], [[0.5, nan], [0, 0]], rtol=1e-3)
    same(part["tree_broadleaved_deciduous"], [[0.5, nan], [0.25, 0]], rtol=1e-3)
    same(part["water"], [[0, nan], [0.75, 0]], rtol=1e-3)
    # Three of four cells have a class in the southeast.
    same(part["urban"], [[0, nan], [0, 1 / 3]], rtol=1e-3)
    same(part["bare_areas"], [[0, nan], [0, 2 / 3]], rtol=1e-3)
    assert not faults("esa_cci_landcover", tmp_path)


def test_the_request_names_a_year_without_months_and_days(tmp_path: Path) -> None:
    order = make_order("esa_cci_landcover", tmp_path, bounds=(1, 39, 2, 41),
                       period=(date(2022, 1, 1), date(2022, 12, 31)))  # fmt: skip
    (file,) = remote_files(order, fast())
    assert file.path == tmp_path / "esa_cci_landcover" / "2022.zip"
    assert file.inputs == {
        "variable": "all", "version": ["v2_1_1"], "year": ["2022"], "area": [41, 1, 39, 2]
    }  # fmt: skip
