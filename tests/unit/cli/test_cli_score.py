"""`duchenne score` and `duchenne compare` as a person or a script meets them: files, streams, exit codes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

TOP = {
    *("rows", "unanswered", "genuine", "accuracy", "balanced_accuracy", "auc", "f1", "brier", "ece", "risk_coverage"),
    *(f"{name}_interval" for name in ("accuracy", "balanced_accuracy", "auc", "f1", "brier", "ece")),
}


def strict(text: str) -> Any:
    """JSON as any language reads it: no NaN, no Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def answers(path: Path, seed: int = 0, skill: float = 0.5, persons: int = 10, **more: Any) -> Path:
    """A CSV of 6 clips of each person, labels true and fake, scores of `skill`; `more` are further columns."""
    rng = np.random.default_rng(seed)
    y = np.tile([1, 0], 3 * persons)
    score = np.clip(0.5 + skill * (y - 0.5) + rng.normal(0, 0.2, len(y)), 0, 1).round(3)
    lines = [",".join(["video", "label", "score", "subject", "emotion", *more])]
    for i, (truth, p) in enumerate(zip(y, score, strict=True)):
        cells = [f"{i}.mp4", ("fake", "true")[truth], p, f"s{i // 6}", ("fear", "joy")[i // 3 % 2], *more.values()]
        lines.append(",".join(map(str, cells)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def columns(path: Path) -> tuple[Any, Any]:
    """(label 1 or 0, score) of a CSV that `answers` wrote."""
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    return np.array([row[1] == "true" for row in rows], int), np.array([float(row[2]) for row in rows])


# --- score --------------------------------------------------------------------------------------------------


def test_minimal_file_gives_every_score(duchenne, tmp_path):
    path = tmp_path / "entry.csv"
    path.write_text("video,label,score\na.mp4,true,0.9\nb.mp4,fake,0.6\nc.mp4,true,0.3\nd.mp4,fake,0.1\n")
    result = duchenne("score", path, "--json")
    assert (result.code, result.err) == (0, "")
    found = strict(result.out)
    assert set(found) == TOP
    assert (found["rows"], found["unanswered"], found["accuracy"], found["auc"]) == (4, 0, 0.5, 0.75)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.49 + 0.01) / 4)
    assert found["accuracy_interval"] is None  # nobody result who the persons are


def test_json_agrees_with_scikit_learn_and_the_text_with_the_json(duchenne, tmp_path):
    path = answers(tmp_path / "entry.csv")
    found = strict(duchenne("score", path, "--json").out)
    y, p = columns(path)
    assert set(found) == TOP | {
        *("persons", "pairs", "forced_pairs", "forced_pairs_interval", "permutation_p", "per_emotion")
    }
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, p >= 0.5))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, p >= 0.5))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(y, p))
    assert found["f1"] == pytest.approx(sk.f1_score(y, p >= 0.5))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(y, p))
    # of each person: fear G P G and joy P G P, so 2 pairs of either
    assert (found["persons"], found["pairs"]) == (10, 40)
    result = duchenne("score", path)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("60 clips, 0 not answered, 10 people\n")
    (low, high), words = found["accuracy_interval"], " ".join(result.out.split())
    assert f"accuracy {found['accuracy']:.3f} ({low:.3f}–{high:.3f})" in words
    assert f"AUC {found['auc']:.3f}" in words and f"forced pairs {found['forced_pairs']:.3f}" in words
    assert "another task; never to be compared with the accuracy above" in words
    assert f"fear 30 clips: accuracy {found['per_emotion']['fear']['accuracy']:.3f}" in words


def test_seed_changes_only_the_intervals(duchenne, tmp_path):
    path = answers(tmp_path / "entry.csv", skill=0.2)
    one, again, other = (strict(duchenne("score", path, "--json", "--seed", s).out) for s in (3, 3, 4))
    assert one == again != other
    numbers = [key for key in TOP if not key.endswith("_interval")]
    assert [one[key] for key in numbers] == [other[key] for key in numbers]


def test_scores_of_any_scale_accept_a_threshold(duchenne, tmp_path):
    path = tmp_path / "entry.csv"
    path.write_text("video,label,score\na,1,2.5\nb,0,-4\nc,1,-1\nd,0,-2\n")
    refused = duchenne("score", path)
    assert refused.code == 2
    assert refused.sentence == (
        "Scores run from -4 to 2.5, which are not probabilities; add a column predicted, or give --threshold."
    )
    found = strict(duchenne("score", path, "--threshold", "0", "--json").out)
    assert (found["accuracy"], found["auc"], found["brier"], found["ece"]) == (0.75, 1.0, None, None)
    assert strict(duchenne("score", path, "--threshold=-1.5", "--json").out)["accuracy"] == 1.0
    text = duchenne("score", path, "--threshold", "0").out
    assert "Brier" not in text and "ECE" not in text and "nan" not in text.lower()
    assert duchenne("score", path, "--threshold", "nan").code == 2


