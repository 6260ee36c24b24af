"""Credentials go to the hosts that they belong to, through redirects, and to no other."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.fetch.credentials import Credentials
from pipeline.fetch.run import fetch, preview
from tests.pipeline.fetch.products import fast, ordered
from tests.providers import PAGE, Asked, File, Provider, provider

CONTENT = b"\x89HDF" + bytes(5000)
USER = "Basic " + base64.b64encode(b"me:pass word").decode()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without credentials."""
    for name in ("EARTHDATA_TOKEN", "CDSAPI_URL", "CDSAPI_KEY", "CDSAPI_RC", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def log_in(home: Path, host: str) -> None:
    (home / ".netrc").write_text(f'machine {host}\nlogin me\npassword "pass word"\n')


class Earthdata:
    """An archive, the login to which it redirects, and the bucket from which it sends files.

    They are told apart by the names of this machine: 127.0.0.1 and localhost.
    """

    def __init__(self, archive: Provider, login: Provider, bucket: Provider) -> None:
        self.archive, self.login, self.bucket = archive, login, bucket
        self.login_url = login.url.replace("127.0.0.1", "localhost")
        archive.routes = {"/rain.nc": self.send, "/callback": self.let_in}
        login.routes = {"/oauth/authorize": self.authorise}
        bucket.routes = {"/signed/rain.nc": File(CONTENT)}

    @property
    def credentials(self) -> Credentials:
        hosts = (self.archive.host,)
        return Credentials(self.login_url.removeprefix("http://"), hosts)

    def send(self, asked: Asked) -> None:
        bearer = asked.headers.get("Authorization") == "Bearer good"
        if bearer or "session=open" in asked.headers.get("Cookie", ""):
            return asked.answer.send(302, Location=f"{self.bucket.url}/signed/rain.nc?sign=1")
        return asked.answer.send(302, Location=f"{self.login_url}/oauth/authorize?app=1")

    def authorise(self, asked: Asked) -> None:
        sent = asked.headers.get("Authorization")
        if sent is None:
            return asked.answer.send(200, PAGE, Content_Type="text/html")
        if sent != USER:
            return asked.answer.document({"error": "invalid_credentials"}, 401)
        return asked.answer.send(302, Location=f"{self.archive.url}/callback?code=1")

    def let_in(self, asked: Asked) -> None:
        asked.answer.send(302, Location="/rain.nc", Set_Cookie="session=open; Path=/")

    def fetched(self, folder: Path) -> bytes:
        get = {"kind": "http", "files": f"{self.archive.url}/rain.nc", "auth": "earthdata"}
        order = ordered(folder, get, static=True)
        fetch(order, fast(credentials=self.credentials))
        return (order.home / "rain.nc").read_bytes()


@pytest.fixture
def earthdata():
    with provider() as archive, provider() as login, provider() as bucket:
        yield Earthdata(archive, login, bucket)


def authorised(server: Provider) -> set[str | None]:
    return {asked.headers.get("Authorization") for asked in server.asked}


def test_a_user_of_netrc_logs_in_at_the_login_alone(earthdata: Earthdata, home: Path) -> None:
    log_in(home, earthdata.login_url.removeprefix("http://").partition(":")[0])
    assert earthdata.fetched(home) == CONTENT
    assert authorised(earthdata.login) == {USER}
    assert authorised(earthdata.archive) == {None}
    assert authorised(earthdata.bucket) == {None}


def test_a_token_goes_to_the_archive_but_not_to_its_bucket(
    earthdata: Earthdata, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "good")
    assert earthdata.fetched(home) == CONTENT
    assert authorised(earthdata.archive) == {"Bearer good"}
    assert authorised(earthdata.bucket) == {None}
    assert not earthdata.login.asked


def test_without_credentials_nothing_is_asked(earthdata: Earthdata, home: Path) -> None:
    with pytest.raises(InputError, match=r"EARTHDATA_TOKEN or ~/\.netrc.*urs\.earthdata"):
        earthdata.fetched(home)
    assert not earthdata.archive.asked


def test_a_wrong_password_is_one_error_with_what_the_server_said(
    earthdata: Earthdata, home: Path
) -> None:
    (home / ".netrc").write_text("machine localhost login me password wrong\n")
    with pytest.raises(InputError) as caught:
        earthdata.fetched(home)
    assert "status 401 (invalid_credentials)" in str(caught.value)
    assert "wrong" not in str(caught.value)
    assert "app=1" not in str(caught.value)


def test_netrc_belongs_to_its_host(home: Path) -> None:
    log_in(home, "127.0.0.1")
    with provider(**{"rain.nc": File(CONTENT)}) as server:
        get = {"kind": "http", "files": f"{server.url}/rain.nc"}
        order = ordered(home, {**get, "auth": "netrc"}, static=True)
        assert preview(order, fast()).has
        fetch(order, fast())
        assert authorised(server) == {USER}
        server.asked.clear()
        fetch(ordered(home, {**get, "to": "rain/open.nc"}, static=True), fast())
        assert authorised(server) == {None}


def test_credentials_are_not_sent_in_the_clear(home: Path) -> None:
    log_in(home, "data.example.org")
    assert Credentials().headers("netrc", "http://data.example.org/x") == {}
    assert Credentials().headers("netrc", "https://data.example.org/x") == {"Authorization": USER}


def test_a_token_is_for_hosts_of_nasa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "t")
    bearer: dict[str, Any] = {"Authorization": "Bearer t"}
    found = Credentials()
    assert found.headers("earthdata", "https://data.gesdisc.earthdata.nasa.gov/a") == bearer
    assert found.headers("earthdata", "https://urs.earthdata.nasa.gov/a") == bearer
    for host in ("s3.amazonaws.com", "earthdata.nasa.gov.evil.org", "notearthdata.nasa.gov"):
        assert found.headers("earthdata", f"https://{host}/a") == {}


def test_the_store_of_the_environment_comes_before_the_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Credentials().is_present("cds")
    (home / ".cdsapirc").write_text("url: https://a.org/api\nkey: from-file\n")
    assert Credentials().cds() == ("https://a.org/api", "from-file")
    monkeypatch.setenv("CDSAPI_KEY", "from-environment")
    assert Credentials().cds() == ("https://a.org/api", "from-environment")
    assert Credentials().headers("cds", "https://a.org/api/x") == {
        "PRIVATE-TOKEN": "from-environment"
    }
    assert Credentials().headers("cds", "https://b.org/api/x") == {}
    monkeypatch.setenv("CDSAPI_URL", "https://cds.climate.copernicus.eu/api/v2")
    with pytest.raises(InputError, match="closed in 2024"):
        Credentials().cds()


def test_a_broken_netrc_is_reported_with_its_line(home: Path) -> None:
    (home / ".netrc").write_text("machine x login y\nnonsense\n")
    with pytest.raises(InputError, match=r"netrc, line \d: found bad follower token"):
        Credentials().is_present("netrc", "https://x/")
