"""The choices that a method is composed of, axis by axis: a new rule, direction, policy of activations or adapter joins
by its line here, and then meets all the others in `test_product.py`.
"""

from typing import Any

import torch
from torch import nn

from tightfit.models.adapters.adapter import NoAdapter
from tightfit.models.adapters.blocks import Blocks
from tightfit.models.adapters.lora import LoRA
from tightfit.models.adapters.mp_lora import MPLoRA
from tightfit.models.adapters.tt import TensorTrains
from tightfit.models.hf_causal_lm import random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.models.lenet5 import lenet5
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.activations.kept import Kept
from tightfit.optimizers.activations.mesa import Mesa
from tightfit.optimizers.activations.mesp import MeSP
from tightfit.optimizers.activations.wta_crs import WTACRS
from tightfit.optimizers.descents.adam import Adam as MeansOfEstimates
from tightfit.optimizers.descents.momentum import Momentum
from tightfit.optimizers.descents.plain import Plain
from tightfit.optimizers.descents.sign import Sign, SlopeSign
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.low_rank import LowRank
from tightfit.optimizers.directions.sparse import Sparse
from tightfit.optimizers.directions.subspace import Subspace
from tightfit.optimizers.directions.torch_legacy import TorchLegacy
from tightfit.optimizers.rules.adafactor import Adafactor
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.adam_8bit import Adam8bit
from tightfit.optimizers.rules.foam import FOAM
from tightfit.optimizers.rules.masked import Masked
from tightfit.optimizers.rules.mofasgd import MoFaSGD
from tightfit.optimizers.rules.muon import Muon
from tightfit.optimizers.rules.sgc import SGC
from tightfit.optimizers.rules.sgd import SGD
from tightfit.optimizers.rules.solo import SOLO


def tiny_mlp() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def tiny_llama() -> nn.Module:
    settings = {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    return random_causal_lm("llama", settings, HashedWords(32), (5, 7, 9), classes=3, seed=0)


def random_inputs(*shape: int) -> torch.Tensor:
    return torch.randn(8, *shape, generator=torch.Generator().manual_seed(0))


AXES: dict[str, dict[str, Any]] = {
    "rule": {
        "sgd": SGD(),
        "adam": Adam(),
        "foam": FOAM(second_moment="mean_of_squares"),
        "mofasgd": MoFaSGD(rank=2),
        "mofasgd_code": MoFaSGD(rank=2, step="code", eta1=0.25, eta2=0.1),
        "solo": SOLO(),
        "solo_published": SOLO(bits_m=2, rounding="published", beta1=0.5),
        "sgc": SGC(32, 16, 2),
        "sgc_scalar": SGC(32, 16, 2, "scalar"),
        "adafactor": Adafactor(),
        "muon": Muon(),
        "adam_8bit": Adam8bit(block=32),
        "masked": Masked(Adam()),
    },
    "activations": {
        "kept": Kept(),
        "checkpointed": Checkpointed(),
        "mesa": Mesa(),
        "mesp": MeSP(),
        "wta_crs": WTACRS(least=6),
    },
    "direction": {
        "gaussian": Independent("gaussian"),
        "gaussian_fast": Independent("gaussian_fast", kernel="portable"),
        "rademacher": Independent("rademacher", kernel="portable"),
        "torch_legacy": TorchLegacy(),
        "sparse": Sparse(0.5),
        "low_rank": LowRank(2, 3),
        "subspace": Subspace(2, 3),
        "rank_one": LowRank(1, 1, "activations"),
    },
    "descent": {
        "plain": Plain(),
        "sign": Sign(),
        "slope_sign": SlopeSign(),
        "momentum": Momentum(0.5),
        "adam": MeansOfEstimates(),
        "adamm": MeansOfEstimates(largest=True, correct=False),
    },
    "restore": {"merged": "merged", "exact": "exact"},
    "queries": {"1": 1, "3": 3},
    "curvature": {"published": "published", "exact": "exact"},
    "draw": {"uniform": "uniform", "cycle": "cycle"},
    "parallel": {"none": "none", "inner": "inner", "outer": "outer", "both": "both"},
    "adapter": {
        "none": NoAdapter(),
        "lora": LoRA(2, 4),
        "mp_lora": MPLoRA(2, 4),
        "tt": TensorTrains(2, 4, 2),
        "blocks": Blocks(2),
    },
    "model": {"mlp": tiny_mlp, "llama": tiny_llama, "lenet5": lambda: lenet5(10, 0)},
}
INPUTS = {
    "mlp": random_inputs(8),
    "llama": torch.randint(1, 32, (8, 8), generator=torch.Generator().manual_seed(0)),
    "lenet5": random_inputs(1, 28, 28),
}
