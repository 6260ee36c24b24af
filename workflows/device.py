"""Where tensors live: the first CUDA device of this process, or the CPU."""

from __future__ import annotations

import os

import torch


def best_device() -> torch.device:
    """`cuda:LOCAL_RANK` where there is a card, else `cpu`."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")
