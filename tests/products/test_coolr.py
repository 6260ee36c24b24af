"""NASA's landslide reports as exported: Latin-1, ids with commas, American dates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.products.sites import sites, text

COLUMNS = (
    "source_name,source_link,event_id,event_date,event_time,event_title,location_accuracy,"
    "landslide_category,landslide_trigger,fatality_count,country_name,longitude,latitude"
)
ROWS = """AGU,,684,08/01/2008 12:00:00 AM,,"Sigou Village, Loufan",exact,landslide,rain,11,China,107.45,32.5625
El País,,"1,000",01/12/2009 11:30:00 PM,,São Paulo,5km,mudslide,downpour,,Brazil,-46.6,-23.5
CBS,,"12,345",01/19/2007 12:00:00 AM,,San Ramón,10km,mudslide,downpour,"1,100",Peru,-75.3587,-11.1295
Reuters,,1067,07/31/2009 12:00:00 AM,,Dailekh,unknown,landslide,monsoon,1,Nepal,81.708,28.8378
AGU,,2603,,,Hitaddunga,1km,landslide,earthquake,0,Philippines,123.449,10.3336
"""  # noqa: E501


def make_coolr(path: Path, encoding: str) -> None:
    text(path, f"{COLUMNS}\n{ROWS}", encoding)


@pytest.mark.parametrize(
    ("source", "file", "encoding"),
    [("coolr", "Global_Landslide_Catalog_Export_rows.csv", "latin-1"),
     ("coolr_reports", "nasa_coolr_reports_point.csv", "utf-8")],
)  # fmt: skip
def test_events_that_are_located_and_dated(
    source: str, file: str, encoding: str, tmp_path: Path
) -> None:
    make_coolr(tmp_path / "coolr" / file, encoding)
    found = sites("coolr", tmp_path, source)
    assert found["site"].values.tolist() == ["684", "1000"]
    assert found["landslide"].values.tolist() == [1, 1]
    # The first number is the month.
    assert [str(day)[:10] for day in found["event_date"].values] == ["2008-08-01", "2009-01-12"]
    np.testing.assert_allclose(found["lat"], [32.5625, -23.5])
    assert found.attrs["left_out_inaccurate"] == 2
    assert found.attrs["left_out_undated"] == 1
