"""Several GRIB messages of one time: refused with their keys, unless the entry names one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.readers.grib import _check_messages
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source

eccodes = pytest.importorskip("eccodes")
pytest.importorskip("cfgrib")

GRID = {
    "Ni": 4, "Nj": 3, "latitudeOfFirstGridPointInDegrees": 50, "dataDate": 20010101,
    "latitudeOfLastGridPointInDegrees": 48, "longitudeOfFirstGridPointInDegrees": 0,
    "longitudeOfLastGridPointInDegrees": 3, "iDirectionIncrementInDegrees": 1,
    "jDirectionIncrementInDegrees": 1, "shortName": "2t", "dataTime": 0,
}  # fmt: skip


def write(path: Path, *messages: dict[str, Any], edition: int = 1) -> None:
    """GRIB messages of uniform fields of the `value` of each, at 2001-01-01."""
    with path.open("wb") as file:
        for keys in messages:
            message = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
            for key, value in (GRID | keys).items():
                if key != "value":
                    eccodes.codes_set(message, key, value)
            eccodes.codes_set_values(message, np.full(12, float(keys["value"])))
            eccodes.codes_write(message, file)
            eccodes.codes_release(message)


def source(path: Path, **keys: Any) -> Source:
    options = {"filter_by_keys": keys} if keys else {}
    return Source.model_validate(
        {"name": "era5", "uri": str(path), "driver": "grib", "options": options,
         "variables": {"air_temperature": {"name": "t2m"}}}
    )  # fmt: skip


def faults_of(one: Source) -> str:
    faults = Faults()
    check_source(one, faults)
    return str(InputError(faults.faults))


FINAL = {"experimentVersionNumber": "0001", "value": 280}
EARLY = {"experimentVersionNumber": "0005", "value": 290}


@pytest.mark.parametrize("messages", [(FINAL, EARLY), (EARLY, FINAL)])
def test_final_and_preliminary_messages_of_one_time_are_refused(
    tmp_path: Path, messages: tuple[dict[str, Any], ...]
) -> None:
    path = tmp_path / "a.grib"
    write(path, *messages, {**FINAL, "dataDate": 20010102})
    text = faults_of(source(path))
    assert "2 messages of t2m at 2001-01-01T00:00, which differ in experimentVersionNumber" in text
    assert "filter_by_keys" in text
    with pytest.raises(InputError, match="one message of each time"):
        open_source(source(path))


def test_the_named_message_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.grib"
    write(path, FINAL, EARLY)
    for number, celsius in (("0001", 6.85), ("0005", 16.85)):
        one = source(path, experimentVersionNumber=number)
        assert faults_of(one) == ""
        ds = canonicalise(open_source(one), one, read_variables())
        np.testing.assert_allclose(ds["air_temperature"], celsius, atol=0.01)


def test_an_analysis_and_a_forecast_of_its_time_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.grib"
    forecast = {"dataDate": 20001231, "stepRange": "24", "dataType": "fc", "value": 285}
    write(path, {"dataType": "an", "value": 280}, forecast, edition=2)
    text = faults_of(source(path))
    assert "dataType: an, fc" in text
    assert "dataDate: 20010101, 20001231" in text
    assert 'stepRange: "0", "24"' in text
    assert faults_of(source(path, dataType="an")) == ""


def test_copies_of_one_message_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.grib"
    write(path, FINAL, FINAL)
    assert "2 messages of t2m at 2001-01-01T00:00, which have the same keys" in faults_of(
        source(path)
    )


def test_other_variables_may_repeat_messages(tmp_path: Path) -> None:
    path = tmp_path / "a.grib"
    write(path, FINAL, {"shortName": "sp", "value": 1e5}, {"shortName": "sp", "value": 9e4})
    assert faults_of(source(path)) == ""


def test_the_valid_time_is_the_end_of_a_time_range(tmp_path: Path) -> None:
    rain = [{"shortName": "tp", "stepType": "accum", "stepRange": "0-24", "value": day * 1e-3,
             "dataDate": 20010100 + day} for day in (1, 2, 3)]  # fmt: skip
    write(tmp_path / "rain.grib", *rain)
    entry = {"name": "fc", "uri": str(tmp_path / "rain.grib"), "driver": "grib",
             "variables": {"precipitation": {"name": "tp"}}}  # fmt: skip
    known = read_variables()

    def dated(**time: Any) -> dict[str, float]:
        one = Source.model_validate({**entry, "time": time})
        found = canonicalise(open_source(one), one, known)["precipitation"]
        days = found["time"].values.astype("M8[D]").astype(str).tolist()
        return dict(zip(days, found.values[:, 0, 0].round(3).tolist(), strict=True))

    assert dated() == {"2001-01-01": 1.0, "2001-01-02": 2.0, "2001-01-03": 3.0}
    assert dated(stamp="end") == dated()
    assert list(dated(stamp="start")) == ["2001-01-02", "2001-01-03", "2001-01-04"]
    with pytest.raises(InputError, match="`stamp: end` reads the file after the period too"):
        dated(period=["2001-01-01", "2001-01-04"])


SAMPLES = ("regular_ll_sfc_grib1", "regular_ll_sfc_grib2", "reduced_gg_sfc_grib1",
           "reduced_gg_sfc_grib2", "polar_stereographic_sfc_grib2", "sh_sfc_grib2")  # fmt: skip


def _sample(path: Path, name: str, bits: int = 12, **keys: int) -> None:
    """A message of one of ecCodes' samples, with `keys` set afterwards as damage would."""
    message = eccodes.codes_grib_new_from_samples(name)
    if bits:
        count = eccodes.codes_get(message, "numberOfDataPoints")
        eccodes.codes_set(message, "bitsPerValue", bits)
        eccodes.codes_set_values(message, np.linspace(280, 290, count))
    for key, value in keys.items():
        eccodes.codes_set(message, key, value)
    path.write_bytes(eccodes.codes_get_message(message))
    eccodes.codes_release(message)


@pytest.mark.parametrize("bits", [0, 1, 7, 12])
@pytest.mark.parametrize("name", SAMPLES)
def test_messages_of_all_grids_have_possible_counts(tmp_path: Path, name: str, bits: int) -> None:
    _sample(tmp_path / "a.grib", name, 0 if name.startswith("sh") else bits)
    _check_messages(tmp_path / "a.grib")


@pytest.mark.parametrize(
    ("edition", "bits", "keys", "found"),
    [
        (2, 12, {"Ni": 4_000_000}, "4,000,000 x 31 points, but the number of points 496"),
        (2, 12, {"numberOfDataPoints": 400}, "16 x 31 points, but the number of points 400"),
        (2, 12, {"numberOfValues": 400}, "400 values of 496 points"),
        (
            2,
            0,
            {"Ni": 60_000, "Nj": 60_000, "numberOfDataPoints": 3_600_000_000},
            "3,600,000,000 points, which take 26.8 GiB",
        ),
        # ecCodes ends the process here.
        (1, 12, {"Ni": 60_000, "Nj": 60_000}, "3,600,000,000 points, which take 26.8 GiB"),
        (1, 12, {"Ni": 17}, "496 values of 527 points"),
        (1, 12, {"Nj": 10}, "496 values of 160 points"),
    ],
)
def test_impossible_counts_are_refused_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edition: int, bits: int,
    keys: dict[str, int], found: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 30))
    _sample(tmp_path / "a.grib", f"regular_ll_sfc_grib{edition}", bits, **keys)
    assert f"message 1 has {found}" in faults_of(source(tmp_path / "a.grib"))
