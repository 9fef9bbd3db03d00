"""Messages are one printable line."""

import os

import pytest

from duchenne.datasets.manifest import emotion_named
from duchenne.errors import DuchenneError, InputError, UsageError, meant, printable


def test_printable_is_one_line_that_no_terminal_runs():
    assert printable("a\tb\u2028\x1b[1m ü\u202e") == "a\\tb\\u2028\\x1b[1m ü\\u202e"
    assert printable(os.fsdecode(b"\xff\xfe")) == "\\xff\\xfe"
    assert printable("plain/\u3000名.mp4") == "plain/\u3000名.mp4"
    assert printable(printable("\x9b31m")) == "\\x9b31m" and printable("a" * 50, 10) == "a" * 10 + "…"


def test_every_message_is_printable():
    for text in ("\x1b]0;owned\x07.mp4 is damaged.", "two\nlines"):
        with pytest.raises(DuchenneError) as caught:
            raise InputError(text)
        assert str(caught.value) == printable(text) and caught.value.args == (printable(text),)


def test_a_misspelt_name_gets_a_suggestion():
    assert meant("boostng", ("boosting", "stack")) == " (did you mean 'boosting'?)" and meant("x", ("boosting",)) == ""
    assert [emotion_named(text) for text in ("happy", "Happiness", "JOY")] == ["happiness"] * 3
    with pytest.raises(UsageError, match=r"Emotion 'hapiness' is not known \(did you mean 'happiness'\?\)"):
        emotion_named("hapiness")
