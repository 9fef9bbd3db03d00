"""The table in words: figures stand where they belong, and the verdict says what the intervals say."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duchenne.evaluation.tables import markdown, terminal, verdict
from duchenne.io import plain
from duchenne.metrics.scores import score

LENGTH = "baseline: clip length"


def answers(skill: float, seed: int) -> dict[str, Any]:
    """Real scores of 120 simulated answers on 12 people and two emotions; two clips stay unanswered."""
    rng = np.random.default_rng(seed)
    y = np.tile([0, 1], 60)
    p = 1 / (1 + np.exp(-skill * (y - 0.5) - rng.normal(size=120)))
    p[[3, 40]] = np.nan
    emotion = np.where(np.arange(120) % 4 < 2, "fear", "happiness")
    return score(p, y, np.arange(120) // 10, emotion, n=200)


def made(**changes: Any) -> dict[str, Any]:
    methods = {
        LENGTH: {"kind": "baseline", "available": True, "why": None, "score": answers(0.0, 1)},
        "first frame": {"kind": "baseline", "available": False, "why": "features have no frames", "score": None},
        "default": {
            "kind": "method",
            "available": True,
            "score": answers(3.0, 2),
            "answered": {"coverage": 0.81, "accuracy": 0.9, "auc": None},
            "verdict": verdict("default", {LENGTH: {"accuracy": {"difference": 0.3, "interval": [0.2, 0.4]}}}),
        },
    }
    published = {"name": "NIT-OVGU", "score": "66.7", "protocol": "forced pairs", "problem": "30 pairs", "source": "x"}
    run = {
        "seconds": 1234.5,
        "fit": 1000,
        "predict": 200.0,
        "overhead_share": 0.028,
        "device": "cpu",
        "commit": "5fc11a1",
    }
    return {
        "title": "Two methods",
        "protocol": "10 folds by person",
        "data": [{"name": "PEDFE", "clips": 1070, "people": 42, "sha256": "ab" * 32}],
        "repeats": 5,
        "folds": 10,
        "notes": ["a note"],
        "warnings": ["a.mp4 and b.mp4 are the same clip"],
        "published": [published],
        "human": {"text": "a single rater", "accuracy": 0.623, "auc": None},
        "methods": methods,
        "run": run | {"versions": {"numpy": "2.4.6"}, "seed": 0},
        **changes,
    }


def tables(text: str) -> list[list[list[str]]]:
    """Every Markdown table as rows of cells, split where GitHub splits: at pipes that no backslash escapes."""
    blocks = [b.splitlines() for b in text.split("\n\n") if b.startswith("|")]
    cut = [[re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1] for line in block] for block in blocks]
    return [[[cell.strip() for cell in row] for row in block] for block in cut]


def test_the_main_table_holds_the_scores_methods_first_and_what_is_missing_is_a_dash():
    results = made()
    main = tables(markdown(results))[0]
    assert [row[0] for row in main[2:]] == ["**default**", LENGTH, "first frame"]
    s = results["methods"]["default"]["score"]
    low, high = s["auc_interval"]
    assert main[2][2] == f"{s['auc']:.3f} ({low:.3f}–{high:.3f})"
    assert main[2][3:] == [f"{s[key]:.3f}" for key in ("balanced_accuracy", "f1", "brier", "ece")]
    assert main[4][1:] == ["–"] * 6
    assert "- first frame has no score: features have no frames" in markdown(results)


def test_forced_pairs_are_separate_under_a_sentence_that_forbids_the_comparison():
    results = made()
    text = markdown(results)
    before, after = text.split("## Forced pairs\n\n")
    pairs = results["methods"]["default"]["score"]["forced_pairs"]
    assert "must never be compared with the accuracy of single clips" in after.split("|")[0]
    assert f"{pairs:.3f}" in after.split("##")[0] and "which of two" not in before
    single = made(
        methods={"x": {"kind": "method", "available": True, "score": score(np.ones(4), np.ones(4), range(4))}}
    )
    assert "Forced pairs" not in markdown(single) + terminal(single)  # no genuine-posed pair, no table


def test_each_emotion_has_a_row_with_the_best_baseline():
    results = made()
    found = {block[0][0]: block for block in tables(markdown(results))}["emotion"]
    per = results["methods"][LENGTH]["score"]["per_emotion"]
    assert [row[0] for row in found[2:]] == ["fear", "happiness"]
    assert [row[4] for row in found[2:]] == [f"{per[e]['accuracy']:.3f} ({LENGTH})" for e in ("fear", "happiness")]
    assert [row[1] for row in found[2:]] == ["60", "60"]


def test_everything_for_a_reviewer_is_written():
    text = markdown(made())
    for words in (
        "PEDFE (1,070 clips, 42 people). 10 folds, repeated 5 times.",
        "- default left 2 of 120 clips unanswered; its scores are of the others.",
        "| default | 0.810 | 0.900 | – |",
        "a single rater (accuracy 0.623)",
        "| NIT-OVGU | 66.7 | forced pairs | 30 pairs | x |",
        "- a.mp4 and b.mp4 are the same clip",
        "lie or credibility detection, hiring, schooling, policing",
        "told to act",
        f"| PEDFE, SHA-256 | {'ab' * 32} |",
        "| seed | 0 |",
        "| commit | 5fc11a1 |",
        "| numpy | 2.4.6 |",
        "| the whole run | 1,234.5 s |",
        "| all else | 2.8 % of the run |",
    ):
        assert words in text, words
    assert text.endswith("\n") and "\n\n\n" not in text
    assert "42 people). 10 folds.\n" in markdown(made(repeats=1))


def test_it_reads_the_same_from_the_json_file():
    results = made()
    assert markdown(json.loads(json.dumps(plain(results)))) == markdown(results)


def gap(difference: float, low: float, high: float) -> dict[str, Any]:
    return {"difference": difference, "interval": [low, high]}


@pytest.mark.parametrize(
    ("comparisons", "sentence"),
    [
        (
            {"a": {"accuracy": gap(0.112, 0.05, 0.17)}, "b": {"accuracy": gap(0.052, 0.011, 0.09)}},
            "In accuracy `x` beats every baseline, nearest `b` (+5.2 points, 95 %: 1.1 to 9.0).",
        ),
        (
            {LENGTH: {"accuracy": gap(0.012, -0.02, 0.041), "auc": gap(0.05, 0.01, 0.09)}},
            "In accuracy `x` does not beat `baseline: clip length` (+1.2 points, 95 %: −2.0 to 4.1); "
            "in AUC it beats every baseline, that is `baseline: clip length` (+0.050, 95 %: 0.010 to 0.090).",
        ),
        (
            {
                "tied": {"accuracy": gap(0.0, -0.1, 0.1)},
                "worse": {"accuracy": gap(-0.2, -0.3, -0.1)},
                "won": {"accuracy": gap(0.2, 0.1, 0.3)},
                "far": {"accuracy": gap(0.4, 0.3, 0.5)},
                "bare": {"accuracy": {"difference": 0.9, "interval": None}},
            },
            "In accuracy `x` is worse than `worse` (−20.0 points, 95 %: −30.0 to −10.0), does not beat `tied` (+0.0 "
            "points, 95 %: −10.0 to 10.0), cannot be compared with `bare` (no interval) and beats the other 2, nearest "
            "`won` (+20.0 points, 95 %: 10.0 to 30.0).",
        ),
        # an interval that only touches 0 is no win, in either direction
        (
            {"a": {"auc": gap(0.1, 0.0, 0.2)}, "b": {"auc": gap(-0.1, -0.2, 0.0)}},
            "In AUC `x` does not beat `b` (−0.100, 95 %: −0.200 to 0.000) and `a` (+0.100, 95 %: 0.000 to 0.200).",
        ),
        (
            {"a": {"auc": gap(float("nan"), float("nan"), float("nan"))}},
            "In AUC `x` cannot be compared with `a` (no interval).",
        ),
        ({}, "`x` was compared with no baseline, so nothing says that it is better than one."),
    ],
)
def test_the_verdict_follows_the_intervals(comparisons, sentence):
    assert verdict("x", comparisons) == sentence


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


@settings(deadline=None, max_examples=40)
@given(names=st.lists(TEXT, min_size=3, max_size=3, unique=True), words=TEXT)
def test_no_name_breaks_a_table_or_becomes_html(names, words):
    results = made()
    results["methods"] = dict(zip(names, results["methods"].values(), strict=True))
    results |= {"title": words, "warnings": [words], "notes": [words], "data": [results["data"][0] | {"name": words}]}
    plain_text = made()
    text, expected = markdown(results), tables(markdown(plain_text))
    assert "<" not in text
    assert [[len(row) for row in block] for block in tables(text)] == [
        [len(row) for row in block] for block in expected
    ]
    assert text.count("\n") == markdown(plain_text).count("\n")


@settings(deadline=None, max_examples=40)
@given(name=TEXT, words=st.text(max_size=400))
def test_the_terminal_has_100_columns_and_no_control_characters(name, words):
    results = made(title=words, warnings=[words])
    results["methods"][name] = results["methods"].pop("default")
    lines = terminal(results).split("\n")
    assert max(map(len, lines)) <= 100
    assert all(line.isprintable() for line in lines)


def test_the_terminal_aligns_its_columns():
    results = made()
    lines = terminal(results).splitlines()
    head = next(line for line in lines if "AUC" in line)
    row = next(line for line in lines if line.startswith("default  "))
    s = results["methods"]["default"]["score"]
    for word, key in (("accuracy", "accuracy"), ("AUC", "auc"), ("Brier", "brier"), ("ECE", "ece")):
        assert row[head.index(word) :].startswith(f"{s[key]:.3f}")
    assert "In accuracy `default` beats every baseline" in terminal(results)
    assert "Warning: a.mp4 and b.mp4 are the same clip" in lines
