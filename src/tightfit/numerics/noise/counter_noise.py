"""Counter-based noise: every number is a pure function of a key and of its place in the tensor.

A 64-bit word of random bits is a hash of (key, word index). Cut into fields, lowest first, each is a row of a table:
16 bits pick the next number of `gaussian` among 65,536, 8 bits that of `gaussian_fast` among 256, or the next eight of
`rademacher`. Nothing is carried from one number to the next, so pieces, threads, devices and kernels cannot change a
stream.

A kernel writes source + scale × noise to a target, which may be the source, in pieces of work for `threads.share_out`.
The product is rounded to float32 by itself and so is the sum, which is rounded once more to the target's type: to the
nearest, or stochastically by the bits of a second key (16-bit types only).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist

import torch

from tightfit.numerics.seeds import SPLITMIX_MULTIPLIERS, SPLITMIX_SHIFTS, derive, permute64
from tightfit.numerics.threads import Work

# Two 64-bit halves as Python integers: see `random_words`.
Key = tuple[int, int]
# (source, target, table, scale, key, key of the rounding or None for the nearest); source and target are flat.
Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float, Key, Key | None], list[Work]]

# Numbers whose noise is held at once, in tensors of more than `FEW`: enough for each operator to be shared out among
# PyTorch's threads, for Python's own would wait for one another between operators. Smaller tensors are those of models
# beside which that noise would count.
BLOCK, BLOCK_OF_FEW, FEW = 2**19, 2**15, 2**17
MANTISSA_BITS = {torch.bfloat16: 8, torch.float16: 11}  # the leading one included
LEAST_EXPONENT = {torch.bfloat16: -125, torch.float16: -13}  # of the smallest normal number, as frexp counts
FIELDS = {8: torch.uint8, 16: torch.int16}  # the types that words are cut into, by their bits


@dataclass(frozen=True)
class TensorKeys:
    """What tells the directions of a tensor from those of others; a counter tells them from one another."""

    words: int
    counters: int
    rounding: int

    def of(self, counter: int) -> Key:
        return self.words, permute64(counter, self.counters)

    def of_rounding(self, counter: int) -> Key:
        return self.rounding, permute64(counter, self.counters)


def keys_for(name: str, seed: int, noise: str) -> TensorKeys:
    return TensorKeys(
        derive(seed, noise, "words", name), derive(seed, noise, "counters", name), derive(seed, "rounding", name)
    )


def rademacher_table() -> torch.Tensor:
    """(256, 8): +1 where a bit of the row's number is set, else −1; lowest bit first."""
    bits = torch.arange(256)[:, None] >> torch.arange(8) & 1
    return (2 * bits - 1).to(torch.float32)


def gaussian_table(rows: int) -> torch.Tensor:
    """(rows,): the standard normal quantiles at (i + ½) / rows, scaled to variance 1.

    Drawn with equal chances they are a symmetric distribution with mean 0: of 65,536 rows with kurtosis 2.9992 and
    bounded by 4.32, of 256 with kurtosis 2.9 and bounded by 2.92. (A Gaussian has kurtosis 3.)
    """
    quantiles = [NormalDist().inv_cdf((i + 0.5) / rows) for i in range(rows)]
    deviation = math.sqrt(math.fsum(z * z for z in quantiles) / rows)  # an exact sum, for the bits to be the same
    return torch.tensor([z / deviation for z in quantiles], dtype=torch.float64).to(torch.float32)


# That of `gaussian` takes 256 KiB: on the CPU once a process, as a part of the program that no model's memory counts.
TABLES = {"gaussian": gaussian_table(2**16), "rademacher": rademacher_table(), "gaussian_fast": gaussian_table(2**8)}
# The same memory for compiled code. Made here: a mode that follows tensors would take what it sees for a step's own.
ARRAYS = {noise: table.numpy().reshape(-1) for noise, table in TABLES.items()}


def field_bits(table: torch.Tensor) -> int:
    """The bits of a word that pick a row of `table`."""
    return len(table).bit_length() - 1


def width(table: torch.Tensor) -> int:
    """How many numbers a row of `table` holds."""
    return table.numel() // len(table)


def numbers_per_word(table: torch.Tensor) -> int:
    return 64 // field_bits(table) * width(table)


