import json
import os
import pickle

import numpy as np
import pytest

from pipeline.core.files import UnwritableError
from pipeline.execution.ledger import Ledger


def test_a_marked_item_is_done_under_its_fingerprint_only(tmp_path):
    ledger = Ledger(tmp_path, "aaaa").open()
    assert not ledger.done("r000_c000")
    ledger.mark("r000_c000", {"rain": {"valid": np.int64(3), "max": np.float32(1.5)}})
    assert ledger.done("r000_c000")
    assert not Ledger(tmp_path, "bbbb").done("r000_c000")
    assert Ledger(tmp_path, "aaaa").summaries() == {"r000_c000": {"rain": {"valid": 3, "max": 1.5}}}


def test_failures_are_kept_until_the_item_is_done(tmp_path):
    ledger = Ledger(tmp_path, "aaaa").open()
    ledger.failed("a", "ValueError: no", "Traceback ...")
    assert ledger.names_failed() == {"a"}
    assert not ledger.done("a")
    assert ledger.failures()["a"]["error"] == "ValueError: no"
    ledger.mark("a", {})
    assert ledger.names_failed() == set()
    assert ledger.names_done() == {"a"}


def test_forgotten_items_are_done_again(tmp_path):
    ledger = Ledger(tmp_path, "aaaa").open()
    ledger.mark("a", {})
    ledger.forget("a")
    ledger.forget("never marked")
    assert not ledger.done("a")


def test_long_markers_are_searched_for_zeros_to_their_end(tmp_path):
    ledger = Ledger(tmp_path, "aaaa").open()
    for name in ("whole", "cut", "zeros"):
        ledger.mark(name, {"text": "x" * 9000})
    for name, end in (("cut", b""), ("zeros", b"\0}\n")):
        marker = ledger.path / f"{name}.done.json"
        marker.write_bytes(marker.read_bytes()[:-3] + end)
    assert ledger.names_done() == {"whole"}


def test_what_a_dead_writer_left_is_no_marker_and_is_removed(tmp_path):
    ledger = Ledger(tmp_path, "aaaa").open()
    host = os.uname().nodename.replace(".", "_")
    dead = ledger.path / f".a.done.json.{host}.999999999.0.partial"
    living = ledger.path / f".b.done.json.{host}.{os.getpid()}.0.partial"
    elsewhere = ledger.path / ".c.done.json.othernode.1.0.partial"
    for file in (dead, living, elsewhere):
        file.write_text("{")
    assert ledger.names_done() == set()
    ledger.open()
    assert not dead.exists()
    assert living.exists()
    assert elsewhere.exists()
    os.utime(elsewhere, (0, 0))
    ledger.open()
    assert not elsewhere.exists()


def test_a_ledger_travels_to_workers(tmp_path):
    ledger = Ledger(tmp_path, "aaaa")
    assert pickle.loads(pickle.dumps(ledger)) == ledger


def test_markers_are_json_with_the_same_bytes_each_time(tmp_path):
    ledger = Ledger(tmp_path, "aaaa").open()
    ledger.mark("a", {"b": 1, "a": 2})
    first = (ledger.path / "a.done.json").read_bytes()
    ledger.mark("a", {"a": 2, "b": 1})
    assert (ledger.path / "a.done.json").read_bytes() == first
    assert json.loads(first) == {"a": 2, "b": 1}


def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match=r"cannot be written.*roots\.runs"):
        Ledger(tmp_path / "file", "aaaa").open()
