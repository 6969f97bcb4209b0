"""Counter-based noise hashed, looked up and added in one sweep over weights on a CUDA device.

Needs triton, which comes with PyTorch's builds for CUDA on Linux. Bit-identical to the kernels of `counter_noise`: the
same integers, the same table, the same roundings. Nothing of a tensor's size is held.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch._subclasses.fake_tensor import FakeTensor

from tightfit.numerics.noise.counter_noise import Key, as_int64, field_bits, width
from tightfit.numerics.seeds import SPLITMIX_MULTIPLIERS, SPLITMIX_SHIFTS
from tightfit.numerics.threads import Work

NUMBERS = 2048  # of one program
HOW_COMPILED = {"enable_fp_fusion": False}  # a product is rounded before it is added

SHIFT_1, SHIFT_2, SHIFT_3 = (tl.constexpr(shift) for shift in SPLITMIX_SHIFTS)
MULTIPLIER_1, MULTIPLIER_2 = (tl.constexpr(as_int64(multiplier)) for multiplier in SPLITMIX_MULTIPLIERS)


def triton_work(
    source: torch.Tensor, target: torch.Tensor, table: torch.Tensor, scale: float, key: Key, rounding: Key | None
) -> list[Work]:
    """What writes `source` + `scale` × the numbers of `table` that the stream of `key` picks to `target`.

    See `counter_noise`. Nothing is to be done for tensors without data, as it would allocate nothing.
    """
    if isinstance(source, FakeTensor):
        return []
    keys = [as_int64(half) for half in (*key, *(rounding or (0, 0)))]
    how = (width(table), field_bits(table), NUMBERS, rounding is not None and target.dtype != torch.float32)

    def work() -> None:
        with torch.cuda.device_of(source):
            programs = (triton.cdiv(len(source), NUMBERS),)
            _add[programs](source, target, table, scale, len(source), *keys, *how, **HOW_COMPILED)

    return [work]


@triton.jit(do_not_specialize=["scale", "size", "low", "high", "rounding_low", "rounding_high"])
def _add(
    source: tl.tensor,
    target: tl.tensor,
    table: tl.tensor,
    scale: tl.tensor,
    size: tl.tensor,
    low: tl.tensor,
    high: tl.tensor,
    rounding_low: tl.tensor,
    rounding_high: tl.tensor,
    width: tl.constexpr,
    field_bits: tl.constexpr,
    numbers: tl.constexpr,
    stochastically: tl.constexpr,
) -> None:
    """The sums of one program's numbers."""
    index, lane, place = _places(tl.program_id(0).to(tl.int64), 64 // field_bits * width, numbers)
    row = _field(_word(index, low, high), lane, width, field_bits)
    noise = tl.load(table + row.to(tl.int32) * width + lane % width) * scale
    total = tl.load(source + place, mask=place < size).to(tl.float32) + noise
    brain: tl.constexpr = target.dtype.element_ty == tl.bfloat16
    if stochastically:
        bits = _word(place // 4, rounding_low, rounding_high) >> (16 * (place % 4)).to(tl.uint64)
        total = _rounded(total, (bits & 0xFFFF).to(tl.uint32), brain)
    elif brain:
        total = _nearest(total)
    tl.store(target + place, total.to(target.dtype.element_ty), mask=place < size)


@triton.jit
def _places(
    program: tl.tensor, per_word: tl.constexpr, numbers: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Of the numbers of a program, in rows that share a word, for a word is hashed once: which word, which of those
    that share it, and which number."""
    rows: tl.constexpr = numbers // per_word
    index = program * rows + tl.arange(0, rows)[:, None]
    lane = tl.arange(0, per_word)[None, :]
    return index, lane, index * per_word + lane


@triton.jit
def _field(word: tl.tensor, lane: tl.tensor, width: tl.constexpr, field_bits: tl.constexpr) -> tl.tensor:
    """The row of the table that the bits of `word` pick for each `lane`; `width` neighbours have one row."""
    return (word >> (field_bits * (lane // width)).to(tl.uint64)) & ((1 << field_bits) - 1)


@triton.jit
def _nearest(total: tl.tensor) -> tl.tensor:
    """The bfloat16 numbers nearest to `total`, ties to even, as float32.

    Not left to the conversion, for Triton's interpreter truncates.
    """
    return _rounded(total, 0x7FFF + ((total.to(tl.uint32, bitcast=True) >> 16) & 1), True)


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
