"""All peculiarities of the global case's data, at sites whose values are known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import xarray as xr

from pipeline.catalog.catalog import Catalog, read_catalog, read_variables
from pipeline.core.errors import Faults
from pipeline.sites.regions import region_labels
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source
from tests.conftest import REGISTRY, ROOT

pytestmark = pytest.mark.registry
SITES = {
    "Sahara": (10.0, 23.0), "Manaus": (-60.0, -3.0), "India": (78.75, 22.0),
    "Moscow": (37.6, 55.8), "California": (-121.0, 38.0), "Lhasa": (91.1, 29.6),
    "Phoenix": (-112.0, 33.4), "Seattle": (-122.3, 47.5), "Kansas": (-98.0, 38.5),
}  # fmt: skip


@cache
def catalog() -> Catalog:
    return read_catalog([ROOT / "catalogs" / "quickstart.yml"], {"data": REGISTRY})


def at(name: str, site: str) -> np.ndarray:
    lon, lat = SITES[site]
    source = catalog()[name]
    window = (lon - 2, lat - 2, lon + 2, lat + 2)
    ds = canonicalise(open_source(source, window), source, read_variables())
    return ds[name].sel(x=lon, y=lat, method="nearest").values


def test_every_entry_agrees_with_its_files() -> None:
    faults = Faults()
    for source in catalog().sources.values():
        check_source(source, faults)
    assert not faults.faults


def test_precipitation_is_the_right_way_up_and_per_day() -> None:
    days = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    for site, year in {"Phoenix": 205, "Manaus": 2372, "Seattle": 953, "Sahara": 20}.items():
        assert (at("precipitation", site) * days).sum() == pytest.approx(year, rel=0.15, abs=8)
    january, july = at("precipitation", "Manaus")[[0, 6]]
    assert january > 3 * july


def test_temperature_is_celsius_and_its_seasons_northern() -> None:
    moscow = at("air_temperature", "Moscow")
    assert moscow.argmax() == 6
    assert -12 < moscow[0] < -4
    assert at("air_temperature", "Lhasa").mean() < at("air_temperature", "India").mean() - 10


def test_padding_and_repeated_meridians_are_gone() -> None:
    for name in ("precipitation", "air_temperature"):
        source = catalog()[name]
        ds = canonicalise(open_source(source), source, read_variables())
        x, y = ds["x"].values, ds["y"].values
        assert len(np.unique(x)) == x.size
        assert -180 <= x.min() < x.max() < 180
        assert abs(y).max() <= 90
        assert (np.diff(y) < 0).all()


def test_shortwave_is_the_mean_of_its_distribution() -> None:
    arizona = at("shortwave_radiation", "Phoenix")
    assert arizona[0] == pytest.approx(152, abs=12)
    assert arizona[5] == pytest.approx(354, abs=12)


def test_the_undeclared_fill_is_missing() -> None:
    source = catalog()["soil_moisture"]
    da = canonicalise(open_source(source), source, read_variables())["soil_moisture"]
    assert float(da.max()) < 0.5
    assert 0.5 < float(da.isnull().mean()) < 0.6


def test_the_dealt_out_months_of_soil_moisture_make_one_smooth_year() -> None:
    india = at("soil_moisture", "India")
    assert 6 <= india.argmax() <= 8
    assert 2 <= india.argmin() <= 4
    california = at("soil_moisture", "California")
    assert california.argmax() in (0, 1, 2)
    assert california.argmin() in (6, 7, 8)
    source = catalog()["soil_moisture"]
    da = canonicalise(open_source(source), source, read_variables())["soil_moisture"].values
    raw = xr.open_dataset(source.files[0], decode_times=False)["swl1"].values
    raw = np.where(raw > 1e30, np.nan, raw)

    def roughness(values: np.ndarray) -> float:
        return float(np.nanmean(np.abs(values - np.roll(values, 1, axis=0))))

    assert roughness(da) < 0.6 * roughness(raw)


def test_snow_lies_in_moscow_in_winter_alone() -> None:
    moscow = at("snow_amount", "Moscow")
    assert moscow[1] > 50
    assert moscow[6] == 0
    assert at("snow_amount", "Sahara").max() < 0.01


def test_classes_are_where_they_are() -> None:
    landcover = list(catalog()["landcover"].classes)
    assert landcover[int(at("landcover", "Sahara"))] == "barren"
    assert landcover[int(at("landcover", "Kansas"))] in ("cropland", "grassland")
    koppen = list(catalog()["koppen"].classes)
    expected = {"Manaus": "tropical", "Phoenix": "arid", "Seattle": "temperate",
                "Moscow": "continental"}  # fmt: skip
    assert {site: koppen[int(at("koppen", site))] for site in expected} == expected


def test_scales_and_nodata_that_the_tags_have_wrong() -> None:
    assert 0 < at("fapar_max", "Manaus") <= 1
    assert at("ndvi_max", "Sahara") < 0.2 < at("ndvi_max", "Manaus")
    assert 0 <= at("c4_fraction", "Kansas") <= 1
    assert at("elevation", "Lhasa") > 3500


def test_a_window_has_the_values_of_the_whole_across_the_antimeridian() -> None:
    source = catalog()["air_temperature"]
    whole = canonicalise(open_source(source), source, read_variables())["air_temperature"]
    part = canonicalise(open_source(source, (175.0, -45.0, 190.0, -30.0)), source, read_variables())
    for lon in (176.0, 179.9, -179.5, -171.0):
        expected = whole.sel(x=lon, y=-40.0, method="nearest").values
        found = part["air_temperature"].sel(x=lon, y=-40.0, method="nearest").values
        np.testing.assert_array_equal(found, expected)


def test_continents_of_sites_on_land_and_off_shore() -> None:
    lon = np.array([10.0, -60.0, 78.75, 37.6, -98.0, -90.0, 151.5])
    lat = np.array([23.0, -3.0, 22.0, 55.8, 38.5, 28.9, -34.0])
    labels = region_labels(lon, lat, catalog()["continents"], "continent")
    assert labels.tolist() == ["Africa", "South America", "Asia", "Europe", "North America",
                               "North America", "Oceania"]  # fmt: skip
