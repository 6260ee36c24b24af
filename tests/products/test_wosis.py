"""WoSIS 2023 as at ISRIC: a table of layers for each property, values as lists in braces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.sites import sites, text

COLUMNS = ("country_name", "profile_id", "longitude", "latitude", "layer_id", "upper_depth",
           "lower_depth", "litter", "value", "value_avg", "positional_uncertainty")  # fmt: skip
LAYERS = {
    # profile: longitude, latitude and layers of (upper, lower, sand, silt, clay)
    "71": (20.25, 10.5, [(0, 10, 60, 30, 10), (10, 50, 30, 40, 30)]),
    "90": (-60.0, -5.0, [(5, 0, 1, 1, 1), (0, 40, 50, 30, 20)]),  # litter above the soil
    "91": (7.5, 51.0, [(0, 20, 50, 30, 20), (10, 30, 50, 30, 20)]),  # layers overlap
    "92": (8.5, 52.0, [(0, 30, 50, 30, 50)]),  # 130 %
    "93": (9.5, 53.0, [(0, 10, 20, 60, 20)]),  # a third of the interval
}


def make_wosis(folder: Path) -> None:
    for column, name in enumerate(("sand", "silt", "clay"), start=2):
        rows = ["\t".join(COLUMNS)]
        for profile, (lon, lat, layers) in LAYERS.items():
            for number, layer in enumerate(layers):
                value = layer[column]
                rows.append("\t".join(map(str, (
                    '"Côte d\'Ivoire"', profile, lon, lat, f"{profile}{number}", *layer[:2], "f",
                    f'"{{{value - 1},{value + 1}}}"', value, "100 m - 1 km"))))  # fmt: skip
        text(folder / f"wosis_202312_{name}.tsv", "\n".join(rows) + "\n")


def test_layers_of_three_tables_are_means_of_the_topsoil(tmp_path: Path) -> None:
    make_wosis(tmp_path / "wosis" / "WoSIS_2023_December")
    found = sites("wosis", tmp_path)
    assert found["site"].values.tolist() == ["71", "90"]
    assert found.attrs["left_out_faulty"] == 2
    assert found.attrs["left_out_profiles"] == 1
    # 10 cm of the first layer of profile 71, and 20 cm of the second.
    np.testing.assert_allclose(found["sand"], [0.4, 0.5], rtol=1e-6)
    np.testing.assert_allclose(found["silt"], [(30 * 10 + 40 * 20) / 3000, 0.3], rtol=1e-6)
    np.testing.assert_allclose(found["clay"], [(10 * 10 + 30 * 20) / 3000, 0.2], rtol=1e-6)
    np.testing.assert_allclose(found["lon"], [20.25, -60])
