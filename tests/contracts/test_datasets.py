"""What every data set of the catalogue owes: facts under the right names, layouts that can be read and explained."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from duchenne.datasets import catalog
from duchenne.datasets.layouts import READERS
from duchenne.datasets.manifest import EMOTION_WORDS, LABEL_WORDS
from duchenne.errors import InputError
from duchenne.types import ALL_EMOTIONS, LABELS

DATA_SETS = catalog.data_sets()
GROUPS = {"subject", "emotion", "label", "code"}
LAYOUTS = [
    pytest.param(way, id=f"{name}: {way.name}") for name, data_set in DATA_SETS.items() for way in data_set.layouts
]


def test_the_catalogue_is_complete() -> None:
    assert {"sase-fe", "pedfe", "uva-nemo", "bbc", "spos", "mmi"} <= DATA_SETS.keys()


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_data_set_says_what_it_is_and_whom_to_ask(name: str) -> None:
    data_set = DATA_SETS[name]
    for text in (data_set.title, data_set.about, data_set.citation, data_set.terms, data_set.how_to_get):
        assert text.strip()
    assert data_set.task in ("authenticity", "emotion", "action units", "micro-expressions")
    assert data_set.access in ("agreement", "request", "open")
    assert set(data_set.emotions) <= set(ALL_EMOTIONS) and set(data_set.labels) <= set(LABELS)
    assert data_set.faults and data_set.sources and data_set.layouts
    assert data_set.doi is None or re.fullmatch(r"10\.\d{4,}/\S+", data_set.doi)
    assert data_set.url is None or data_set.url.startswith("http")
    assert all(number is None or number > 0 for number in (data_set.people, data_set.clips))
    assert data_set.rate is None or data_set.rate >= 0
    assert len({way.name for way in data_set.layouts}) == len(data_set.layouts)


@pytest.mark.parametrize("way", LAYOUTS)
def test_a_layout_can_be_read(way: catalog.Layout) -> None:
    rules = way.rules
    assert way.how in READERS and way.expects.strip()
    assert rules.get("emotion", "neutral") in ALL_EMOTIONS
    if way.how == "files":
        pattern, codes = re.compile(rules["pattern"]), rules.get("codes", {})
        assert ("code" in pattern.groupindex) == bool(codes) and "fold" not in pattern.groupindex
        assert all(code.get("emotion") in EMOTION_WORDS for code in codes.values())
        assert all(code.get("label") in LABEL_WORDS for code in codes.values())
        known = [code for fault in rules.get("known", ()) for code in fault["codes"]]
        assert {*known, *rules.get("complete", ())} <= codes.keys()
    elif way.how == "function":
        module, _, name = rules["function"].partition(":")
        assert isinstance(getattr(import_module(module), name), Callable)  # type: ignore[arg-type]
    else:
        assert rules["file"] and set(rules["columns"]) <= GROUPS


@pytest.mark.parametrize("name", DATA_SETS)
def test_an_empty_folder_is_refused_with_how_to_get_the_data(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        catalog.entries(name, tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path} holds no copy of {DATA_SETS[name].title}")
    assert DATA_SETS[name].how_to_get.rstrip(".")[1:] in said and said.endswith(").")
    assert all(way.expects.rstrip(".")[1:] in said for way in DATA_SETS[name].layouts)