def test_several_methods_are_listed_with_the_first_on_top(duchenne, tmp_path):
    first = answers(tmp_path / "a.csv", 1, method="svm", repeat=0)
    rest = [
        answers(tmp_path / "b.csv", 2, method="svm", repeat=1),
        answers(tmp_path / "c.csv", 3, 0.0, method="length | x", repeat=0),
    ]
    path = tmp_path / "all.csv"
    path.write_text(first.read_text() + "".join(each.read_text().partition("\n")[2] for each in rest))
    found = strict(duchenne("score", path, "--json").out)
    assert found["method"] == "svm" and list(found["methods"]) == ["svm", "length | x"]
    assert found["accuracy"] == found["methods"]["svm"]["accuracy"]
    aucs = [sk.roc_auc_score(*columns(each)) for each in (first, *rest)]
    assert found["auc"] == pytest.approx(np.mean(aucs[:2]))  # over repeats
    assert found["methods"]["length | x"]["auc"] == pytest.approx(aucs[2])
    alone = strict(duchenne("score", path, "--method", "length | x", "--json").out)
    assert alone == found["methods"]["length | x"]
    lines = duchenne("score", path).out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        *("svm", "60 clips, 0 not answered, 10 people", "length | x", "60 clips, 0 not answered, 10 people")
    ]
    refused = duchenne("score", path, "--method", "cnn")
    assert refused.code == 2 and refused.sentence.endswith("no method 'cnn'; choose one of: svm, length | x.")


@pytest.mark.parametrize("second", ["", "7.5"])
def test_differing_repeats_are_averaged(duchenne, tmp_path, second):
    """One repeat without scores, or beyond 0..1: what it cannot tell is left out of the mean."""
    rows = "".join(
        f"{i},{i % 2},{i % 2},{score},{repeat},s{i % 3}\n"
        for repeat, score in ((0, 0.5), (1, second))
        for i in range(12)
    )
    path = tmp_path / "entry.csv"
    path.write_text("video,label,predicted,score,repeat,subject\n" + rows)
    found = strict(duchenne("score", path, "--json").out)
    assert (found["accuracy"], found["auc"], found["brier"]) == (1.0, 0.5, None if second else 0.25)


def test_classes_print_their_own_scores(duchenne, tmp_path):
    path = tmp_path / "emotions.csv"
    path.write_text("video,label,predicted,subject\na,joy,joy,p\nb,joy,fear,p\nc,fear,fear,q\nd,fear,fear,q\n")
    found = strict(duchenne("score", path, "--json").out)
    assert (found["accuracy"], found["uar"]) == (0.75, 0.75)
    assert found["uf1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    words = " ".join(duchenne("score", path).out.split())
    assert "UAR 0.750" in words and "UF1 0.733" in words and "joy 2 clips: recall 0.500, F1 0.667" in words


def test_undefined_scores_are_null_and_a_dash(duchenne, tmp_path):
    path = tmp_path / "entry.csv"
    path.write_text("video,label,score,subject,emotion\na,1,0.9,s,fear\nb,1,0.2,s,joy\n")
    found = strict(duchenne("score", path, "--json").out)
    assert (found["accuracy"], found["auc"], found["forced_pairs"], found["pairs"]) == (0.5, None, None, 0)
    assert found["accuracy_interval"] == [None, None]
    words = " ".join(duchenne("score", path).out.split())
    assert "AUC –" in words and "nan" not in words and "forced pairs" not in words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "must have the columns video, label and score (or predicted), found nothing"),
        (b"video,label,score\na,1,0.5\nb,perhaps,0.5\n", "line 3, has the label 'perhaps'"),
        (b"video,label,score\n\xff\xfe,1,1\n", "is not UTF-8 text"),
        (b"video,label,score\na,1,1\0\n", "line 2, has a NUL byte"),
        (b"video,label,score\n" + b"a" * 131_073 + b",1,1\n", "line 2, is not CSV"),
        (b'video,label,score\n"a\n\x1b[31m",1,1\n"a\n\x1b[31m",1,1\n', "line 5, answers a\\n\\x1b[31m a second time"),
    ],
)
@pytest.mark.parametrize("command", ["score", "compare"])
def test_bad_file_is_one_sentence_and_exit_code_1(duchenne, tmp_path, command, content, words):
    path = tmp_path / "entry.csv"
    path.write_bytes(content)
    good = answers(tmp_path / "good.csv")
    result = duchenne(command, path, *([good] if command == "compare" else []))
    assert (result.code, result.out) == (1, "") and words in result.sentence and str(path) in result.sentence
    if command == "compare":
        assert duchenne(command, good, path).sentence == result.sentence


@pytest.mark.parametrize("command", ["score", "compare"])
def test_missing_file_is_reported(duchenne, tmp_path, command):
    for path, words in ((tmp_path / "gone.csv", "There is no file"), (tmp_path, "it is not a file")):
        result = duchenne(command, *[path] * (1 + (command == "compare")))
        assert result.code == 1 and words in result.sentence and str(path) in result.sentence


# --- compare ------------------------------------------------------------------------------------------------


