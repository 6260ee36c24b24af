"""Errors for bad input: a message of four parts, all faults together, hints with similar names."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import Fault, Faults, InputError, bad_input, listed, nearest_name


def test_a_fault_states_where_found_expected_and_hint() -> None:
    assert str(Fault("a.yml", "x", "y")) == "a.yml: found x; expected y."
    assert str(Fault("a.yml", "x", "y", "Do z.")) == "a.yml: found x; expected y. Do z."


def test_faults_are_raised_together_or_not_at_all() -> None:
    faults = Faults()
    faults.raise_if_any()
    faults.add("a", "1", "2")
    faults.add("b", "3", "4", hint="Do it.")
    with pytest.raises(InputError) as caught:
        faults.raise_if_any()
    assert caught.value.faults == (Fault("a", "1", "2"), Fault("b", "3", "4", "Do it."))
    assert str(caught.value).count("\n") == 1


def test_collecting_goes_on_after_an_input_error_and_lets_others_pass() -> None:
    faults = Faults()
    with faults.collecting():
        raise InputError([Fault("a", "1", "2"), Fault("b", "3", "4")])
    with faults.collecting():
        pass
    with faults.collecting():
        raise bad_input("c", "5", "6")
    assert [fault.where for fault in faults.faults] == ["a", "b", "c"]
    with pytest.raises(ZeroDivisionError), faults.collecting():
        raise ZeroDivisionError


def test_an_input_error_survives_the_way_between_processes() -> None:
    error = bad_input("a", "b", "c", "d")
    assert pickle.loads(pickle.dumps(error)).faults == error.faults


def test_the_nearest_name_is_hinted_where_one_is_near() -> None:
    assert nearest_name("precipitatoin", ["precipitation", "snow"]) == (
        'Did you mean "precipitation"?'
    )
    assert nearest_name("x", ["precipitation"]) == ""
    assert nearest_name("x", []) == ""


@given(st.lists(st.integers()))
def test_names_are_counted_and_at_most_five_are_listed(names: list[int]) -> None:
    text = listed(names)
    assert text.startswith(f"{len(names)} (")
    assert text.count(", ") == max(0, min(len(names), 5) - 1)
    assert (f" and {len(names) - 5} more)" in text) == (len(names) > 5)
