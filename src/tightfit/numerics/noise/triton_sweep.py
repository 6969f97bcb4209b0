"""One launch that moves all weights of one type, of one run or of many, by numbers in device memory.

Needs triton. Bit-identical to the kernels of `counter_noise`, one move after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl

from tightfit.numerics.noise.counter_noise import TensorKeys, as_int64, field_bits, width
from tightfit.numerics.noise.triton_noise import HOW_COMPILED, NUMBERS, _field, _mixed, _nearest, _places, _word

ELEMENTS = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
ALIGNED = 16  # bytes that are read and written at once, where all weights begin at a multiple of them
COLUMNS = tl.constexpr(6)  # of a plan: address, size, first program, key of words, key of counters, run


class TritonSweep:
    """Adds numbers of `table` to tensors of one type.

    tensors: the number of a run, flat weights of its, and the keys of their directions.
    """

    def __init__(self, tensors: Sequence[tuple[int, torch.Tensor, TensorKeys]], table: torch.Tensor) -> None:
        self._weights = [weights for _, weights, _ in tensors]  # kept, for a plan has only addresses
        self._table = table
        programs = [triton.cdiv(len(weights), NUMBERS) for weights in self._weights]
        firsts = [0, *accumulate(programs)]
        rows = [
            (weights.data_ptr(), len(weights), first, as_int64(keys.words), as_int64(keys.counters), run)
            for (run, weights, keys), first in zip(tensors, firsts, strict=False)
        ]
        self._plan = torch.tensor(rows, dtype=torch.int64).to(table.device)
        row_of_program = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(programs))
        self._row_of_program = row_of_program.to(table.device, torch.int32)
        aligned = all(weights.data_ptr() % ALIGNED == 0 for weights in self._weights)
        element = ELEMENTS[self._weights[0].dtype]
        self._how = (element, width(table), field_bits(table), NUMBERS, aligned)

    def add_(self, scales: torch.Tensor, counters: torch.Tensor, skipped: torch.Tensor) -> None:
        """scales, counters: (m, k); skipped: (k,), as in `DeviceMoves`."""
        moves, runs = scales.shape
        given = (self._plan, self._row_of_program, self._table, scales, counters, skipped, runs)
        with torch.cuda.device_of(self._table):
            _add_moves[(len(self._row_of_program),)](*given, moves, *self._how, **HOW_COMPILED)


@triton.jit(do_not_specialize=["runs"])
def _add_moves(
    plan: tl.tensor,
    row_of_program: tl.tensor,
    table: tl.tensor,
    scales: tl.tensor,
    counters: tl.tensor,
    skipped: tl.tensor,
    runs: tl.tensor,
    moves: tl.constexpr,
    element: tl.constexpr,
    width: tl.constexpr,
    field_bits: tl.constexpr,
    numbers: tl.constexpr,
    aligned: tl.constexpr,
) -> None:
    """One program's numbers of one tensor; what is read of the plan is one number each."""
    per_word: tl.constexpr = 64 // field_bits * width
    program = tl.program_id(0)
    row = plan + tl.load(row_of_program + program).to(tl.int64) * COLUMNS
    run = tl.load(row + 5)
    first = tl.load(skipped + run)
    if first < moves:
        size, low, key = tl.load(row + 1), tl.load(row + 3), tl.load(row + 4)
        index, lane, place = _places(program - tl.load(row + 2), per_word, numbers)
        weights = tl.load(row).to(tl.pointer_type(element)) + place
        if aligned:  # what the compiler cannot tell of an address that is read
            weights = tl.max_contiguous(tl.multiple_of(weights, [1, 16]), [1, per_word])
        whole = (program - tl.load(row + 2) + 1) * numbers <= size  # without a mask several numbers are read at once
        total = tl.load(weights).to(tl.float32) if whole else tl.load(weights, mask=place < size).to(tl.float32)
        for move in tl.static_range(moves):
            scale, counter = tl.load(scales + move * runs + run), tl.load(counters + move * runs + run)
            word = _word(index, low, _mixed(counter.to(tl.uint64) ^ key.to(tl.uint64)))
            field = _field(word, lane, width, field_bits)
            if per_word == 64:  # signs: a row of their table says what its number's bits say
                moved = total + tl.where(((field >> (lane % width).to(tl.uint64)) & 1) == 1, scale, -scale)
            else:
                moved = total + tl.load(table + field.to(tl.int32)) * scale
            moved = _nearest(moved) if element == tl.bfloat16 else moved.to(element).to(tl.float32)
            total = tl.where(move >= first, moved, total)
        if whole:
            tl.store(weights, total.to(element))
        else:
            tl.store(weights, total.to(element), mask=place < size)
