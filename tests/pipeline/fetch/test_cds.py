"""Requests to a climate data store: queued, waited for, fetched, and continued."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.fetch import cds
from pipeline.fetch import client as clients
from pipeline.fetch.run import fetch, preview
from tests.pipeline.fetch.products import fast, ordered
from tests.providers import DataStore, File, provider

CONTENT = b"\x89HDF" + bytes(range(256)) * 4000
MONTH = (date(2001, 2, 5), date(2001, 2, 6))
GET: dict[str, Any] = {
    "kind": "cds", "dataset": "land", "to": "rain/rain_{year}_{month:02d}.nc",
    "request": {"data_format": "netcdf"}, "hourly": True,
    "variables": {"precipitation": "total_precipitation"},
}  # fmt: skip
PATH = "/api/retrieve/v1/processes/land/execution"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[DataStore]:
    monkeypatch.setattr(cds, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(clients, "FIRST_PAUSE", 0.001)
    with provider() as server:
        found = DataStore(server, CONTENT)
        monkeypatch.setenv("CDSAPI_URL", found.url)
        monkeypatch.setenv("CDSAPI_KEY", found.key)
        yield found


def test_a_job_is_waited_for_and_its_result_fetched(store: DataStore, tmp_path: Path) -> None:
    order = ordered(tmp_path, GET, period=MONTH, bounds=(-90.0, 30.0, -70.0, 45.0))
    (record,) = fetch(order, fast())
    assert (order.home / "rain_2001_02.nc").read_bytes() == CONTENT
    (submitted,) = store.provider.of(PATH, "POST")
    inputs = submitted.document["inputs"]
    # The whole month, whatever the period, so that the file is the same for any.
    assert (inputs["year"], inputs["month"], len(inputs["day"])) == (["2001"], ["02"], 28)
    assert inputs["variable"] == ["total_precipitation"]
    assert inputs["area"] == [45.0, -90.0, 30.0, -70.0]
    assert inputs["data_format"] == "netcdf"
    assert inputs["time"][::23] == ["00:00", "23:00"]
    assert record.address.endswith("/processes/land/execution")
    assert sorted(path.name for path in order.home.iterdir()) == [
        "fetched.jsonl", "rain_2001_02.nc"
    ]  # fmt: skip
    assert fetch(order, fast()) == []
    assert len(store.jobs) == 1


def test_other_bounds_are_another_file(store: DataStore, tmp_path: Path) -> None:
    fetch(ordered(tmp_path, GET, period=MONTH), fast())
    with pytest.raises(InputError, match="other bounds, variables"):
        fetch(ordered(tmp_path, GET, period=MONTH, bounds=(0.0, 0.0, 1.0, 1.0)), fast())


def test_an_interrupted_wait_goes_on_with_the_same_job(store: DataStore, tmp_path: Path) -> None:
    order = ordered(tmp_path, GET, period=MONTH)
    store.states = ("running",)
    client = fast()
    pauses = iter([None, KeyboardInterrupt])

    def pause(seconds: float) -> None:
        if next(pauses):
            client.stop()
            raise clients.StoppedError

    client.pause = pause  # type: ignore[method-assign]
    client.take_turn = lambda host: None  # type: ignore[method-assign]
    with pytest.raises(clients.StoppedError):
        fetch(order, client)
    assert len(store.jobs) == 1
    store.states = ("running", "successful")
    fetch(order, fast())
    assert len(store.jobs) == 1
    assert (order.home / "rain_2001_02.nc").read_bytes() == CONTENT


def test_a_job_that_the_store_forgot_is_submitted_again(store: DataStore, tmp_path: Path) -> None:
    order = ordered(tmp_path, GET, period=MONTH)
    store.file = File(CONTENT, ["503"] * 6)
    with pytest.raises(InputError, match="503"):
        fetch(order, fast())
    assert len(store.jobs) == 1
    store.jobs = {"job-other": 0}
    fetch(order, fast())
    assert len(store.jobs) == 2
    assert (order.home / "rain_2001_02.nc").read_bytes() == CONTENT


def test_a_broken_download_of_the_result_continues(store: DataStore, tmp_path: Path) -> None:
    store.file = File(CONTENT, ["reset 700000"])
    order = ordered(tmp_path, GET, period=MONTH)
    fetch(order, fast())
    assert (order.home / "rain_2001_02.nc").read_bytes() == CONTENT
    assert store.provider.of("/cache/result.nc")[-1].start > 0


@pytest.mark.parametrize("state", ["failed", "rejected", "dismissed"])
def test_a_job_that_fails_is_reported_with_its_reason(
    state: str, store: DataStore, tmp_path: Path
) -> None:
    store.states = ("accepted", state)
    store.failure = {"title": "processing failed", "traceback": "MARS has no\ndata for these days"}
    with pytest.raises(InputError) as caught:
        fetch(ordered(tmp_path, GET, period=MONTH), fast())
    assert f"the status {state}" in str(caught.value)
    assert "MARS has no data for these days" in str(caught.value)
    store.states, store.failure = ("successful",), {}
    fetch(ordered(tmp_path, GET, period=MONTH), fast())
    assert len(store.jobs) == 2


def test_a_request_that_the_store_refuses_is_reported(store: DataStore, tmp_path: Path) -> None:
    bad = {**GET, "variables": {"precipitation": "bad"}}
    with pytest.raises(InputError, match="not produced a valid combination of values"):
        fetch(ordered(tmp_path, bad, period=MONTH), fast())


def test_a_wrong_key_is_one_error_with_what_to_do(
    store: DataStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDSAPI_KEY", "stolen")
    with pytest.raises(InputError) as caught:
        fetch(ordered(tmp_path, GET), fast())
    assert len(caught.value.faults) == 1
    assert "operation not allowed" in str(caught.value)
    assert ".cdsapirc" in str(caught.value)
    assert "stolen" not in str(caught.value)


def test_a_preview_asks_the_store_for_nothing(
    store: DataStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ordered(tmp_path, GET)
    found = preview(order, fast())
    assert (found.requests, found.size, found.has) == (36, None, True)
    monkeypatch.delenv("CDSAPI_KEY")
    monkeypatch.setenv("CDSAPI_RC", str(tmp_path / "none"))
    assert not preview(order, fast()).has
    with pytest.raises(InputError, match="no credentials"):
        fetch(order, fast())
    assert not store.provider.asked
