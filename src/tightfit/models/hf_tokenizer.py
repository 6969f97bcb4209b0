"""Tokenizers: those of the transformers library, and one that needs no vocabulary file."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

from tightfit.models.hf_library import loaded, transformers

# Where a model answers: at the token after the prompt, at a mask token within it, or by a head of its own.
AnswersAt = Literal["next", "mask", "head"]


class HFTokenizer:
    """A tokenizer of the transformers library, by a name on the hub or a local folder.

    Raises DataUnavailable when it cannot be had, ValueError when it lacks a mask token that is needed.
    """

    def __init__(self, source: str, answers_at: AnswersAt = "next", gguf_file: str | None = None) -> None:
        options = {"gguf_file": gguf_file} if gguf_file else {}
        automatic = transformers().AutoTokenizer
        self._tokenizer: Any = loaded(source, lambda: automatic.from_pretrained(source, **options))
        self._tokenizer.truncation_side = "left"
        self._answers_at = answers_at
        pad, end = self._tokenizer.pad_token_id, self._tokenizer.eos_token_id
        self.pad: int = end if pad is None else pad
        self.mask: int | None = self._tokenizer.mask_token_id
        if answers_at == "mask" and self.mask is None:
            raise ValueError(f"{source} has no mask token to answer at; use model=hf_causal_lm for it")

    @property
    def answers_last(self) -> bool:
        return self._answers_at == "next"

    def prompt(self, before: str, after: str, longest: int) -> tuple[list[int], bool]:
        """See `datasets.text.Tokenizer`; a causal model must answer at the end."""
        if self._answers_at == "mask":
            text = f"{before}{self._tokenizer.mask_token}{after}"
        elif self._answers_at == "next" and after:
            raise ValueError(f"dataset.template goes on after the answer ({after!r}), but this model answers last")
        else:
            text = before.rstrip(" ") + after
        whole = self._tokenizer(text, verbose=False).input_ids
        if len(whole) <= longest:
            return whole, False
        return self._tokenizer(text, truncation=True, max_length=longest).input_ids, True

    def answer(self, word: str) -> list[int] | None:
        if self._answers_at == "head":
            return None
        return self._tokenizer(word, add_special_tokens=False).input_ids


class HashedWords:
    """Words and signs numbered by a hash of them: for models with random weights, which know no words yet."""

    answers_last = True

    def __init__(self, vocabulary: int = 1024) -> None:
        self.pad = 0
        self._vocabulary = vocabulary

    def prompt(self, before: str, after: str, longest: int) -> tuple[list[int], bool]:
        tokens = self._tokens(before + after)
        return tokens[-longest:], len(tokens) > longest

    def answer(self, word: str) -> list[int] | None:
        return self._tokens(word)

    def _tokens(self, text: str) -> list[int]:
        words = re.findall(r"\w+|[^\w\s]", text)
        digests = (hashlib.blake2b(word.encode(), digest_size=8).digest() for word in words)
        return [1 + int.from_bytes(digest) % (self._vocabulary - 1) for digest in digests]
