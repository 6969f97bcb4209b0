"""Integer training in Python's own integers, one number at a time."""

import math
from fractions import Fraction


def bit_width(numbers: list[int]) -> int:
    largest, bits = max(abs(n) for n in numbers), 0
    while 2**bits < largest:
        bits += 1
    return bits


def signed(magnitude: int, like: int) -> int:
    return -magnitude if like < 0 else magnitude


def nearest_shift(number: int, shift: int) -> int:
    return signed(math.floor(Fraction(abs(number), 2**shift) + Fraction(1, 2)), number)


def pseudo_stochastic_shift(number: int, shift: int) -> int:
    quotient, discarded = divmod(abs(number), 2**shift)
    bits = shift // 2
    upper, lower = divmod(discarded, 2**bits)
    if shift % 2:
        lower *= 2
    return signed(quotient + (upper > lower), number)


def clip(number: int, limit: int = 127) -> int:
    return max(-limit, min(limit, number))


def requantized(accumulators: list[int], exponent: int) -> tuple[list[int], int]:
    shift = max(0, bit_width(accumulators) - 7)
    return [clip(nearest_shift(a, shift)) for a in accumulators], exponent + shift


def update_of(gradient: list[int], bits: int) -> list[int]:
    width = bit_width(gradient)
    if width == 0:
        return [0] * len(gradient)
    return [clip(pseudo_stochastic_shift(g, max(0, width - bits))) for g in gradient]


def direction(field: int, r_max: int, zeros: int) -> int:
    """Of 32 random bits: the lower half, as a signed number, says which of −r_max … r_max, the upper whether 0."""
    lower, upper = field % 2**16, field // 2**16
    signed_lower = lower - 2**16 if lower >= 2**15 else lower
    return (
        0 if upper < zeros else math.floor(Fraction((2 * signed_lower + 1) * (2 * r_max + 1), 2**17) + Fraction(1, 2))
    )


def matmul(left: list[list[int]], right: list[list[int]]) -> list[list[int]]:
    return [
        [sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*right, strict=True)] for row in left
    ]


def powers_of_two(logits: list[int], exponent: int, common: int, label: int, fraction_bits: int) -> list[int]:
    values = [logit * 2 ** (exponent - common) for logit in logits]
    scale = Fraction(2) ** (common - 15 + fraction_bits)
    return [math.floor(47274 * (value - values[label]) * scale) for value in values]


def log2_of_sum(powers: list[int], top: int, fraction_bits: int) -> int:
    """In steps of 2**−fraction_bits, from terms rounded down to whole numbers. The nth root of n is by bisection."""
    steps = 2**fraction_bits
    kept = [power - top + (10 + 4 * fraction_bits) * steps for power in powers]
    total = max(2**fraction_bits, sum(floor_power_of_two(fraction_bits * steps + k, steps) for k in kept if k > 0))
    return (total**steps).bit_length() - 1


def floor_power_of_two(numerator: int, denominator: int) -> int:
    """⌊2**(numerator / denominator)⌋."""
    low, high = 1, 2 ** (numerator // denominator + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**denominator <= 2**numerator else (low, middle)
    return low


def loss_difference(
    plus: list[list[int]], plus_exponent: int, minus: list[list[int]], minus_exponent: int, labels: list[int], bits: int
) -> int:
    common, total = min(plus_exponent, minus_exponent), 0
    for a, b, label in zip(plus, minus, labels, strict=True):
        a_powers = powers_of_two(a, plus_exponent, common, label, bits)
        b_powers = powers_of_two(b, minus_exponent, common, label, bits)
        top = max(a_powers + b_powers)
        total += log2_of_sum(a_powers, top, bits) - log2_of_sum(b_powers, top, bits)
    return total


def logits_error(logits: list[int], exponent: int, label: int) -> list[int]:
    """Before its last rounding: the gradient in units of 2**−11."""
    if exponent > -7:
        powers = [math.floor(((logit * 47274) >> 15) * Fraction(2) ** exponent) for logit in logits]
        terms = [2 ** max(power - max(powers) + 10, 0) - 1 for power in powers]
    else:
        terms = [2 ** (1 - 2 * exponent) + logit * 2 ** (1 - exponent) + logit**2 for logit in logits]
    errors = [term * 2**11 // sum(terms) for term in terms]
    errors[label] -= sum(errors)
    return errors
