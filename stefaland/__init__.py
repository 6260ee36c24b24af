"""The StefaLand foundation model, its training and its scores: tensors in, tensors out.

Every exported name is imported at its first use, so that `import stefaland` does not load torch.
"""

from typing import TYPE_CHECKING

from pipeline.core.lazy import lazy_exports

if TYPE_CHECKING:
    from pipeline.core.errors import InputError as InputError
    from stefaland.baselines.registry import BaselineInputs as BaselineInputs
    from stefaland.baselines.registry import fit_baseline as fit_baseline
    from stefaland.config import FinetuneConfig as FinetuneConfig
    from stefaland.config import ModelConfig as ModelConfig
    from stefaland.config import PretrainConfig as PretrainConfig
    from stefaland.config import model_preset as model_preset
    from stefaland.data.batch import Batch as Batch
    from stefaland.data.cell_data import CellData as CellData
    from stefaland.data.cell_data import fit_normaliser as fit_normaliser
    from stefaland.data.example import example_cells as example_cells
    from stefaland.folds.fold import Fold as Fold
    from stefaland.folds.split import make_folds as make_folds
    from stefaland.metrics import scores as scores
    from stefaland.model.mae import StefaLand as StefaLand
    from stefaland.prediction.embed_cells import embed_cells as embed_cells
    from stefaland.prediction.encoder import load as load
    from stefaland.prediction.predict import predict_cells as predict_cells
    from stefaland.training.finetune import finetune as finetune
    from stefaland.training.pretrain import pretrain as pretrain

EXPORTS = {
    "InputError": "pipeline.core.errors",
    "BaselineInputs": "stefaland.baselines.registry",
    "fit_baseline": "stefaland.baselines.registry",
    "FinetuneConfig": "stefaland.config",
    "ModelConfig": "stefaland.config",
    "PretrainConfig": "stefaland.config",
    "model_preset": "stefaland.config",
    "Batch": "stefaland.data.batch",
    "CellData": "stefaland.data.cell_data",
    "fit_normaliser": "stefaland.data.cell_data",
    "example_cells": "stefaland.data.example",
    "Fold": "stefaland.folds.fold",
    "make_folds": "stefaland.folds.split",
    "scores": "stefaland.metrics",
    "StefaLand": "stefaland.model.mae",
    "embed_cells": "stefaland.prediction.embed_cells",
    "load": "stefaland.prediction.encoder",
    "predict_cells": "stefaland.prediction.predict",
    "finetune": "stefaland.training.finetune",
    "pretrain": "stefaland.training.pretrain",
}
"""The module of each exported name."""

__all__ = list(EXPORTS)
__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
