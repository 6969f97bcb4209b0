"""Language models that choose among answers of any length: (b, k, a + s) in, a score for each of k answers out.

Each answer is read after the prompt in a row of its own. Its score is the mean log-probability of its tokens. The
logits of the whole vocabulary are computed at the places of answers alone, (b · k, a, 50,000) numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from tightfit.models.language_model import CausalLM, Trimmed

# What some architectures do to logits after the output embedding, and the value with which they do nothing.
AFTER_LOGITS = {"final_logit_softcapping": None, "logit_scale": 1.0, "logits_scaling": 1.0}
SCORED_AT_ONCE = 8  # examples


class CandidateLM(CausalLM):
    """A causal model of the transformers library with its whole output embedding.

    longest: the most tokens of an answer, `a`, whose places stand before the tokens of each row: see
    `datasets.candidates`.
    """

    def __init__(self, lm: Any, pad: int, longest: int) -> None:
        super().__init__(lm, pad)
        for name, nothing in AFTER_LOGITS.items():
            if (value := getattr(lm.config, name, None)) not in (None, nothing):
                raise ValueError(
                    f"a model with {name}={value} is not scored on answers of several tokens; choose words of one token"
                )
        self.longest = longest
        self.traits = replace(
            self.traits, input_encoding=lambda mean, std: TrimmedRows(self), scoring_batch=SCORED_AT_ONCE
        )

    @property
    def most_tokens(self) -> int | None:
        """Of a row with its places."""
        most = super().most_tokens
        return None if most is None else most + self.longest

    def check_width(self, tokens: torch.Tensor) -> None:
        most = super().most_tokens
        if most is not None and tokens.shape[1] > most:
            raise ValueError(
                f"prompts with answers of {tokens.shape[1]} tokens but this model reads {most}; set "
                f"dataset.sequence_length={most}"
            )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        examples, answers = tokens.shape[:2]
        rows = tokens.flatten(0, 1)
        places, tokens = rows[:, : self.longest], rows[:, self.longest :]  # (b·k, a), (b·k, s)
        self.check_width(tokens)
        body = self.lm.base_model
        hidden = body(input_ids=tokens, attention_mask=self.mask(tokens.shape[1])).last_hidden_state  # (b·k, s, h)
        before = (places - 1).clamp(min=0).unsqueeze(2).expand(-1, -1, hidden.shape[2])
        logits = self.lm.get_output_embeddings()(hidden.gather(1, before)).float()  # (b·k, a, v)
        said = logits.log_softmax(dim=2).gather(2, tokens.gather(1, places).unsqueeze(2)).squeeze(2)
        is_answer = (places > 0).to(said.dtype)  # no answer begins a row
        means = (said * is_answer).sum(dim=1) / is_answer.sum(dim=1).clamp(min=1)
        return means.view(examples, answers)


@dataclass(frozen=True)
class TrimmedRows:
    """Leaves out columns of tokens that are padding in every row."""

    model: CandidateLM

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        longest = self.model.longest
        tokens = Trimmed(self.model.pad)(rows[..., longest:].flatten(0, 1))
        return torch.cat([rows[..., :longest], tokens.view(*rows.shape[:2], -1)], dim=2)