def test_better_file_is_reported(duchenne, tmp_path):
    a, b = answers(tmp_path / "a.csv", 1, 0.9), answers(tmp_path / "b.csv", 2, 0.0)
    result = duchenne("compare", a, b)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "60 clips of 10 people, predicted by both"
    assert [line.partition(":")[0] for line in lines[1:]] == ["accuracy", "auc", "forced pairs", "brier"]
    assert all("a difference that chance does not explain" in line for line in lines[1:])
    found = strict(duchenne("compare", a, b, "--json").out)
    for name in ("accuracy", "auc"):
        gap = found[name]
        assert gap["p"] < 0.05 and gap["interval"][0] > 0
        of = [strict(duchenne("score", path, "--json").out)[name] for path in (a, b)]
        assert [gap["a"], gap["b"], gap["difference"]] == pytest.approx([*of, of[0] - of[1]])
        assert f"{of[0]:.3f} against {of[1]:.3f}, difference {of[0] - of[1]:+.3f}" in result.out
    back = strict(duchenne("compare", b, a, "--json").out)
    assert back["auc"]["difference"] == pytest.approx(-found["auc"]["difference"])
    assert back["auc"]["p"] == found["auc"]["p"]


def test_identical_files_do_not_differ(duchenne, tmp_path):
    a = answers(tmp_path / "a.csv", skill=0.3)
    found = strict(duchenne("compare", a, a, "--json").out)
    assert {found[name]["p"] for name in ("accuracy", "auc", "brier", "forced_pairs", "mcnemar")} == {1}
    assert found["accuracy"]["difference"] == 0 and found["auc"]["interval"] == [0, 0]
    assert duchenne("compare", a, a).out.count("no difference is shown") == 4


def test_methods_of_one_file_are_compared_by_name(duchenne, tmp_path):
    a, b = answers(tmp_path / "a.csv", 1, 0.9, method="svm"), answers(tmp_path / "b.csv", 2, 0.0, method="length")
    both = tmp_path / "both.csv"
    both.write_text(a.read_text() + b.read_text().partition("\n")[2])
    requested = duchenne("compare", a, b, "--json").out
    assert duchenne("compare", both, both, "--method-b", "length", "--json").out == requested
    assert duchenne("compare", both, both, "--method-a", "svm", "--method-b", "length", "--json").out == requested
    refused = duchenne("compare", both, both, "--method-b", "cnn")
    assert refused.code == 2 and refused.sentence == f"{both} has no method 'cnn'; choose one of: svm, length."


def test_unpaired_clips_are_counted(duchenne, tmp_path):
    a, b = answers(tmp_path / "a.csv", 1), answers(tmp_path / "b.csv", 2)
    lines = b.read_text().splitlines()
    lines[9] = lines[9].replace(lines[9].split(",")[2], "")  # not answered
    b.write_text("\n".join([*lines[:55], "new.mp4,true,0.5,s0,fear"]) + "\n")
    result = duchenne("compare", a, b).out.splitlines()
    assert result[:2] == [
        "53 clips of 9 people, predicted by both",  # the tenth person had the last six
        "left out: 6 only in A, 1 only in B, 1 not predicted by one",
    ]


def test_evaluation_is_read_as_its_predictions(duchenne, tmp_path):
    (tmp_path / "run").mkdir()
    own = answers(tmp_path / "run" / "predictions.csv", 1, method="svm", repeat=0, fold=0)
    other = answers(tmp_path / "b.csv", 2, 0.1)
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    results = tmp_path / "run" / "results.json"
    results.write_text(json.dumps({"methods": {}, "predictions": {"file": "predictions.csv", "sha256": digest}}))
    assert duchenne("compare", results, other, "--json").out == duchenne("compare", own, other, "--json").out
    assert strict(duchenne("score", results, "--json").out)["auc"] == pytest.approx(sk.roc_auc_score(*columns(own)))
    own.write_text(own.read_text().replace("true", "fake", 1))
    refused = duchenne("compare", results, other)
    assert refused.code == 1
    assert refused.sentence == f"{own} is not the file that results.json was made with; run duchenne evaluate again."


def test_incomparable_files_are_rejected(duchenne, tmp_path):
    a, b = answers(tmp_path / "a.csv", 1), answers(tmp_path / "b.csv", 2)
    text = b.read_text()
    for changed, words in (
        (text.replace(".mp4", ".avi"), "The two files have no clip in common"),
        (text.replace("7.mp4,fake", "7.mp4,true"), "The two files give 7.mp4 different labels"),
    ):
        b.write_text(changed)
        result = duchenne("compare", a, b)
        assert result.code == 1 and words in result.sentence
    a.write_text(a.read_text().replace("subject", "who"))
    result = duchenne("compare", a, a)
    assert result.code == 1 and result.sentence.startswith("Neither file has a column subject")
    a.write_text("video,label,score,subject\na,1,3,s\nb,0,-1,t\n")
    b.write_text("video,label,predicted\na,1,1\nb,0,0\n")
    result = duchenne("compare", a, b)
    assert result.code == 2 and result.sentence.startswith("One file has scores that are not probabilities")
