"""The recurrence in one buffer is the obvious one, and so are its derivatives, backward and forward."""

import torch
from torch.autograd import forward_ad, gradcheck

from tightfit.memory.measured import peak_live_bytes
from tightfit.numerics.recurrence import as_complex, in_pairs, states_of


def parts(b: int = 3, t: int = 11, h: int = 2, n: int = 5, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(b, t, h, generator=generator, dtype=dtype)
    drive = torch.randn(2 * n, h, generator=generator, dtype=dtype)
    size, phase = torch.rand(2, n, generator=generator, dtype=dtype)
    return [inputs, drive, torch.polar(size, 6 * phase)]


def obvious(inputs: torch.Tensor, drive: torch.Tensor, transition: torch.Tensor) -> torch.Tensor:
    B = torch.complex(drive[0::2], drive[1::2])
    x, states = torch.zeros_like(transition).expand(len(inputs), -1), []
    for u in inputs.unbind(dim=1):
        x = transition * x + u.to(B.dtype) @ B.T
        states.append(x)
    return torch.view_as_real(torch.stack(states, dim=1)).flatten(2)


def test_states_are_those_of_the_recurrence_written_out() -> None:
    torch.testing.assert_close(states_of(*parts()), obvious(*parts()), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(states_of(*parts(t=1)), obvious(*parts(t=1)), rtol=1e-13, atol=1e-13)


def test_gradients_are_those_of_the_recurrence_written_out() -> None:
    gradients = []
    for way in (states_of, obvious):
        given = [part.requires_grad_() for part in parts()]
        way(*given).sin().sum().backward()
        gradients.append([part.grad for part in given])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_derivatives_backward_and_forward_are_those_of_differences() -> None:
    given = [part.requires_grad_() for part in parts(b=2, t=6, n=3)]
    assert gradcheck(states_of, given, check_forward_ad=True)


def test_a_tangent_of_one_part_alone_is_enough() -> None:
    for place in range(3):
        tangents = []
        for way in (states_of, obvious):
            with forward_ad.dual_level():
                given = parts()
                given[place] = forward_ad.make_dual(given[place], torch.ones_like(given[place]))
                tangents.append(forward_ad.unpack_dual(way(*given)).tangent)
        torch.testing.assert_close(*tangents, rtol=1e-12, atol=1e-12)


def test_one_buffer_holds_what_drives_the_states_and_the_states() -> None:
    given = parts(b=8, t=64, h=1, n=64)
    one = 2 * 8 * 8 * 64 * 64  # two numbers of 8 bytes

    def train() -> None:
        states_of(*(part.requires_grad_() for part in given)).sum().backward()

    def infer() -> None:
        with torch.no_grad():
            states_of(*given)

    assert one <= peak_live_bytes(infer, given) - sum(part.nbytes for part in given) < 1.05 * one
    assert peak_live_bytes(train, given) < 2.3 * one  # the states and their errors, and products of four steps


def test_pairs_are_complex_numbers_in_the_same_memory() -> None:
    numbers = torch.randn(4, 3, dtype=torch.complex128)
    pairs = in_pairs(numbers)
    assert torch.equal(pairs[0::2], numbers.real)
    last = pairs.T.contiguous()
    assert torch.equal(as_complex(last).T, numbers)
    assert as_complex(last).data_ptr() == last.data_ptr()
