"""Every split keeps each person on one side, ever; a new split is tested once it is listed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duchenne.datasets import splits
from duchenne.errors import UsageError

Sides = Iterator[splits.Split]
Table = tuple[list[object], list[str], list[str], int]  # subject, fold and data set of each row, and a seed


#: Name → all its pairs (train, test) for one table.
SPLITS: dict[str, Callable[[Table], Sides]] = {
    "by_person": lambda table: splits.by_person(table[0], 3, table[3]),
    "leave_one_person_out": lambda table: splits.leave_one_person_out(table[0]),
    "fixed": lambda table: splits.fixed(table[1], table[0]),
    "cross": lambda table: ((train, test) for *_, train, test in splits.cross(table[2], table[0])),
}
NAMES = st.integers(0, 9) | st.sampled_from(["a", "b ", " b", "Ünal", "1", " 1", "1.0"])


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Rows of any persons; usually each has one fold and one data set, as it should, but not always."""
    subjects = draw(st.lists(NAMES, min_size=2, max_size=40))
    columns = []
    for values in (("train", "Training ", "test", "val", "1"), ("pedfe", "uva", "spos ")):
        home = {str(who).strip(): draw(st.sampled_from(values)) for who in subjects}
        column = [home[str(who).strip()] for who in subjects]
        if draw(st.integers(0, 4)) == 0:
            column[draw(st.integers(0, len(column) - 1))] = draw(st.sampled_from(values))
        columns.append(column)
    return subjects, columns[0], columns[1], draw(st.integers(0, 99))


@pytest.mark.parametrize("name", SPLITS)
@given(table=tables())
def test_no_person_is_on_both_sides(name: str, table: Table) -> None:
    who = [str(subject).strip() for subject in table[0]]
    try:
        pairs = list(SPLITS[name](table))
    except UsageError:  # too few persons, or one in two folds: refused before the first pair
        return
    assert pairs
    for train, test in pairs:
        assert len(train) and len(test)
        assert len({*train, *test}) == len(train) + len(test) and {*train, *test} <= set(range(len(who)))
        assert not {who[i] for i in train} & {who[i] for i in test}


@pytest.mark.parametrize("name", SPLITS)
def test_a_fair_table_is_split(name: str) -> None:
    table: Table = (list("aabbccddee"), ["train"] * 6 + ["test"] * 4, ["x"] * 4 + ["y"] * 6, 0)
    assert len(list(SPLITS[name](table))) == {"by_person": 3, "leave_one_person_out": 5, "fixed": 1, "cross": 2}[name]


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("subjects", [[], ["a", "b", None, "c"], ["a", "b", "c", " "], ["a", "b", "c", float("nan")]])
def test_without_persons_nothing_is_split(name: str, subjects: list[object]) -> None:
    folds, data_sets = ["train", "train", "1", "1"][: len(subjects)], list("xxyy")[: len(subjects)]
    with pytest.raises(UsageError):
        next(iter(SPLITS[name]((subjects, folds, data_sets, 0))))


def test_every_split_is_listed() -> None:
    functions = inspect.getmembers(splits, inspect.isfunction)
    public = {n for n, f in functions if f.__module__ == splits.__name__ and not n.startswith("_")}
    assert {n for n in public if "Iterator" in str(inspect.signature(getattr(splits, n)).return_annotation)} == set(
        SPLITS
    )
