"""Chunks decoded outside of the NetCDF library have the bits that the library reads."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from xarray.backends import NetCDF4DataStore
from xarray.backends.netCDF4_ import NetCDF4ArrayWrapper

from pipeline.core.errors import InputError
from pipeline.core.files import version_of
from pipeline.entries.source import Source, Variable
from pipeline.readers.hdf import chunks, filters
from pipeline.readers.hdf.store import ChunkStore
from pipeline.readers.long.alike import like_any
from pipeline.readers.netcdf import open_alike
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import open_source

SHAPE, CHUNK = (5, 70, 90), (2, 40, 60)
OWN = {
    "deflate 1": {"compression": "zlib", "complevel": 1, "shuffle": False},
    "deflate 9": {"compression": "zlib", "complevel": 9, "shuffle": False},
    "shuffle, deflate": {"compression": "zlib", "complevel": 4, "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "fletcher32, shuffle, deflate": {"compression": "zlib", "shuffle": True, "fletcher32": True},
    "none": {},
}
OTHERS = {
    "zstd": {"compression": "zstd", "shuffle": True},
    "szip": {"compression": "szip"},
    "blosc": {"compression": "blosc_zlib"},
    "bzip2": {"compression": "bzip2"},
}  # fmt: skip


@pytest.fixture
def by_library(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The variables that the NetCDF library itself read."""
    found: list[str] = []
    read = NetCDF4ArrayWrapper._getitem

    def noted(self: NetCDF4ArrayWrapper, key: Any) -> Any:
        found.append(self.variable_name)
        return read(self, key)

    monkeypatch.setattr(NetCDF4ArrayWrapper, "_getitem", noted)
    return found


def values_of(dtype: str) -> np.ndarray:
    random = np.random.default_rng(1)
    values = random.integers(-9, 9, SHAPE).cumsum(axis=2).astype(dtype)
    if values.dtype.kind == "f":
        values[random.random(SHAPE) < 0.2] = np.nan
    return values


def write(path: Path, dtype: str = "f4", endian: str = "native", **how: Any) -> None:
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip("tyx", SHAPE, strict=True):
            file.createDimension(name, size)
        how = {"chunksizes": CHUNK, **how}
        variable = file.createVariable("v", dtype, ("t", "y", "x"), endian=endian, **how)
        variable[:] = values_of(dtype)
        variable.setncattr("scale_factor", 0.5)


def stores(path: Path, group: str | None = None) -> tuple[xr.Variable, xr.Variable]:
    """The variable in our store and in that of xarray."""
    return tuple(
        kind.open(str(path), group=group).get_variables()["v"]
        for kind in (ChunkStore, NetCDF4DataStore)
    )


def assert_same(path: Path, key: Any = ..., group: str | None = None) -> None:
    ours, library = (found[key].values for found in stores(path, group))
    assert ours.dtype == library.dtype
    assert ours.shape == library.shape
    assert ours.tobytes() == library.tobytes()


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u1", "i8"])
@pytest.mark.parametrize("how", [*OWN, *OTHERS])
def test_every_filter_pipeline_and_type_has_the_same_bits(
    tmp_path: Path, how: str, dtype: str, by_library: list[str]
) -> None:
    path = tmp_path / "a.nc"
    write(path, dtype, **(OWN | OTHERS)[how])
    assert_same(path)
    # Our variable, which comes first, was read by the library only if it must be.
    assert len(by_library) == (2 if how in OTHERS else 1)


