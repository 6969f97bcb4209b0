from collections.abc import Callable

import pytest
import torch
from torch import nn

from tightfit.numerics.noise.counter_noise import (
    BLOCK,
    TABLES,
    Kernel,
    Key,
    TensorKeys,
    field_bits,
    numbers_per_word,
    portable_work,
    random_words,
    reference_work,
    width,
)
from tightfit.numerics.noise.perturbation import KERNELS, Perturbation, check_noise
from tightfit.numerics.noise.streams import choose_kernel
from tightfit.numerics.seeds import MASK64, permute64
from tightfit.numerics.threads import Work
from tightfit.records.machine import has_numba

every_noise = pytest.mark.parametrize("noise", TABLES)
every_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
SIZES = [1, 7, 8, 63, 64, 65, 3 * 2**16 + 33, 2 * BLOCK + 2]
KEYS, COUNTER = TensorKeys(0xDEADBEEF, 2**64 - 3, 2**63), 7
KEY = KEYS.of(COUNTER)


def number(noise: str, place: int, key: Key) -> float:
    """The slow twin: one number from Python's integers."""
    table = TABLES[noise]
    bits, wide = field_bits(table), width(table)
    mixed = permute64(place // numbers_per_word(table), key[0])
    word = permute64((mixed + key[1]) & MASK64, 0)
    row = word >> bits * (place // wide % (64 // bits)) & (2**bits - 1)
    return table.flatten()[row * wide + place % wide].item()


# What adds `scale` × numbers of a noise to `source`, at `target`.
Add = Callable[[torch.Tensor, torch.Tensor, str, float, bool], list[Work]]


def by(kernel: Kernel) -> Add:
    def works(source: torch.Tensor, target: torch.Tensor, noise: str, scale: float, chance: bool) -> list[Work]:
        return kernel(source, target, TABLES[noise], scale, KEY, KEYS.of_rounding(COUNTER) if chance else None)

    return works


def fused(source: torch.Tensor, target: torch.Tensor, noise: str, scale: float, chance: bool) -> list[Work]:
    from tightfit.numerics.noise.fused_noise import FusedSweep

    return FusedSweep([(source, KEYS)], noise).work([(scale, COUNTER)], chance, target)


OTHERS: list[Add] = [by(portable_work), *([fused] if has_numba() else [])]


def add(
    works: Add,
    source: torch.Tensor,
    target: torch.Tensor,
    noise: str,
    scale: float = 1.0,
    stochastically: bool = False,
) -> None:
    """Last things first: the pieces of a kernel's work may be done in any order."""
    for work in reversed(works(source, target, noise, scale, stochastically)):
        work()


def direction(noise: str, size: int, kernel: str = "auto", step: int = 0) -> torch.Tensor:
    weights = nn.Parameter(torch.zeros(size), requires_grad=False)
    Perturbation([("w", weights)], 0, 1, noise, kernel).add_(1.0, step)
    return weights.data


@every_noise
def test_every_number_is_a_function_of_its_key_and_place(noise: str) -> None:
    zero, numbers = torch.zeros(300), torch.empty(300)
    add(by(reference_work), zero, numbers, noise)
    assert numbers.tolist() == [number(noise, place, KEY) for place in range(300)]


@every_noise
@every_type
@pytest.mark.parametrize("stochastically", [False, True], ids=["to_nearest", "stochastically"])
def test_all_kernels_give_the_same_bits(noise: str, dtype: torch.dtype, stochastically: bool) -> None:
    scale = 1.1e-3
    for size in SIZES:
        source = (0.02 * torch.randn(size, generator=torch.Generator().manual_seed(size))).to(dtype)
        expected = torch.empty_like(source)
        add(by(reference_work), source, expected, noise, scale, stochastically)
        for kernel in OTHERS:
            apart, in_place = torch.empty_like(source), source.clone()
            add(kernel, source, apart, noise, scale, stochastically)
            add(kernel, in_place, in_place, noise, scale, stochastically)
            assert torch.equal(apart, expected)
            assert torch.equal(in_place, expected)


@every_noise
@every_type
def test_kernels_agree_about_weights_at_the_ends_of_their_range(noise: str, dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    ends = torch.tensor([0.0, -0.0, limits.tiny, -limits.tiny / 4, limits.max, torch.inf, -torch.inf, torch.nan])
    source = ends.to(dtype).repeat(20)
    for scale in (1.0, limits.tiny, 0.0):
        for stochastically in (False, True):
            expected, moved = torch.empty_like(source), torch.empty_like(source)
            add(by(reference_work), source, expected, noise, scale, stochastically)
            for kernel in OTHERS:
                add(kernel, source, moved, noise, scale, stochastically)
                torch.testing.assert_close(moved, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [2.0**-26, 2.0**-15, 1e-3, 1.0, 3e4])
def test_kernels_agree_about_every_number_of_16_bits(dtype: torch.dtype, scale: float) -> None:
    source = torch.arange(2**16).to(torch.uint16).view(dtype)
    for stochastically in (False, True):
        expected, moved = torch.empty_like(source), torch.empty_like(source)
        add(by(reference_work), source, expected, "gaussian_fast", scale, stochastically)
        for kernel in OTHERS:
            add(kernel, source, moved, "gaussian_fast", scale, stochastically)
            torch.testing.assert_close(moved, expected, rtol=0, atol=0, equal_nan=True)


@every_noise
@pytest.mark.parametrize("kernel", ["auto", "portable"])
def test_noise_does_not_depend_on_the_thread_count(noise: str, kernel: str) -> None:
    before, directions = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        directions.append(direction(noise, 300_001, kernel))
    torch.set_num_threads(before)
    assert torch.equal(directions[0], directions[1])
    assert torch.equal(directions[0], directions[2])


@every_noise
def test_a_shorter_tensor_gets_the_first_numbers_of_a_longer_one(noise: str) -> None:
    whole = direction(noise, 70_000)
    for size in (1, 9, 64, 1000, 65_537):
        assert torch.equal(direction(noise, size), whole[:size])


@every_noise
def test_moments_are_those_of_the_standard_normal(noise: str) -> None:
    table = TABLES[noise].double()
    assert abs(table.mean()) < 1e-7
    assert abs(table.square().mean() - 1) < 1e-6
    z, n = direction(noise, 400_000), 400_000
    assert abs(z.mean()) < 5 / n**0.5  # five standard errors, as below
    for lag in (1, 8, 64):
        assert abs((z[lag:] * z[:-lag]).mean()) < 5 / n**0.5
    assert abs((z * direction(noise, n, step=1)).mean()) < 5 / n**0.5


@every_noise
def test_twenty_thousand_steps_have_directions_of_their_own(noise: str) -> None:
    seen = {direction(noise, 64, step=step).numpy().tobytes() for step in range(20_000)}
    assert len(seen) == 20_000


def test_words_of_a_stream_do_not_repeat() -> None:
    assert len(random_words(torch.arange(2**18), (1, 2)).unique()) == 2**18


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stochastic_rounding_keeps_on_average_what_nearest_rounding_loses(dtype: torch.dtype) -> None:
    weights = torch.ones(100_000, dtype=dtype)
    unit = torch.finfo(dtype).eps
    table = torch.full((256,), unit / 16)  # a sixteenth of what separates 1 from the next number
    moved = torch.empty_like(weights)
    for rounding in (None, KEYS.of_rounding(COUNTER)):
        assert torch.equal(moved, weights) or rounding is None
        for work in portable_work(weights, moved, table, 1.0, KEY, rounding):
            work()
    steps = (moved.float() - 1) / unit
    assert set(steps.tolist()) == {0.0, 1.0}
    assert steps.mean().item() == pytest.approx(1 / 16, abs=5 * (1 / 16 / 100_000) ** 0.5)  # five standard errors


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stochastic_rounding_leaves_alone_what_needs_no_rounding(dtype: torch.dtype) -> None:
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    every = every[every.isfinite()]
    moved = torch.empty_like(every)
    add(by(portable_work), every, moved, "rademacher", 0.0, stochastically=True)
    assert torch.equal(moved, every)


@pytest.mark.parametrize(
    ("noise", "kernel", "message"),
    [
        ("pink", "auto", "noise='pink' is not a stream; choose gaussian, rademacher, gaussian_fast, torch_gaussian"),
        ("rademacher", "magic", "kernel='magic' is not a kernel; choose auto, reference, portable, fused"),
        ("torch_gaussian", "fused", "choose kernel=auto, or noise=gaussian or rademacher or gaussian_fast"),
    ],
)
def test_unknown_streams_and_kernels_are_refused(noise: str, kernel: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_noise(noise, kernel)


def test_every_kernel_moves_weights_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tightfit.numerics.noise.streams.has_numba", lambda: False)
    directions = [direction("rademacher", 1000, kernel, step=7) for kernel in KERNELS if kernel != "fused"]
    monkeypatch.undo()
    directions.append(direction("rademacher", 1000, "auto", step=7))
    assert all(torch.equal(directions[0], other) for other in directions[1:])


def test_a_fused_kernel_is_refused_where_it_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tightfit.numerics.noise.streams.has_numba", lambda: True)
    with pytest.raises(ValueError, match="the weights are on meta; use the cpu or cuda"):
        choose_kernel("fused", torch.zeros(1, device="meta"))
    monkeypatch.setattr("tightfit.numerics.noise.streams.has_numba", lambda: False)
    with pytest.raises(ValueError, match="numba is not installed"):
        choose_kernel("fused", torch.zeros(1))
    assert choose_kernel("auto", torch.zeros(1)) is portable_work


def test_weights_wider_than_the_sum_are_refused() -> None:
    weights = nn.Parameter(torch.zeros(1, dtype=torch.float64), requires_grad=False)
    with pytest.raises(ValueError, match=r"w is torch.float64; choose noise=torch_gaussian"):
        Perturbation([("w", weights)], 0, noise="rademacher")
