"""Files at remote addresses: their names, their bytes, and what becomes of each kind of failure."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core import transfers
from pipeline.core.addresses import RemotePath, check_uri, is_remote, path_of, public_uri
from pipeline.core.cache import BLOCK
from pipeline.core.errors import InputError
from pipeline.core.remote_path import _HEADS, _LISTS
from pipeline.core.transfers import FIRST_BYTES, Access, UnreachableError, fetched_bytes
from tests.loopback import Loopback, serving

CONTENT = bytes(range(256)) * 4096  # 1 MiB, each byte known by its position


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transfers, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(transfers, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(transfers, "_SILENT", {})
    _HEADS.known.clear()
    _LISTS.clear()
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / "cache"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "EARTHDATA_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bucket" / "rain").mkdir(parents=True)
    (tmp_path / "bucket" / "rain" / "2001.nc").write_bytes(CONTENT)
    (tmp_path / "bucket" / "rain" / "2002.nc").write_bytes(CONTENT[::-1])
    (tmp_path / "bucket" / "note.txt").write_bytes(b"one\ntwo\n")
    return tmp_path


@pytest.fixture
def web(folder: Path) -> Iterator[Loopback]:
    with serving(folder) as server:
        yield server


@pytest.fixture
def store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with serving(folder, lists=True) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("GOOGLE_BASE_URL", server.url)
        yield server


def remote(uri: str, **access: bool) -> RemotePath:
    path = path_of(uri, Access(**access))
    assert isinstance(path, RemotePath)
    return path


@pytest.mark.parametrize(
    "uri, text, gdal",
    [
        ("s3://b/a/r.tif", "s3://b/a/r.tif", "/vsis3/b/a/r.tif"),
        ("/vsis3/b/a/r.tif", "s3://b/a/r.tif", "/vsis3/b/a/r.tif"),
        ("gcs://b/r.tif", "gs://b/r.tif", "/vsigs/b/r.tif"),
        ("https://h.org:8/r.tif?sig=1#x", "https://h.org:8/r.tif", "/vsicurl/https://h.org:8/r.tif?sig=1"),
        ("/vsicurl/https://h.org/r.tif", "https://h.org/r.tif", "/vsicurl/https://h.org/r.tif"),
        ("https://source.coop/a/b/r.tif", "https://data.source.coop/a/b/r.tif",
         "/vsicurl/https://data.source.coop/a/b/r.tif"),
    ],
)  # fmt: skip
def test_each_way_to_write_an_address_is_the_same_path(uri: str, text: str, gdal: str) -> None:
    path = remote(uri)
    assert (str(path), path.gdal_name, path.name, path.suffix) == (text, gdal, "r.tif", ".tif")
    assert is_remote(uri)
    assert pickle.loads(pickle.dumps(path)) == path


@pytest.mark.parametrize("uri", ["data/r.tif", "/vsizip/data/r.zip", "file:///data/r.tif"])
def test_other_uris_are_paths_on_disk(uri: str) -> None:
    assert not is_remote(uri)
    assert path_of(uri) == Path(uri.removeprefix("file://"))


@pytest.mark.parametrize("uri", ["https://me:secret@h.org/x.nc", "s3://key:secret@bucket/x.nc",
                                 "ftp://h.org/x.nc", "s3:///x.nc"])  # fmt: skip
def test_passwords_and_unknown_kinds_of_address_are_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"netrc|known kinds|without a server") as error:
        check_uri(uri)
    assert "secret" not in str(error.value)


def test_signatures_appear_in_no_text(web: Loopback) -> None:
    path = remote(web.to("bucket/none.nc?X-Amz-Signature=abc"))
    assert not path.exists()
    assert web.requests[0][1].endswith("?X-Amz-Signature=abc")
    with pytest.raises(FileNotFoundError) as missing:
        path.read_bytes()
    web.faults["bucket/none.nc"] = ["403"]
    with pytest.raises(InputError) as refused:
        path.read_bytes()
    texts = [str(path), repr(path), str(missing.value), str(refused.value)]
    assert not any("abc" in text for text in [*texts, public_uri(path.url)])


@pytest.mark.parametrize("kind", ["web", "s3", "gs"])
def test_a_remote_file_is_read_as_one_on_disk(kind: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("web" if kind == "web" else "store")
    path = remote(server.to("bucket") if kind == "web" else f"{kind}://bucket") / "rain" / "2001.nc"
    assert path.exists()
    assert path.is_file()
    assert not (path.parent / "1999.nc").exists()
    assert path.stat().st_size == len(CONTENT)
    assert path.stat().st_mtime_ns != path.with_name("2002.nc").stat().st_mtime_ns
    assert path.read_bytes() == CONTENT
    assert (path.parent.parent / "note.txt").read_text() == "one\ntwo\n"


@pytest.mark.parametrize("kind", ["web", "s3"])
def test_parts_are_fetched_and_counted_as_they_are_read(
    kind: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("web" if kind == "web" else "store")
    path = remote(server.to("bucket/rain/2001.nc") if kind == "web" else "s3://bucket/rain/2001.nc")
    before, sent = fetched_bytes(), server.sent
    with path.open() as file:
        file.seek(3 * BLOCK - 10)
        assert file.read(20) == CONTENT[3 * BLOCK - 10 : 3 * BLOCK + 10]
        file.seek(-5, 2)
        assert file.read() == CONTENT[-5:]
    assert fetched_bytes() - before == server.sent - sent
    assert server.sent - sent <= 2 * BLOCK + FIRST_BYTES


def test_servers_without_ranges_send_the_whole_file(folder: Path) -> None:
    with serving(folder, has_ranges=False) as server:
        file = remote(server.to("bucket/rain/2001.nc")).open()
        file.seek(-3, 2)
        assert file.read() == CONTENT[-3:]


def test_object_stores_list_their_folders(store: Loopback) -> None:
    bucket = remote("s3://bucket")
    assert bucket.is_dir()
    assert (bucket / "rain").is_dir()
    assert not (bucket / "snow").exists()
    assert [path.name for path in bucket.iterdir()] == ["note.txt", "rain"]
    assert [str(path) for path in bucket.glob("*/*1.nc")] == ["s3://bucket/rain/2001.nc"]
    asked = len(store.requests)
    assert [path.stat().st_size for path in bucket.glob("rain/*")] == [len(CONTENT)] * 2
    assert len(store.requests) == asked


def test_web_servers_are_not_asked_for_lists(web: Loopback) -> None:
    with pytest.raises(InputError, match="do not list files"):
        list(remote(web.to("bucket")).glob("*.nc"))


FAULTS = [["503"], ["429", "500", "503"], ["reset"], ["reset", "503"], ["slow"], ["truncated"]]


@pytest.mark.parametrize("kind", ["web", "s3"])
@pytest.mark.parametrize("faults", FAULTS, ids="-".join)
def test_passing_faults_are_overcome(
    kind: str, faults: list[str], request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("web" if kind == "web" else "store")
    path = remote(server.to("bucket/rain/2001.nc") if kind == "web" else "s3://bucket/rain/2001.nc")
    server.faults["bucket/rain/2001.nc"] = list(faults)
    assert path.exists()
    server.faults["bucket/rain/2001.nc"] = list(faults)
    assert path.read_part(10, 400_000) == CONTENT[10:400_000]
    server.faults["bucket/rain/2001.nc"] = list(faults)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "fault, words", [("503", "status 503 in 6 tries"), ("truncated", "ends early in 6 tries"),
                     ("reset", "in 6 tries"), ("403", "EARTHDATA_TOKEN"), ("page", "web page")],
)  # fmt: skip
def test_lasting_faults_are_one_error_with_the_answer(
    web: Loopback, fault: str, words: str
) -> None:
    web.faults["bucket/rain/2001.nc"] = [fault] * 20
    with pytest.raises(InputError, match=words) as error:
        remote(web.to("bucket/rain/2001.nc")).read_bytes()
    assert str(error.value).startswith(web.to("bucket/rain/2001.nc"))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("fault, words", [("503", "503"), ("truncated", "body"), ("403", "403")])
def test_lasting_faults_of_object_stores_are_one_error(
    store: Loopback, fault: str, words: str
) -> None:
    store.faults["bucket/rain/2001.nc"] = [fault] * 100
    with pytest.raises(InputError, match=words) as error:
        remote("s3://bucket/rain/2001.nc").read_bytes()
    assert str(error.value).startswith("s3://bucket/rain/2001.nc: found")
    assert len(str(error.value).splitlines()) == 1


def test_a_server_that_does_not_answer_is_asked_once_for_all_its_files() -> None:
    with pytest.raises(UnreachableError, match="no connection"):
        remote("http://127.0.0.1:9/2001.nc").exists()
    with pytest.raises(UnreachableError, match=r"2002\.nc: found no connection"):
        remote("http://127.0.0.1:9/2002.nc").exists()
    assert list(transfers._SILENT) == ["http://127.0.0.1:9"]


def test_parts_of_two_versions_are_never_combined(web: Loopback, folder: Path) -> None:
    path = remote(web.to("bucket/rain/2001.nc"))
    file = path.open()
    file.read(10)
    (folder / "bucket" / "rain" / "2001.nc").write_bytes(CONTENT[::-1])
    file.seek(2 * BLOCK)
    with pytest.raises(InputError, match="another version"):
        file.read(10)
    assert path.stat(fresh=True) != (len(CONTENT), 0)


def test_requests_are_signed_where_the_environment_has_keys(
    store: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.signer = "AKIATEST"
    path = remote("s3://bucket/note.txt")
    with pytest.raises(InputError, match="AWS_ACCESS_KEY_ID"):
        path.exists()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
    assert path.exists()
    with pytest.raises(InputError, match="no access"):
        remote("s3://bucket/note.txt", anonymous=True).exists()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    keys = tmp_path / "credentials"
    keys.write_text("[lab]\naws_access_key_id = AKIATEST\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert path.read_bytes() == b"one\ntwo\n"


def test_requester_pays(store: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    store.payer = True
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
    with pytest.raises(InputError, match="requester_pays"):
        remote("s3://bucket/note.txt").exists()
    assert remote("s3://bucket/note.txt", requester_pays=True).exists()


def test_tokens_are_sent_to_their_provider_only(
    web: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "token123")
    assert remote(web.to("bucket/note.txt")).exists()
    assert not any("Authorization" in headers for headers in web.headers)


def test_a_file_of_gzip_is_named_as_in_gdal() -> None:
    assert path_of("/vsigzip//data/r.tif.gz") == Path("/data/r.tif.gz")
    assert path_of("/vsigzip/data/r.tif.gz") == Path("data/r.tif.gz")
    assert str(path_of("/vsigzip//vsicurl/https://h.org/r.gz")) == "https://h.org/r.gz"
