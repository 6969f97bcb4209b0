"""Language models as classifiers: tokens (b, s) in, one logit per answer out.

Only the rows of the output embedding that say an answer are kept, as a head of their own. The logits of the whole
vocabulary, (b, s, 50,000) numbers in an ordinary language model, are never computed, and rows that cannot change the
loss are neither held nor trained. Where input and output embedding are tied, the kept rows are untied copies.

Dropout is off in training too, as in MeZO.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from tightfit.datasets.prompts import WIDTH_MULTIPLE
from tightfit.models.base import Traits
from tightfit.models.widening import widen_

ANSWERS = "answers"  # the block after the last layer
GROUPED = "grouped"  # the name of the kernel of attention in programs: see `on_device.attention`


class LanguageModel(nn.Module):
    """A model of the transformers library that reads prompts padded on the right.

    lm: answers `lm(input_ids=…, attention_mask=…)`. pad: the token to the right of shorter prompts.
    """

    is_wide = False  # whether weights of 16 bits are multiplied in float32

    def __init__(self, lm: Any, pad: int) -> None:
        super().__init__()
        self.lm = lm.eval()
        self.pad = pad
        self.traits = Traits(
            blocks=numbered_layers,
            input_dtype=torch.int64,
            input_encoding=lambda mean, std: Trimmed(pad),  # tokens need no normalization
            scoring_batch=32,
            adapted="lm",
            unadapted=frozenset([ANSWERS]),
        )
        self.requires_grad_(True)

    def train(self, mode: bool = True) -> LanguageModel:
        """Stays in evaluation mode, so that dropout is off."""
        return super().train(False)

    @property
    def host(self) -> Any:
        """The part that adapters go into."""
        return self.get_submodule(self.traits.adapted)

    @property
    def computes_in(self) -> torch.dtype:
        """The type of what its layers give."""
        return torch.float32 if self.is_wide else self.lm.dtype

    def widen_(self) -> None:
        """Compute in float32, whatever the weights are held in."""
        widen_(self)
        self.is_wide = True

    def scores_of_padding(self, tokens: torch.Tensor) -> torch.Tensor:
        """What is added to the scores of attention so that nothing looks at padding, (b, 1, 1, s)."""
        lowest = torch.finfo(self.computes_in).min
        return ((tokens == self.pad).to(self.computes_in) * lowest)[:, None, None, :]

    @property
    def most_tokens(self) -> int | None:
        """How many tokens of a prompt the model reads; None where there is no limit."""
        limits = (getattr(self.lm.config, name, None) for name in ("max_position_embeddings", "sliding_window"))
        return min((limit for limit in limits if limit), default=None)

    def check_width(self, tokens: torch.Tensor) -> None:
        most = self.most_tokens
        if most is not None and tokens.shape[1] > most:
            raise ValueError(
                f"prompts of {tokens.shape[1]} tokens but this model reads {most}; set dataset.sequence_length={most}"
            )


class CausalLM(LanguageModel):
    """Answers stand after the last token. Causal attention looks to the left alone, so padding needs no mask."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.check_width(tokens)
        logits = self.lm(input_ids=tokens, attention_mask=self.mask(tokens.shape[1])).logits  # (b, s, c)
        return logits[torch.arange(len(tokens), device=tokens.device), last_positions(tokens, self.pad)]

    def mask(self, width: int) -> torch.Tensor | None:
        return causal_mask(width, self)


class MaskedLM(LanguageModel):
    """Answers stand at the mask token, `mask`."""

    def __init__(self, lm: Any, pad: int, mask: int) -> None:
        super().__init__(lm, pad)
        self._mask = mask

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.check_width(tokens)
        logits = self.lm(input_ids=tokens, attention_mask=self.scores_of_padding(tokens)).logits  # (b, s, c)
        return logits[torch.arange(len(tokens), device=tokens.device), (tokens == self._mask).int().argmax(dim=1)]


