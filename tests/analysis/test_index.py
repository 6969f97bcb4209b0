"""A line of the list of runs stays one that can be read, however much the runs differ in."""

from analysis.index import in_short


def test_what_differs_is_told_in_short_the_parts_before_what_lies_within_them() -> None:
    assert in_short([]) == "–"
    assert in_short(["dataset.verbalizers.0=No", "adapter=lora"]) == "adapter=lora, dataset.verbalizers.0=No"
    six = ["a.b.c=1", "a.d=2", "e=3", "a.f=0.5", "a.g.h=5", "a.i=6"]
    assert in_short(six) == "e=3, a.d=2, a.f=0.5, a.i=6, 2 more"
