"""Options that commands share: lists with commas, parts, clusters."""

from __future__ import annotations

import pytest

from pipeline.core.errors import InputError
from workflows.cli.options import cluster_settings, part_of, separated, whole_numbers


@pytest.mark.parametrize("values", [["0,1,2"], ["0", "1", "2"], ["0, 1", "2"]])
def test_lists_have_commas_or_repeat_the_option(values: list[str]) -> None:
    assert whole_numbers("--seeds", separated(values)) == [0, 1, 2]


def test_no_list_is_an_empty_one() -> None:
    assert separated(None) == []


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match='--seeds: found "0,one"; expected whole numbers'):
        whole_numbers("--seeds", ["0", "one"])


@pytest.mark.parametrize("text", ["0/2", "3/2", "a/b", "1", "1/2/3"])
def test_what_is_no_part_is_refused(text: str) -> None:
    assert part_of("2/8") == (2, 8)
    with pytest.raises(InputError, match="1 <= i <= n"):
        part_of(text)


def test_a_cluster_is_a_kind_or_an_address() -> None:
    assert cluster_settings(None) == []
    assert cluster_settings("slurm") == ["cluster.kind=slurm"]
    expected = ["cluster.kind=address", "cluster.address=tcp://10.0.0.1:8786"]
    assert cluster_settings("tcp://10.0.0.1:8786") == expected