class TextEncoder(LanguageModel):
    """A linear head that starts near zero reads the mean over all tokens of a prompt."""

    def __init__(self, lm: Any, pad: int, classes: int, seed: int) -> None:
        super().__init__(lm, pad)
        self.answers = nn.Linear(lm.config.hidden_size, classes).to(lm.dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.answers.weight.normal_(std=0.02, generator=generator)
            self.answers.bias.zero_()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.check_width(tokens)
        hidden = self.lm(input_ids=tokens, attention_mask=self.scores_of_padding(tokens)).last_hidden_state  # (b, s, h)
        real = (tokens != self.pad).unsqueeze(2).to(hidden.dtype)
        return self.answers((hidden * real).sum(dim=1) / real.sum(dim=1))


class Classifier(LanguageModel):
    """A model with the head that transformers gives its kind for the classes of a text. Where the model looks to the
    left alone, the head reads the last token of a prompt."""

    def __init__(self, lm: Any, pad: int, is_causal: bool, new: Iterable[str]) -> None:
        """new: what of `lm` was given no weights, and begins at random."""
        super().__init__(lm, pad)
        # The part below is told of none: some would look for it in every batch, which reads the tokens.
        lm.base_model.config = copy.copy(lm.config)
        lm.base_model.config.pad_token_id = None
        lm.config.get_text_config().pad_token_id = pad  # by which the head finds the last token
        # Adapters go into what is below the head, which is trained beside them.
        below = f"lm.{lm.base_model_prefix}"
        self.traits = replace(self.traits, adapted=below, new=frozenset(f"lm.{name}" for name in new))
        self._is_causal = is_causal

    @property
    def head(self) -> dict[str, nn.Parameter]:
        """What is trained beside adapters, by its name in the model of transformers."""
        below = f"{self.lm.base_model_prefix}."
        every = self.lm.named_parameters()
        return {name: one for name, one in every if not name.startswith(below) or f"lm.{name}" in self.traits.new}

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.check_width(tokens)
        mask = causal_mask(tokens.shape[1], self) if self._is_causal else self.scores_of_padding(tokens)
        return self.lm(input_ids=tokens, attention_mask=mask).logits  # (b, c)


@dataclass(frozen=True)
class Trimmed:
    """Leaves out columns that are padding, `pad`, in every row."""

    pad: int

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """As wide as the longest prompt, rounded up as the data set's are."""
        longest = int(last_positions(tokens, self.pad).max()) + 1
        return tokens[:, : -(-longest // WIDTH_MULTIPLE) * WIDTH_MULTIPLE]


def causal_mask(width: int, model: LanguageModel) -> torch.Tensor | None:
    """For some kernels what is added to scores, (1, 1, s, s); the others know what is causal."""
    if model.lm.config._attn_implementation not in ("eager", GROUPED):
        return None
    dtype = model.computes_in
    blocked = torch.full((width, width), torch.finfo(dtype).min, dtype=dtype, device=model.lm.device)
    return blocked.triu(diagonal=1)[None, None]


def last_positions(tokens: torch.Tensor, pad: int) -> torch.Tensor:
    """Where each prompt ends, (b,) int64."""
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    return (positions * (tokens != pad)).amax(dim=1)


def numbered_layers(model: nn.Module) -> dict[str, str]:
    """The block of each module: layers are numbered in the model, what comes before them embeds, what comes after
    answers."""
    blocks, current = {}, "embeddings"
    for name, _ in model.named_modules():
        numbered = re.match(r"(.+?\.\d+)(?:\.|$)", name)
        if numbered:
            current = numbered.group(1)
        elif current != "embeddings":
            current = ANSWERS
        blocks[name] = current
    return blocks


def keep_answers(lm: Any, answers: Sequence[int]) -> None:
    """Replace the output embedding of `lm` by its rows of the tokens `answers`."""
    whole = lm.get_output_embeddings()
    kept = nn.Linear(whole.in_features, len(answers), bias=whole.bias is not None, dtype=whole.weight.dtype)
    rows = torch.tensor(answers, device=whole.weight.device)
    if whole.weight.is_meta:
        kept = kept.to("meta")
    with torch.no_grad():
        kept.weight.copy_(whole.weight[rows])
        if whole.bias is not None:
            kept.bias.copy_(whole.bias[rows])
    lm.config.tie_word_embeddings = False
    lm.set_output_embeddings(kept)
