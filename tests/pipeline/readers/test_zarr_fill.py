"""What a Zarr store declares missing: CF's `_FillValue`, and not the 0 that zarr takes for none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from pipeline.core.errors import Faults
from pipeline.entries.source import Source, Variable
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source

VARIABLES = {"rain": Variable(long_name="rain", units="mm/day")}
NAN = np.nan


def row(path: Path, **settings: Any) -> np.ndarray:
    """Return the canonical values of the northern row of a store without faults."""
    variable = {"name": "p", **settings.pop("variable", {})}
    source = Source.model_validate(
        {"name": "gauges", "uri": str(path), "driver": "zarr", "variables": {"rain": variable},
         **settings}
    )  # fmt: skip
    faults = Faults()
    check_source(source, faults, VARIABLES)
    assert not faults.faults
    return canonicalise(open_source(source), source, VARIABLES)["rain"].values[0]


def by_zarr(
    path: Path, form: int, stored: np.ndarray, attrs: dict[str, Any], fill: Any = 0
) -> Path:  # fmt: skip
    """Write a store as programs other than xarray do, all arrays with zarr's own fill value."""
    group = zarr.open_group(str(path), mode="w", zarr_format=form)
    arrays = {"lat": np.array([1.0, 0.0]), "lon": np.arange(stored.size) - 1.0,
              "p": np.stack([stored, stored])}  # fmt: skip
    for name, values in arrays.items():
        dims = ["lat", "lon"] if name == "p" else [name]
        named = {"dimension_names": dims} if form == 3 else {}
        array = group.create_array(
            name, shape=values.shape, dtype=values.dtype, fill_value=fill if name == "p" else 0,
            **named,
        )  # fmt: skip
        array[...] = values
        array.attrs.update({"_ARRAY_DIMENSIONS": dims} if form == 2 else {})
    group["p"].attrs.update({"units": "mm/day", **attrs})
    return path


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize(
    ("kind", "stored", "fill", "attrs", "values"),
    [
        ("f4", [0, 2.5, -9999], 0, {"_FillValue": -9999.0}, [0, 2.5, NAN]),
        ("f4", [0, 2.5, 7], 0, {}, [0, 2.5, 7]),
        ("i2", [0, 25, 7], 0, {"scale_factor": 0.1}, [0, 2.5, 0.7]),
        ("i2", [0, 25, -1], 0, {"scale_factor": 0.1, "_FillValue": -1}, [0, 2.5, NAN]),
        ("i2", [0, 25, -1], 0, {"scale_factor": 0.1, "_FillValue": [-1]}, [0, 2.5, NAN]),
        ("f8", [0, 2.5, 1e20], 1e20, {}, [0, 2.5, NAN]),
        ("f4", [0, 2.5, 1e20], 0, {"_FillValue": 1e20}, [0, 2.5, NAN]),
        ("f4", [0, 2.5, NAN], NAN, {}, [0, 2.5, NAN]),
        ("f4", [0, 2.5, NAN], 0, {"_FillValue": "NaN"}, [0, 2.5, NAN]),
        ("f4", [0, 2.5, -5], 0, {"missing_value": -5.0}, [0, 2.5, NAN]),
        ("i2", [0, 25, 7], 0, {"_FillValue": 0}, [NAN, 25, 7]),
        ("u1", [0, 25, 7], 0, {"_FillValue": "NaN"}, [0, 25, 7]),
    ],
)  # fmt: skip
def test_stores_of_other_programs(
    tmp_path: Path, form: int, kind: str, stored: list, fill: Any, attrs: dict, values: list
) -> None:
    path = by_zarr(tmp_path / "a", form, np.array(stored, kind), attrs, fill)
    np.testing.assert_allclose(row(path), values, rtol=1e-6)


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("fill", [NAN, -9999.0])
def test_stores_of_xarray(tmp_path: Path, form: int, fill: float) -> None:
    ds = xr.Dataset({"p": (("lat", "lon"), [[0.0, NAN, 3.0]] * 2, {"units": "mm/day"})},
                    {"lat": [1.0, 0.0], "lon": [-1.0, 0.0, 1.0]})  # fmt: skip
    packing = {"_FillValue": fill, "dtype": "float32"}
    ds.to_zarr(tmp_path / "a", zarr_format=form, consolidated=False, encoding={"p": packing})
    np.testing.assert_array_equal(row(tmp_path / "a"), [0, NAN, 3])


@pytest.mark.parametrize("form", [2, 3])
def test_an_entry_names_what_the_store_does_not(tmp_path: Path, form: int) -> None:
    path = by_zarr(tmp_path / "a", form, np.array([0, 5, -1], "i2"), {})
    np.testing.assert_array_equal(row(path, variable={"nodata": 0}), [NAN, 5, -1])
    path = by_zarr(tmp_path / "b", form, np.array([0, 5, -1], "f4"), {"_FillValue": 5.0}, 5.0)
    wrong = row(path, wrong_in_file=["nodata"], variable={"nodata": -1})
    np.testing.assert_array_equal(wrong, [0, 5, NAN])


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [(".zarray", "shape", "abc"), (".zarray", "chunks", [0, 2]),
     (".zarray", "filters", ["zlib"]), (".zattrs", "units", 5),
     (".zattrs", "_ARRAY_DIMENSIONS", 2.5), (".zattrs", "_ARRAY_DIMENSIONS", [-0.0, "lon"])],
)  # fmt: skip
def test_metadata_of_other_types_are_refused_or_of_no_effect(
    tmp_path: Path, file: str, key: str, value: Any
) -> None:
    path = tmp_path / "a.zarr"
    at = [0.5, 1.5]
    xr.Dataset({"p": (("lat", "lon"), np.ones((2, 2)))}, {"lat": at, "lon": at}).to_zarr(
        path, zarr_format=2, consolidated=False
    )
    metadata = json.loads((path / "p" / file).read_text())
    (path / "p" / file).write_text(json.dumps({**metadata, key: value}))
    source = Source.model_validate(
        {"name": "rain", "uri": str(path), "driver": "zarr",
         "variables": {"precipitation": {"name": "p", "units": "mm/day"}}}
    )  # fmt: skip
    faults = Faults()
    check_source(source, faults)
    assert key == "units" or str(path) in faults.faults[0].where
