"""Counter-based noise hashed, looked up and added in one sweep over weights on a CUDA device.

Needs triton, which comes with PyTorch's builds for CUDA on Linux. Bit-identical to the kernels of `counter_noise`: the
same integers, the same table, one float32 addition for each number. Nothing of a tensor's size is held.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch._subclasses.fake_tensor import FakeTensor

from tightfit.numerics.noise.counter_noise import Key, as_int64
from tightfit.numerics.threads import Work
from tightfit.seeds import SPLITMIX_MULTIPLIERS, SPLITMIX_SHIFTS

NUMBERS = 2048  # of one program

SHIFT_1, SHIFT_2, SHIFT_3 = (tl.constexpr(shift) for shift in SPLITMIX_SHIFTS)
MULTIPLIER_1, MULTIPLIER_2 = (tl.constexpr(as_int64(multiplier)) for multiplier in SPLITMIX_MULTIPLIERS)


def triton_work(
    source: torch.Tensor, target: torch.Tensor, table: torch.Tensor, key: Key, rounding: Key | None
) -> list[Work]:
    """What writes `source` + the numbers of `table` that the stream of `key` picks to `target`: see `counter_noise`.

    Nothing is to be done for tensors without data, as it would allocate nothing.
    """
    if isinstance(source, FakeTensor):
        return []
    keys = [as_int64(half) for half in (*key, *(rounding or (0, 0)))]
    stochastically = rounding is not None and target.dtype != torch.float32

    def work() -> None:
        with torch.cuda.device_of(source):
            programs = (triton.cdiv(len(source), NUMBERS),)
            _add[programs](source, target, table, len(source), *keys, table.shape[1], NUMBERS, stochastically)

    return [work]


@triton.jit(do_not_specialize=["size", "low", "high", "rounding_low", "rounding_high"])
def _add(
    source: tl.tensor,
    target: tl.tensor,
    table: tl.tensor,
    size: tl.tensor,
    low: tl.tensor,
    high: tl.tensor,
    rounding_low: tl.tensor,
    rounding_high: tl.tensor,
    width: tl.constexpr,
    numbers: tl.constexpr,
    stochastically: tl.constexpr,
) -> None:
    """One program's numbers as rows that share a word, for a word is hashed once."""
    per_word: tl.constexpr = 8 * width
    rows: tl.constexpr = numbers // per_word
    index = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)[:, None]  # of words
    lane = tl.arange(0, per_word)[None, :]
    place = index * per_word + lane
    byte = (_word(index, low, high) >> (8 * (lane // width)).to(tl.uint64)) & 0xFF
    noise = tl.load(table + byte.to(tl.int32) * width + lane % width)
    total = tl.load(source + place, mask=place < size).to(tl.float32) + noise
    brain: tl.constexpr = target.dtype.element_ty == tl.bfloat16
    if stochastically:
        bits = _word(place // 4, rounding_low, rounding_high) >> (16 * (place % 4)).to(tl.uint64)
        total = _rounded(total, (bits & 0xFFFF).to(tl.uint32), brain)
    elif brain:  # to the nearest, ties to even; not left to the conversion, for Triton's interpreter truncates
        total = _rounded(total, 0x7FFF + ((total.to(tl.uint32, bitcast=True) >> 16) & 1), brain)
    tl.store(target + place, total.to(target.dtype.element_ty), mask=place < size)


@triton.jit
def _word(index: tl.tensor, low: tl.tensor, high: tl.tensor) -> tl.tensor:
    """As `counter_noise.random_words`."""
    mixed = _mixed(index.to(tl.uint64) ^ low.to(tl.uint64))
    return _mixed(mixed + high.to(tl.uint64))


@triton.jit
def _mixed(x: tl.tensor) -> tl.tensor:
    x = (x ^ (x >> SHIFT_1)) * tl.full((), MULTIPLIER_1, tl.int64).to(tl.uint64)
    x = (x ^ (x >> SHIFT_2)) * tl.full((), MULTIPLIER_2, tl.int64).to(tl.uint64)
    return x ^ (x >> SHIFT_3)


@triton.jit
def _rounded(total: tl.tensor, carry: tl.tensor, brain: tl.constexpr) -> tl.tensor:
    """Float32 numbers that the type of 16 bits holds: `carry`, of 16 bits, is added where bits are cut off.

    With random bits as in `counter_noise.rounded_stochastically`.
    """
    bits = total.to(tl.uint32, bitcast=True)
    if brain:
        rounded = ((bits + carry) & 0xFFFF0000).to(tl.float32, bitcast=True)
    else:
        carry = carry >> 3
        normal = ((bits + carry) & 0xFFFFE000).to(tl.float32, bitcast=True)
        units = tl.floor(tl.abs(total) * 16777216.0 + carry.to(tl.float32) * 0.0001220703125)  # of 2⁻²⁴
        small = (units * 5.9604644775390625e-08).to(tl.uint32, bitcast=True) | (bits & 0x80000000)
        rounded = tl.where(tl.abs(total) < 6.103515625e-05, small.to(tl.float32, bitcast=True), normal)  # below 2⁻¹⁴
    return tl.where(total == total, rounded, total)