def reference_work(
    source: torch.Tensor, target: torch.Tensor, table: torch.Tensor, scale: float, key: Key, rounding: Key | None
) -> list[Work]:
    """The obvious kernel: each number of the direction on its own, all of them held at once."""

    def work() -> None:
        place = torch.arange(len(source), device=source.device)
        bits, wide = field_bits(table), width(table)
        word = random_words(place // numbers_per_word(table), key)
        row = word >> bits * (place // wide % (64 // bits)) & len(table) - 1
        total = source.float() + table.reshape(-1)[row * wide + place % wide] * scale
        if rounding is not None and target.dtype in MANTISSA_BITS:
            chances = random_words(place // 4, rounding) >> 16 * (place % 4) & 0xFFFF
            total = rounded_stochastically(total, chances, target.dtype)
        target.copy_(total)

    return [work]


def portable_work(
    source: torch.Tensor, target: torch.Tensor, table: torch.Tensor, scale: float, key: Key, rounding: Key | None
) -> list[Work]:
    """The same in a few MB on any device: words by the thousand, each field of them one look-up."""
    block = BLOCK if len(source) > FEW else BLOCK_OF_FEW
    parts = enumerate(zip(source.split(block), target.split(block), strict=True))
    return [partial(add_block, *part, table, scale, key, rounding, number * block) for number, part in parts]


def add_block(
    source: torch.Tensor,
    target: torch.Tensor,
    table: torch.Tensor,
    scale: float,
    key: Key,
    rounding: Key | None,
    start: int,
) -> None:
    """The part of the sum whose noise is held at once; `start`: its place in the tensor."""
    noise = noise_at(slice(start, start + len(source)), table, key).mul_(scale)
    write_sum(source, target, noise, rounding, start)


def write_sum(
    source: torch.Tensor, target: torch.Tensor, noise: torch.Tensor, rounding: Key | None, start: int
) -> None:
    """Write `source` + `noise`, which is float32 and overwritten, to `target`. start: the place in the tensor."""
    if target.dtype == torch.float32:
        torch.add(source, noise, out=target)
        return
    total = noise.add_(source)
    if rounding is not None:
        bits = rounding_bits(start, len(source), rounding, source.device)
        total = rounded_stochastically(total, bits, target.dtype)
    target.copy_(total)


def noise_at(places: slice, table: torch.Tensor, key: Key) -> torch.Tensor:
    """The numbers of a direction at `places`, which start at a word: float32."""
    fields = random_bits(places, numbers_per_word(table), key, FIELDS[field_bits(table)], table.device)
    rows = fields.long().bitwise_and_(len(table) - 1)
    return table.index_select(0, rows).view(-1)[: places.stop - places.start]


def random_bits(places: slice, per_word: int, key: Key, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The words that serve `places`, which start at a word, cut into numbers of `dtype`, lowest bits first."""
    index = torch.arange(places.start // per_word, -(-places.stop // per_word), device=device)
    parts = random_words(index, key).view(dtype)
    if sys.byteorder == "little":
        return parts
    return parts.view(len(index), -1).flip(1).reshape(-1)


def rounding_bits(first: int, count: int, key: Key, device: torch.device) -> torch.Tensor:
    """16 random bits for each of `count` places from `first` on, a multiple of four, as int32."""
    return random_bits(slice(first, first + count), 4, key, torch.int16, device)[:count].int() & 0xFFFF


def random_words(index: torch.Tensor, key: Key) -> torch.Tensor:
    """64 random bits for each word index: (n,) int64 → (n,) int64. `index` is overwritten.

    Two rounds of the mixing, with half of the key before each: streams whose first halves differ visit the words in
    another order, and the second half parts even those that meet.
    """
    index ^= as_int64(key[0])
    mix_(index)
    index += as_int64(key[1])
    return mix_(index)


def mix_(x: torch.Tensor) -> torch.Tensor:
    """An invertible scrambling of 64 bits in place: as in `permute64`."""
    for shift, multiplier in zip(SPLITMIX_SHIFTS, SPLITMIX_MULTIPLIERS, strict=False):
        fold_(x, shift).mul_(as_int64(multiplier))
    return fold_(x, SPLITMIX_SHIFTS[-1])


def fold_(x: torch.Tensor, shift: int) -> torch.Tensor:
    """X ^ (x >> shift) in place; the shift of signed numbers copies the sign, which the mask takes away."""
    return x.bitwise_xor_(torch.bitwise_right_shift(x, shift).bitwise_and_(2 ** (64 - shift) - 1))


def as_int64(number: int) -> int:
    """The signed number with the 64 bits of `number`; products and sums of int64 keep the lowest 64 bits."""
    return number - 2**64 if number >= 2**63 else number


def rounded_stochastically(x: torch.Tensor, bits: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Float32 numbers that `dtype` holds: |x| is rounded down, or up with a chance equal to the part cut off.

    So the mean is x, and a number that `dtype` holds stays as it is. bits: 16 random bits for each, as integers.
    """
    exponent = torch.frexp(x).exponent.clamp_(min=LEAST_EXPONENT[dtype])
    unit = torch.ldexp(torch.ones_like(x), exponent - MANTISSA_BITS[dtype])
    fraction_bits = 24 - MANTISSA_BITS[dtype]  # of a float32, so that the sum is exact
    units = (x.abs() / unit + (bits >> 16 - fraction_bits) / 2**fraction_bits).floor_()
    return torch.copysign(units * unit, x)
