"""Two methods' answers side by side: whose are better, by whose clips, and what no comparison can be made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from test_answers import N, people, truth, written

from duchenne import metrics
from duchenne.errors import InputError, UsageError
from duchenne.evaluation import answers


@pytest.fixture
def sheet(tmp_path: Path) -> Callable[..., Path]:
    return partial(written, tmp_path)


def compared(a: Path, b: Path, n: int = N) -> dict[str, Any]:
    (found,) = answers.compare(answers.load(a), answers.load(b), n=n)
    return found


def test_a_method_does_not_differ_from_itself(sheet):
    path = sheet(people())
    found = compared(path, path)
    for name in ("accuracy", "auc", "brier", "forced_pairs"):
        assert found[name]["p"] == 1
        # sums of a thousand draws may differ in their last digit
        assert [found[name]["difference"], *found[name]["interval"]] == pytest.approx([0, 0, 0], abs=1e-12)
    assert found["mcnemar"]["p"] == 1 and (found["clips"], found["only_in_a"], found["only_in_b"]) == (48, 0, 0)
    lines = answers.summary(found)
    assert len(lines) == 4 and all(
        "difference +0.000 (95 % over persons +0.000 to +0.000), p = 1: no" in x for x in lines
    )


def test_a_clearly_better_method_is_found(sheet):
    a, b = sheet(people(1, persons=12, skill=0.9), "a.csv"), sheet(people(2, persons=12, skill=0.0), "b.csv")
    found = compared(a, b, n=500)
    for name in ("accuracy", "auc", "forced_pairs"):
        assert found[name]["p"] < 0.05 and found[name]["interval"][0] > 0
        one, other = (answers.score(answers.read(path)[0], n=1)[name] for path in (a, b))
        assert found[name]["difference"] == pytest.approx(one - other)
    assert found["brier"]["interval"][1] < 0  # a smaller one is better
    assert all("chance does not explain" in line for line in answers.summary(found))


@settings(max_examples=12)
@given(st.data())
def test_swapping_the_methods_changes_the_sign_and_no_more(tmp_path_factory, data):
    """Each file may lack any of the columns that the other has, and some of its clips."""
    paths = []
    for name in "ab":
        table = people(data.draw(st.integers(0, 99)), persons=5, skill=data.draw(st.sampled_from([0.0, 0.4])))
        kind = data.draw(st.sampled_from(["score", "predicted", "both"]))
        if kind != "score":
            table["predicted"] = ["genuine" if p >= 0.6 else "posed" for p in table["score"]]
        if kind == "predicted":
            del table["score"]
        if name == "a" or data.draw(st.booleans()):
            keep = {"video", "label", "score", "predicted", "subject", "emotion"}
        else:
            keep = {"video", "label", "score", "predicted"}
        order = data.draw(st.permutations(range(30)))[: data.draw(st.integers(20, 30))]
        columns = {key: [value[i] for i in order] for key, value in table.items() if key in keep}
        paths.append(written(tmp_path_factory.getbasetemp(), columns, f"{name}.csv"))
    there, back = compared(*paths), compared(*paths[::-1])
    assert (there["clips"], there["only_in_a"], there["only_in_b"]) == (
        back["clips"], back["only_in_b"], back["only_in_a"],
    )  # fmt: skip
    names = {"accuracy", "auc", "brier", "forced_pairs"} & set(there)
    assert "accuracy" in names and set(there) == set(back)
    for name in names:
        one, other = there[name], back[name]
        assert (one["a"], one["b"]) == pytest.approx((other["b"], other["a"]))
        assert one["difference"] == pytest.approx(-other["difference"]) and one["p"] == other["p"]
    assert there["mcnemar"]["only_a"] == back["mcnemar"]["only_b"]
    # clips come in another order in the two files, but draws are over persons by name
    assert there["accuracy"]["interval"] == pytest.approx([-x for x in back["accuracy"]["interval"][::-1]])


def test_only_clips_that_both_have_are_compared(sheet):
    table = people(1, skill=0.3)
    few = {key: value[4:] for key, value in people(2).items()} | {"subject": [""] * 44}
    more = {
        key: [*value, extra] for (key, value), extra in zip(few.items(), ["new", "posed", 0.5, "", "fear"], strict=True)
    }
    found = compared(sheet(table, "a.csv"), sheet(more, "b.csv"))
    assert (found["clips"], found["only_in_a"], found["only_in_b"], found["rows"]) == (44, 4, 1, 44)
    wanted = sk.roc_auc_score(truth(table)[4:], table["score"][4:])
    assert found["auc"]["a"] == pytest.approx(wanted)


def test_different_scales_are_compared_by_rank(sheet):
    table, other = people(1, skill=0.3), people(2)
    wild = table | {"score": [20 * p - 3 for p in table["score"]]}
    found = compared(sheet(wild, "a.csv"), sheet(other, "b.csv"))
    assert "accuracy" not in found and "brier" not in found and "mcnemar" not in found and found["persons"] == 8
    proper = compared(sheet(table, "c.csv"), sheet(other, "b.csv"))
    assert found["auc"] == proper["auc"] and found["forced_pairs"] == proper["forced_pairs"]
    back = compared(sheet(other, "b.csv"), sheet(wild, "a.csv"))
    assert set(back) == set(found) and back["auc"]["difference"] == -found["auc"]["difference"]
    called = [int(p >= 0.5) for p in table["score"]]
    both = compared(sheet(wild | {"predicted": called}, "a.csv"), sheet(other, "b.csv"))
    assert both["accuracy"] == proper["accuracy"] and both["mcnemar"] == proper["mcnemar"] and "brier" not in both
    hard = {key: value for key, value in other.items() if key != "score"} | {"predicted": called}
    with pytest.raises(UsageError, match="the other has none"):
        compared(sheet(wild, "a.csv"), sheet(hard, "b.csv"))


def test_pairs_are_compared_by_pair_scores_where_a_file_has_them(sheet):
    table, ranks = people(1, skill=0.1), people(2, skill=0.3)["score"]
    a, b = sheet(table, "a.csv"), sheet(table | {"pair_score": ranks}, "b.csv")
    mine, theirs = (
        metrics.forced_pair_accuracy(np.array(by), truth(table), table["subject"], table["emotion"])[0]
        for by in (table["score"], ranks)
    )
    assert mine != theirs
    for found, wanted in ((compared(a, b), [mine, theirs]), (compared(b, a), [theirs, mine])):
        assert [found["forced_pairs"]["a"], found["forced_pairs"]["b"]] == pytest.approx(wanted)
        assert found["forced_pairs"]["pairs"] == 40 and found["auc"]["difference"] == 0


def test_a_single_repeat_is_compared_with_every_repeat_of_the_other(sheet):
    one, *others = (people(seed, persons=4) for seed in range(3))
    parts = [table | {"repeat": [i] * 24} for i, table in enumerate(others)]
    twice = {key: [*parts[0][key], *parts[1][key]] for key in parts[0]}
    a, b = answers.read(sheet(one, "a.csv")), answers.read(sheet(twice, "b.csv"))
    there, back = answers.compare(a, b, n=20), answers.compare(b, a, n=20)
    assert len(there) == len(back) == 2
    wanted = [sk.roc_auc_score(truth(table), table["score"]) for table in others]
    assert [each["auc"]["b"] for each in there] == pytest.approx(wanted)
    assert [each["auc"]["a"] for each in back] == pytest.approx(wanted)


def test_incomparable_files_raise(sheet):
    table = people()
    a = sheet(table, "a.csv")
    with pytest.raises(InputError, match="no clip in common"):
        compared(a, sheet(table | {"video": [f"x{v}" for v in table["video"]]}, "b.csv"))
    with pytest.raises(InputError, match=r"give 7\.mp4 different labels"):
        labels = [*table["label"][:7], "genuine", *table["label"][8:]]
        compared(a, sheet(table | {"label": labels}, "b.csv"))
    nobody = sheet({key: value for key, value in table.items() if key != "subject"}, "b.csv")
    with pytest.raises(InputError, match="Neither file has a column subject"):
        compared(nobody, nobody)
    assert compared(nobody, a)["persons"] == 8  # one of them knows
    names = sheet({"video": table["video"], "label": ["joy"] * 48, "predicted": ["joy"] * 48}, "c.csv")
    with pytest.raises(InputError, match="Only labels genuine and posed can be compared"):
        compared(a, names)


def test_a_difference_is_claimed_only_where_interval_and_test_agree(sheet):
    def files(persons: int) -> tuple[Path, Path]:
        table = people(persons=persons, clips=2)
        y = truth(table)
        good, bad = ((y * 0.8 + 0.1), (0.9 - y * 0.8))
        return sheet(table | {"score": good.tolist()}, "a.csv"), sheet(table | {"score": bad.tolist()}, "b.csv")

    # one person: nothing is drawn. Three: every draw favours a, but 2 of 8 exchanges do as well as this: p = 1/4
    one, three, ten = (compared(*files(persons), n=2000) for persons in (1, 3, 10))
    assert all("too few persons to test" in line for line in answers.summary(one)) and answers.summary(one)
    assert three["accuracy"]["interval"] == [1, 1] and three["accuracy"]["p"] == 0.25
    assert all("no difference is shown" in line for line in answers.summary(three))
    assert ten["accuracy"]["p"] == 2 / 2**10
    assert all("chance does not explain" in line for line in answers.summary(ten))
    # one class: no AUC, and no sentence about it
    table = people() | {"label": ["genuine"] * 48}
    found = compared(sheet(table, "a.csv"), sheet(table, "b.csv"))
    assert [line.partition(":")[0] for line in answers.summary(found)] == ["accuracy", "brier"]


# --- the answers behind a results.json ----------------------------------------------------------------------


def results_of(path: Path) -> Path:
    """A results.json beside a predictions CSV, as an evaluation leaves it."""
    about = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    target = path.with_name("results.json")
    target.write_text(json.dumps({"title": "x", "predictions": about}), encoding="utf-8")
    return target


def test_results_load_only_their_own_predictions(sheet):
    path = sheet(people(), "predictions.csv")
    target = results_of(path)
    assert answers.score(answers.load(target)[0], n=9) == answers.score(answers.read(path)[0], n=9)
    path.write_text(path.read_text().replace("posed", "genuine", 1))
    with pytest.raises(InputError, match=r"predictions\.csv is not the file that results\.json was made with"):
        answers.load(target)
    path.unlink()
    with pytest.raises(InputError, match=r"There is no .*predictions\.csv, which holds the answers of results\.json"):
        answers.load(target)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"predictions": {"file": 5, "sha256": 1}}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_another_json_raises(sheet, text):
    with pytest.raises(InputError, match=r"bad\.json is not a results\.json of duchenne evaluate; give one, or a pred"):
        answers.load(sheet(text.encode("latin-1"), "bad.json"))
