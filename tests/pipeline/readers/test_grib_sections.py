"""Lengths of the sections of GRIB messages, which ecCodes trusts, are checked before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.readers.guards.grib_sections import check_sections
from tests.pipeline.readers.test_grib_messages import write

eccodes = pytest.importorskip("eccodes")
SAMPLES = [
    f"{grid}_{level}_grib{edition}"
    for edition in (1, 2)
    for grid in ("regular_ll", "reduced_gg", "regular_gg", "sh")
    for level in (("ml",) if grid == "sh" else ("pl", "sfc"))
]


def sample(name: str) -> bytes:
    message = eccodes.codes_grib_new_from_samples(name)
    content = bytes(eccodes.codes_get_message(message))
    eccodes.codes_release(message)
    return content


def changed(content: bytes, at: int, value: int) -> bytes:
    return content[:at] + bytes([value]) + content[at + 1 :]


def test_whole_messages_and_texts_between_them_are_accepted(tmp_path: Path) -> None:
    messages = []
    for name in SAMPLES:
        try:
            messages.append(sample(name))
        except eccodes.CodesInternalError:  # a sample that this version does not have
            continue
    assert len(messages) >= 6
    (tmp_path / "a.grib").write_bytes(b"\r\r\nHTXE85 KWBC\r\r\n".join(messages))
    check_sections(tmp_path / "a.grib")


@pytest.mark.parametrize("edition", [1, 2])
def test_every_wrong_length_is_found(edition: int, tmp_path: Path) -> None:
    path = tmp_path / "a.grib"
    write(path, {"value": 1}, {"value": 2}, edition=edition)
    whole, half = path.read_bytes(), path.stat().st_size // 2
    at, end = half + (8 if edition == 1 else 16), len(whole) - 4
    width = 3 if edition == 1 else 4
    lengths = [range(half + 4, half + 7) if edition == 1 else range(half + 8, half + 16)]
    while at < end:
        lengths.append(range(at, at + width))
        at += int.from_bytes(whole[at : at + width], "big")
    assert len(lengths) == (4 if edition == 1 else 7)
    for position in (position for length in lengths for position in length):
        for value in {0, 1, 127, 128, 255} - {whole[position]}:
            path.write_bytes(changed(whole, position, value))
            with pytest.raises(ValueError, match="message 2, from byte"):
                check_sections(path)


@pytest.mark.parametrize("cut", [4, 9, 40])
def test_a_message_that_ends_early_is_found(cut: int, tmp_path: Path) -> None:
    write(tmp_path / "a.grib", {"value": 1}, edition=2)
    content = (tmp_path / "a.grib").read_bytes()
    (tmp_path / "a.grib").write_bytes(content[:-cut])
    with pytest.raises(ValueError, match="message 1, from byte 0 on, is damaged"):
        check_sections(tmp_path / "a.grib")
