"""Answers of several tokens, and answers of an example's own: each is appended to the prompt and scored whole.

The score of an answer is the mean log-probability of its tokens, so that long ones do not lose for their length, as
in MeZO's protocol (Malladi et al., 2023, app. E; Brown et al., 2020, sec. 2.4). All tokens of the prompt are read anew
for each answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tightfit.datasets.dataset import Appended, Examples
from tightfit.datasets.prompts import ANSWER, Labelled, Prompting, Prompts, Reader, Tokenizer, Tokens, filled, padded


def reader_of(prompting: Prompting, tokenizer: Tokenizer) -> Reader:
    """How a model of `tokenizer` reads the task: by one pass where each answer is one token, or where the model has a
    head; else by one for each answer.

    Raises ValueError for answers that are alike to the model, and for several tokens where it answers at one place.
    """
    if prompting.choices is not None:
        if not tokenizer.answers_last or tokenizer.answer("a") is None:
            raise ValueError(
                "answers of an example's own are read one by one, for which a causal model is needed; choose "
                "model=hf_causal_lm"
            )
        return Candidates(prompting, tokenizer)
    found: dict[tuple[int, ...], str] = {}
    for word in prompting.verbalizers:
        tokens = tokenizer.answer(spaced(prompting) + word)
        if tokens is None:
            return Prompts(prompting, tokenizer, ())
        if tuple(tokens) in found:
            alike = "the same token" if len(tokens) == 1 else "the same tokens"
            raise ValueError(f"verbalizers {found[tuple(tokens)]!r} and {word!r} are {alike} to this model")
        if len(tokens) != 1 and not tokenizer.answers_last:
            raise ValueError(
                f"verbalizer {word!r} is {len(tokens)} tokens to this model, which answers at one place; choose words "
                "of one token, or a causal model"
            )
        found[tuple(tokens)] = word
    if all(len(tokens) == 1 for tokens in found):
        return Prompts(prompting, tokenizer, tuple(token for (token,) in found))
    return Candidates(prompting, tokenizer)


def spaced(prompting: Prompting) -> str:
    """What stands between a prompt and its answer, which is the answer's to many tokenizers."""
    return " " if prompting.template.partition(ANSWER)[0].endswith(" ") else ""


class Candidates:
    """For each text a row for each answer: the prompt, then the answer."""

    def __init__(self, prompting: Prompting, tokenizer: Tokenizer) -> None:
        self.cut = 0
        self._prompting, self._tokenizer = prompting, tokenizer
        self._before, _, after = prompting.template.partition(ANSWER)
        self._longest_answer = max((len(self._tokens(word)) for word in prompting.verbalizers), default=1)
        if after:
            raise ValueError(
                f"dataset.template goes on after the answer ({after!r}), but answers of several tokens come last"
            )

    @property
    def answers(self) -> Appended:
        return Appended(self._longest_answer)

    def read(self, text: Labelled) -> Tokens:
        before, rows, counts = filled(self._before, text), [], []
        for word in self._prompting.verbalizers or text.choices:
            answer = self._tokens(word, text.source)
            room = self._prompting.sequence_length - len(answer)
            if room < 1:
                raise ValueError(
                    f"{text.source or 'a text'}: the answer {word!r} is {len(answer)} tokens, which leaves no place "
                    f"for a prompt in dataset.sequence_length={self._prompting.sequence_length}; choose more"
                )
            prompt, cut = self._tokenizer.prompt(before, "", room)
            self.cut += cut
            self._longest_answer = max(self._longest_answer, len(answer))
            rows.append([*prompt, *answer])
            counts.append(len(answer))
        return Tokens(rows, counts)

    def examples(self, read: Sequence[Tokens], texts: Sequence[Labelled]) -> Examples:
        """inputs: (n, k, a + s) int64: the places of an answer's tokens, 0 where it has fewer than the longest, `a`;
        then the prompt and the answer, padded on the right."""
        rows = [row for each in read for row in each.rows]
        counts = [count for each in read for count in each.answers]
        tokens = padded(rows, self._tokenizer.pad)
        places = torch.zeros(len(rows), self._longest_answer, dtype=torch.int64)
        for own, row, count in zip(places, rows, counts, strict=True):
            own[:count] = torch.arange(len(row) - count, len(row))
        inputs = torch.cat([places, tokens], dim=1).view(len(read), -1, places.shape[1] + tokens.shape[1])
        return Examples(inputs, torch.tensor([text.label for text in texts], dtype=torch.int64))

    def _tokens(self, word: str, source: str = "") -> list[int]:
        tokens = self._tokenizer.answer(spaced(self._prompting) + word)
        if not tokens:
            raise ValueError(f"{source or 'dataset.verbalizers'}: the answer {word!r} is no token to this model")
        return tokens
