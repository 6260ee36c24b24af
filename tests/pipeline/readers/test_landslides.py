"""Landslide inventories in the format of COOLR: the events that are used, and errors."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.cube.locations import write_locations
from pipeline.entries.source import Source
from pipeline.sources.locations import read_locations_source
from pipeline.sources.open import check_source

CSV = """source_name,event_id,event_date,event_title,location_accuracy,landslide_trigger,\
fatality_count,longitude,latitude
AGU,684,08/01/2008 12:00:00 AM,"Sigou Village, Loufan",exact,rain,11,107.45,32.5625
Oregonian,956,01/02/2009 02:00:00 AM,"Lake Oswego, Oregon",5km,downpour,,-122.663,45.42
CBS,973,01/19/2007 12:00:00 AM,San Ramon,10km,downpour,10,-75.3587,-11.1295
Reuters,1067,07/31/2009 12:00:00 AM,Dailekh,unknown,monsoon,1,81.708,28.8378
AGU,2603,10/16/2010 12:00:00 PM,Hitaddunga,1km,earthquake,0,123.449,10.3336
"""


def source(path: Path, **changes: object) -> Source:
    return Source.model_validate(
        {"name": "l", "uri": str(path), "driver": "landslides", "cell": "event_id",
         "lat": "latitude", "lon": "longitude", "dims": {"time": "event_date"},
         "variables": {"landslide": {"name": "event"}}, **changes}
    )  # fmt: skip


def written(folder: Path, text: str = CSV) -> Path:
    path = folder / "events.csv"
    path.write_text(text)
    return path


def packaged(folder: Path) -> Path:
    """Write the same events as a GeoPackage of points in another CRS."""
    table = pd.read_csv(written(folder))
    points = geopandas.points_from_xy(table["longitude"], table["latitude"], crs="EPSG:4326")
    frame = geopandas.GeoDataFrame(table.drop(columns=["longitude", "latitude"]), geometry=points)
    frame.to_crs("EPSG:3857").to_file(folder / "events.gpkg", layer="coolr", driver="GPKG")
    return folder / "events.gpkg"


@pytest.mark.parametrize("write", [written, packaged])
def test_events_whose_location_is_accurate_enough(tmp_path: Path, write) -> None:
    entry, faults = source(write(tmp_path)), Faults()
    check_source(entry, faults, read_variables())
    assert not faults.faults
    ds = read_locations_source(entry, read_variables())
    assert ds["cell"].values.tolist() == [684, 956, 2603]
    assert ds["landslide"].values.tolist() == [1, 1, 1]
    np.testing.assert_allclose(ds["lat"], [32.5625, 45.42, 10.3336])
    np.testing.assert_allclose(ds["lon"], [107.45, -122.663, 123.449])
    days = ds["event_date"].values.astype("datetime64[D]").astype(str).tolist()
    assert days == ["2008-08-01", "2009-01-02", "2010-10-16"]
    assert ds.attrs == {"left_out_inaccurate": 2, "left_out_other_trigger": 0,
                        "left_out_undated": 0}  # fmt: skip


def test_the_store_of_locations_keeps_the_dates(tmp_path: Path) -> None:
    entry = source(written(tmp_path))
    ds = read_locations_source(entry, read_variables())
    write_locations(tmp_path / "l.zarr", ds)
    with xr.open_zarr(tmp_path / "l.zarr") as stored:
        np.testing.assert_array_equal(stored["event_date"], ds["event_date"])
        assert stored.attrs["left_out_inaccurate"] == 2


def test_accuracy_triggers_and_dates_are_chosen(tmp_path: Path) -> None:
    options = {"max_accuracy_km": 10, "triggers": ["downpour", "rain"], "undated": "leave_out"}
    path = written(tmp_path, CSV.replace("01/02/2009 02:00:00 AM", ""))
    ds = read_locations_source(source(path, options=options), read_variables())
    assert ds["cell"].values.tolist() == [684, 973]
    assert ds.attrs == {"left_out_inaccurate": 1, "left_out_other_trigger": 2,
                        "left_out_undated": 1}  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("01/02/2009 02:00:00 AM", "", r"no date of events, 1 \(956\).*undated: leave_out"),
        ("01/02/2009 02:00:00 AM", "some day", r'"some day" at events, 1 \(956\)'),
        (",956,", ",684,", r"duplicate events, 1 \(684\)"),
        (",5km,", ",near,", r"accuracies 1 \(near\)"),
        (",32.5625", ",132.5625", r"lat: found no degrees at sites, 1 \(684\)"),
        ("landslide_trigger", "trigger", 'a column "landslide_trigger"'),
    ],
)
def test_bad_events_get_one_clear_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in CSV
    with pytest.raises(InputError, match=message):
        read_locations_source(source(written(tmp_path, CSV.replace(old, new))), read_variables())


def test_faults_are_reported_together_and_triggers_must_exist(tmp_path: Path) -> None:
    path = written(tmp_path, CSV.replace(",956,", ",684,").replace(",5km,", ",near,"))
    with pytest.raises(InputError) as caught:
        read_locations_source(source(path, options={"triggers": ["rian"]}), read_variables())
    assert len(caught.value.faults) == 3
    assert 'Did you mean "rain"' in str(caught.value)
    entry = source(written(tmp_path), options={"triggers": ["monsoon"]})
    with pytest.raises(InputError, match="no site"):
        read_locations_source(entry, read_variables())


def test_dates_whose_order_is_unclear_need_a_format(tmp_path: Path) -> None:
    head = "event_id,event_date,location_accuracy,landslide_trigger,longitude,latitude\n"
    path = tmp_path / "events.csv"
    path.write_text(head + "7,03.02.2001,exact,rain,1,2\n8,04.02.2001 06:00,exact,rain,2,2\n")
    with pytest.raises(
        InputError, match=r'"03\.02\.2001" of event 7 and "04\.02\.2001 06:00" of ev'
    ):
        read_locations_source(source(path), read_variables())
    path.write_text(head + "7,03.02.2001,exact,rain,1,2\n8,04.02.2001,exact,rain,2,2\n")
    entry = source(path, options={"date_format": "%d.%m.%Y"})
    found = read_locations_source(entry, read_variables())["event_date"].values
    assert found.astype("datetime64[D]").astype(str).tolist() == ["2001-02-03", "2001-02-04"]


def test_dates_with_time_zones_become_utc(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    head = "event_id,event_date,location_accuracy,landslide_trigger,longitude,latitude\n"
    dates = (
        "2008-01-01T00:30:00+01:00",
        "2008-01-01T22:00:00-05:00",
        "2008-01-01",
        "2008-01-01T00:00:00Z",
    )
    path.write_text(head + "".join(f"{i},{day},exact,rain,{i},2\n" for i, day in enumerate(dates)))
    found = read_locations_source(source(path), read_variables())["event_date"].values
    assert np.datetime_as_string(found, "m").tolist() == [
        "2007-12-31T23:30", "2008-01-02T03:00", "2008-01-01T00:00", "2008-01-01T00:00",
    ]  # fmt: skip
