"""Where the scored sites lie."""

from __future__ import annotations

import numpy as np
import xarray as xr

from workflows.score_sites import mean_place, places_of


def test_the_mean_across_the_antimeridian_is_not_on_the_other_side() -> None:
    lon, lat = mean_place(np.array([179.0, -179.0]), np.array([10.0, 10.0]))
    assert abs(abs(lon) - 180) < 1e-9
    assert abs(lat - 10) < 0.01


def test_a_site_lies_amid_its_cells() -> None:
    table = xr.Dataset(
        coords={
            "site": ("cell", [3, 3, 7]),
            "lon": ("cell", [10.0, 12.0, -50.0]),
            "lat": ("cell", [0.0, 0.0, 40.0]),
        }
    )
    lon, lat = places_of(table, np.array([7, 3]))
    np.testing.assert_allclose(lon, [-50, 11])
    np.testing.assert_allclose(lat, [40, 0], atol=1e-12)
