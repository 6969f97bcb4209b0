"""What programs are made of: the same numbers as the library's, in a graph that stays small."""

from types import SimpleNamespace

import torch
from torch import nn
from transformers.models.llama.modeling_llama import eager_attention_forward

from tightfit.models.adapters.mp_lora import MPLoRA
from tightfit.program.attention import grouped
from tightfit.program.formats import exported
from tightfit.program.program import TrainingStep


def test_grouped_attention_is_that_of_the_library() -> None:
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(2, heads, 5, 8).transpose(1, 2).contiguous().transpose(1, 2) for heads in (6, 2, 2)
    )
    causal = torch.full((5, 5), torch.finfo(torch.float32).min).triu(diagonal=1)[None, None]
    library = SimpleNamespace(num_key_value_groups=3, training=False)
    theirs, _ = eager_attention_forward(library, query, key, value, causal, scaling=0.3)
    ours, _ = grouped(nn.Module(), query, key, value, causal, scaling=0.3, dropout=0.0)
    assert ours.shape == (2, 5, 6, 8)
    torch.testing.assert_close(ours, theirs)


def operators(layers: int) -> list[str]:
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(layers)))
    MPLoRA(3, 6).inject(model, seed=0)
    step = TrainingStep(model, 0, "rademacher", 2)
    program = exported(step, step.example(torch.zeros(2, 8), torch.zeros(2, dtype=torch.int64)))
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def test_noise_is_drawn_once_for_all_adapters() -> None:
    few, many = operators(2), operators(6)
    assert few.count("aten.embedding.default") == many.count("aten.embedding.default") == 2  # of the old, of the new
    assert len(many) - len(few) == 4 * 9  # the layer, two factors, their sum; a slice, a transpose, three views