def test_scale_offset_is_left_to_the_library_and_big_endian_is_not(
    tmp_path: Path, by_library: list[str]
) -> None:
    with h5py.File(tmp_path / "s.nc", "w") as file:
        file.create_dataset("v", data=values_of("i2"), chunks=CHUNK, scaleoffset=0)
    assert_same(tmp_path / "s.nc")
    assert by_library == ["v", "v"]
    write(tmp_path / "b.nc", ">f4", "big", **OWN["fletcher32, shuffle, deflate"])
    assert_same(tmp_path / "b.nc")
    assert by_library == ["v", "v", "v"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chunks") / "a.nc"
    write(path, **OWN["shuffle, deflate"])
    return path


def _key(size: int) -> st.SearchStrategy[Any]:
    end = st.integers(0, size)
    return st.one_of(
        st.integers(0, size - 1), st.builds(slice, end, end, st.sampled_from([None, 1, 3])),
        st.lists(st.integers(0, size - 1), min_size=1, max_size=4, unique=True).map(sorted),
    )  # fmt: skip


@given(key=st.tuples(*map(_key, SHAPE)), threads=st.sampled_from(["1", "3"]))
@settings(max_examples=60, deadline=None)
def test_every_window_has_the_same_bits(plain: Path, key: Any, threads: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", threads)
        assert_same(plain, key)


def test_chunks_that_were_never_written_have_the_fill_value(
    tmp_path: Path, by_library: list[str]
) -> None:
    for number, fill in enumerate((None, -5.0, False)):
        path = tmp_path / f"{number}.nc"
        with netCDF4.Dataset(path, "w") as file:
            for name, size in zip("tyx", SHAPE, strict=True):
                file.createDimension(name, size)
            variable = file.createVariable(
                "v", "f4", ("t", "y", "x"), chunksizes=CHUNK, zlib=True, fill_value=fill
            )
            variable[2:4, :40, 60:] = 3.0
        if fill is not False:
            assert_same(path)
        # Without a fill value the library decides what unwritten chunks are.
        stores(path)[0][...].values  # noqa: B018
    assert by_library == ["v", "v", "v"]


def test_groups_names_of_dimensions_and_axes_without_limit(tmp_path: Path) -> None:
    path, values = tmp_path / "a.nc", values_of("f4")
    with netCDF4.Dataset(path, "w") as root:
        file = root.createGroup("a/b")
        file.createDimension("t", None)
        file.createDimension("v", SHAPE[1])
        file.createDimension("x", SHAPE[2])
        how = {"zlib": True, "chunksizes": CHUNK}
        file.createVariable("longer", "f4", ("t", "v", "x"), **how)[:7] = 1.0
        # Named as a dimension that is not its own, and shorter than its axis.
        file.createVariable("v", "f4", ("t", "v", "x"), **how)[:5] = values
    assert_same(path, group="a/b")
    assert stores(path, "a/b")[0].shape == (7, *SHAPE[1:])


def test_filters_that_a_chunk_did_not_pass_are_not_undone(
    tmp_path: Path, by_library: list[str]
) -> None:
    path = tmp_path / "a.nc"
    write(path, **OWN["fletcher32, shuffle, deflate"])
    with h5py.File(path, "r+") as file:
        raw = np.full(CHUNK, 7.0, np.float32).tobytes()
        file["v"].id.write_direct_chunk((2, 40, 0), raw, filter_mask=0b111)
    assert_same(path)
    assert by_library == ["v"]


def broken(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the stored bytes of one chunk."""
    with h5py.File(path, "r+") as file:
        stored = file["v"].id.read_direct_chunk((2, 0, 60))[1]
        file["v"].id.write_direct_chunk((2, 0, 60), change(stored))


@pytest.mark.parametrize(
    "how, change, text",
    [
        ("deflate 1", lambda b: b[: len(b) // 2], "bytes that cannot be inflated"),
        ("deflate 1", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "bytes that cannot be inflated"),
        ("fletcher32", lambda b: b[:99] + bytes([b[99] ^ 1]) + b[100:], "another checksum"),
        ("deflate 1", lambda b: zlib.compress(b"short"), "5 bytes instead of 19,200"),
    ],
)
def test_a_damaged_chunk_is_one_error_with_its_file_and_variable(
    tmp_path: Path, how: str, change: Callable[[bytes], bytes], text: str
) -> None:
    path = tmp_path / "a.nc"
    write(path, **OWN[how])
    broken(path, change)
    found, _ = stores(path)
    with pytest.raises(filters.UndecodableError, match=text) as error:
        found[...].values  # noqa: B018
    assert 'the chunk of "v" at (2, 0, 60) has' in str(error.value)
    assert_same(path, np.s_[:2])


def test_a_chunk_beyond_the_end_of_its_file_is_an_error(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_KEPT", chunks._Kept(0))
    found = chunks.find_chunks(str(plain), version_of(plain), "/v")
    assert found is not None
    found = replace(found, lengths=found.lengths + (1 << 40))
    with pytest.raises(filters.UndecodableError, match="bytes after the end of the file"):
        found.read(((0, 1), (0, 1), (0, 1)))


def test_a_kept_chunk_does_not_keep_the_index_of_its_file(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index takes up to 32 MiB, so that small chunks of many files would keep gigabytes."""
    monkeypatch.setattr(chunks, "_KEPT", chunks._Kept(chunks.KEPT))
    monkeypatch.setattr(chunks, "_INDEXES", chunks._Kept(0))  # which keeps none
    counts = []
    for _ in range(2):
        index = chunks.find_chunks(str(plain), version_of(plain), "/v")
        assert index is not None
        assert index.read(((0, 1),) * len(index.shape)) is not None
        counts.append(len(chunks._KEPT.values))
        gone = weakref.ref(index)
        del index
        assert gone() is None
    assert counts == [1, 1]


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("NETCDF4", {"zlib": True, "chunksizes": (40, 60)}),
        ("NETCDF4", {"zlib": True, "chunksizes": (2, 60)}),  # too small for `Chunks`
        ("NETCDF4", {"contiguous": True}),
        ("NETCDF3_64BIT", {}),
    ],
)
@pytest.mark.parametrize("scale", [0.01, 0.5])
def test_a_file_that_is_replaced_while_it_is_open_is_an_error(
    tmp_path: Path, scale: float, kind: Any, layout: dict[str, Any]
) -> None:
    """The scale is that of the file which was opened, and must not meet values of another."""
    path, other = tmp_path / "a.nc", tmp_path / "b.nc"
    for name, factor in ((path, 0.01), (other, scale)):
        ds = xr.DataArray(np.full((40, 60), 2.5), dims=("y", "x"), name="v").to_dataset()
        how = {**layout, "dtype": "i4", "scale_factor": factor}
        ds.to_netcdf(name, format=kind, encoding={"v": how})
    found = ChunkStore.open(path)
    values = xr.open_dataset(found)["v"]
    path.chmod(0o600)
    np.testing.assert_array_equal(values.copy()[:2].values, np.full((2, 60), 2.5))
    other.replace(path)
    found.close()  # as many open files are, to be opened again when values are read
    with pytest.raises(InputError, match="another file than when it was opened"):
        values.load()
    assert float(xr.open_dataset(ChunkStore.open(path))["v"].max()) == 2.5


def test_indexes_of_chunks_are_kept_up_to_a_number_of_bytes() -> None:
    kept = chunks._Kept(100)
    for number in range(5):
        kept.put(number, str(number), 40)
    assert [kept.get(number) for number in range(5)] == [None, None, None, "3", "4"]
    kept.put("large", "large", 101)
    assert kept.bytes == 80
    assert kept.get("large") is None


def test_a_damaged_chunk_is_bad_input_of_a_source(tmp_path: Path) -> None:
    path, y, x = tmp_path / "a.nc", np.arange(0.5, 40), np.arange(0.5, 60)
    ds = xr.DataArray(np.full((40, 60), 280.0), {"lat": y, "lon": x}, ("lat", "lon"), "v")
    ds.attrs["units"] = "K"
    ds.to_netcdf(path, encoding={"v": {"zlib": True, "chunksizes": (40, 60)}})
    with h5py.File(path, "r+") as file:
        file["v"].id.write_direct_chunk((0, 0), b"no chunk")
    entry = {"name": "field", "uri": str(path), "driver": "netcdf",
             "variables": {"air_temperature": {"name": "v"}}}  # fmt: skip
    known = {"air_temperature": Variable(long_name="air temperature", units="K")}
    source = Source.model_validate(entry)
    with pytest.raises(InputError) as error:
        canonicalise(open_source(source), source, known)["air_temperature"].load()
    (fault,) = error.value.faults
    assert "air_temperature" in fault.where
    assert 'the chunk of "v" at (0, 0) has bytes that cannot be inflated' in fault.found


def test_files_that_are_like_one_another_are_decoded_from_their_own_chunks(
    tmp_path: Path, by_library: list[str]
) -> None:
    paths = [tmp_path / f"{name}.nc" for name in "ab"]
    for number, path in enumerate(paths):
        values, axes = np.full((40, 60), 280.0 + number), {"y": np.arange(40), "x": np.arange(60)}
        ds = xr.DataArray(values, axes, ("y", "x"), "v")
        ds.to_netcdf(path, encoding={"v": {"zlib": True, "chunksizes": (40, 60)}})
    entry = {"name": "field", "uri": str(paths[0]), "driver": "netcdf",
             "variables": {"air_temperature": {"name": "v"}}}  # fmt: skip
    kind = open_alike(Source.model_validate(entry), paths[0], "time")
    assert kind is not None
    found = like_any([kind], paths[1])
    assert found is not None
    np.testing.assert_array_equal(found[1]["v"].values, np.full((40, 60), 281.0))
    assert "v" not in by_library


def test_an_array_of_another_file_is_left_to_the_library(tmp_path: Path) -> None:
    write(tmp_path / "b.nc", **OWN["shuffle, deflate"])
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["v"] = h5py.ExternalLink("b.nc", "/v")
        file["w"] = h5py.SoftLink("/w")
    names = [chunks.find_chunks(str(tmp_path / "a.nc"), (0,), name) for name in ("/v", "/w", "/u")]
    assert names == [None, None, None]
