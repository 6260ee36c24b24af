"""The arithmetic that is chosen for a device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stefaland.config import FinetuneConfig, PretrainConfig, TrainConfig
from stefaland.training import precision
from stefaland.training.precision import Arithmetic, arithmetic, autocast, products

CPU, GPU = torch.device("cpu"), torch.device("cuda")
HOPPER, TURING = (9, 0), (7, 5)


@pytest.mark.parametrize(
    ("config", "device", "capability", "expected"),
    [
        (PretrainConfig(), CPU, None, Arithmetic(False, None)),
        (PretrainConfig(gpu_precision="tf32"), CPU, None, Arithmetic(False, None)),
        (PretrainConfig(precision="bfloat16"), CPU, None, Arithmetic(True, None)),
        (PretrainConfig(), GPU, HOPPER, Arithmetic(True, True)),
        (FinetuneConfig(), GPU, HOPPER, Arithmetic(False, True)),
        (PretrainConfig(gpu_precision="tf32"), GPU, HOPPER, Arithmetic(False, True)),
        (PretrainConfig(gpu_precision="float32"), GPU, HOPPER, Arithmetic(False, False)),
        (FinetuneConfig(precision="bfloat16"), GPU, HOPPER, Arithmetic(True, None)),
        (PretrainConfig(), GPU, TURING, Arithmetic(False, False)),
    ],
)
def test_the_arithmetic_follows_from_the_settings_and_the_device(
    config: TrainConfig, device: torch.device, capability: Any, expected: Arithmetic
) -> None:
    assert arithmetic(config, device, capability) == expected


def test_settings_of_torch_are_those_of_before_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    with products(FinetuneConfig(), CPU):
        assert [flag.allow_tf32 for flag in flags] == before
    for tf32 in (True, False):
        chosen = Arithmetic(False, tf32)
        monkeypatch.setattr(precision, "arithmetic", lambda *_, chosen=chosen: chosen)
        with products(FinetuneConfig(), GPU):
            assert [flag.allow_tf32 for flag in flags] == [tf32, tf32]
        assert [flag.allow_tf32 for flag in flags] == before


def test_fingerprints_do_not_have_the_default_and_the_cpu_no_reduced_product() -> None:
    assert "gpu_precision" not in PretrainConfig().model_dump()
    with autocast(PretrainConfig(), CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
