"""A manifest is read as meant, and every fault in it is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duchenne.datasets.entry import Entry
from duchenne.datasets.manifest import COLUMNS, missing, read, read_rows, split_path, to_text, write
from duchenne.errors import InputError
from duchenne.io import is_missing
from duchenne.types import ALL_EMOTIONS, LABELS, Clip

HEADER = "path,subject,emotion,label,start,end,fold\n"


def manifest(folder: Path, text: str, header: str = HEADER) -> Path:
    path = folder / "m.csv"
    path.write_text(header + text, encoding="utf-8")
    return path


def test_rows_become_clips(tmp_path: Path) -> None:
    absolute = str(tmp_path.absolute() / "else" / "b.mp4")
    path = manifest(tmp_path, f'a.mp4,01,happiness,genuine,,,\n\n{absolute}, p 2 ,,,0.5,2,"x"\n')
    assert read(path) == [
        Clip(str(tmp_path / "a.mp4"), "01", "happiness", "genuine"),
        Clip(absolute, "p 2", None, None, 0.5, 2.0, "x"),
    ]


@pytest.mark.parametrize(
    ("word", "label"),
    [("genuine", 1), ("TRUE", 1), ("Spontaneous", 1), ("1", 1), ("posed", 0), ("Fake", 0), ("0", 0)],
)
def test_label_words_give_the_label(tmp_path: Path, word: str, label: int) -> None:
    (clip,) = read(manifest(tmp_path, f"a,1,fear,{word}"))
    assert clip.label == LABELS[label]


@pytest.mark.parametrize(
    ("word", "emotion"),
    [
        *zip(ALL_EMOTIONS, ALL_EMOTIONS, strict=True),
        *(("happy", "happiness"), ("Angry", "anger"), ("sad", "sadness"), ("surprised", "surprise")),
        *(("disgusted", "disgust"), ("fearful", "fear"), ("AFRAID", "fear"), ("CONTENTMENT", "contempt")),
    ],
)
def test_emotion_words_give_the_emotion(tmp_path: Path, word: str, emotion: str) -> None:
    (clip,) = read(manifest(tmp_path, f"a,1,{word},posed"))
    assert clip.emotion == emotion


@pytest.mark.parametrize("mark", [";", "\t"])
def test_separators_byte_order_mark_and_column_order_may_vary(tmp_path: Path, mark: str) -> None:
    text = "\ufeffLabel,sex, Subject ,PATH,emotion\r\nfake,F,7,a.mp4,sad\r\n".replace(",", mark)
    (clip,) = read(manifest(tmp_path, text, header=""))
    assert clip == Clip(str(tmp_path / "a.mp4"), "7", "sadness", "posed")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,1,joyful,maybe,,,", "line 2, has the label 'maybe'; use one of genuine, true"),
        ("a,1,fear,1,,,\nb,1,bored,1,,,", "line 3, has the emotion 'bored'; use one of anger, disgust"),
        ("a, ,fear,1,,,", "line 2, has no subject"),
        (",1,fear,1,,,", "line 2, has no path"),
        ("a,1,fear,1,,,\n\nb,1,fear,1,,,\na,2,fear,0,,,", "line 5, repeats the clip of line 2: a"),
        ("a,1,fear,1,x,,", "line 2, has the start 'x'"),
        ("a,1,fear,1,,inf,", "line 2, has the end 'inf'"),
        ("a,1,fear,1,2,2,", "line 2, ends at 2 s, but must end after its start at 2 s"),
        ("a,b,1,fear,1,,,,x", "line 2, has 9 cells for 7 columns"),
        ("", "lists no clips"),
    ],
)
def test_invalid_rows_raise_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(manifest(tmp_path, text))
    assert str(caught.value).startswith(str(tmp_path / "m.csv"))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,emotion\n", r"lacks the columns subject, label; .* found path, emotion\."),
        ("path,subject,emotion\n", "lacks the column label;"),
        ("", "lacks the columns path, subject, emotion, label; .* found nothing"),
        ("path,subject,emotion,label,Path\n", "the column path more than once"),
    ],
)
def test_invalid_headers_raise(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(manifest(tmp_path, "", header))


def test_other_files_raise(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xfa\xfe\xfa")
    for path, message in {
        "m.csv": "not UTF-8",
        "gone.csv": "There is no manifest",
        ".": "is not a file",
    }.items():
        with pytest.raises(InputError, match=message):
            read(tmp_path / path)


def test_same_file_may_give_several_stretches(tmp_path: Path) -> None:
    clips = read(manifest(tmp_path, "a,1,fear,1,0,1,\na,1,fear,1,1,2,\n"))
    assert [(clip.start, clip.end) for clip in clips] == [(0, 1), (1, 2)]


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("c.npz#3", ("c.npz", "3")),
        ("a#b/c.NPZ#clip #1", ("a#b/c.NPZ", "clip #1")),
        ("d/lip.csv#12", ("d/lip.csv", "12")),
        ("lip.CSV#0", ("lip.CSV", "0")),
        ("c.npz", ("c.npz", None)),
        ("lip.csv", ("lip.csv", None)),
        ("take#2.mp4", ("take#2.mp4", None)),
        ("c.npz#", ("c.npz#", None)),
    ],
)
def test_a_path_may_name_one_track(tmp_path: Path, path: str, parts: tuple[str, str | None]) -> None:
    assert split_path(path) == parts
    (clip,) = read(manifest(tmp_path, f'"{path}",1,fear,1'))
    assert clip.path == str(tmp_path / path)


_WORD = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=6)
_TIME = st.floats(0, 1e4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Clip,
            path=_WORD.filter(lambda text: "/" not in text and text not in (".", "..") and not is_missing(text)),
            subject=st.sampled_from(["p1", "Ünal", "3", "=x", "a\u3000b", "-7", "'q"]),
            emotion=st.none() | st.sampled_from(ALL_EMOTIONS),
            label=st.none() | st.sampled_from(LABELS),
            start=st.none() | _TIME,
            end=st.none() | _TIME.map(lambda end: end + 10001),
            fold=st.none() | st.sampled_from(["1", "Train", "=B", "ü"]),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda clip: clip.path,
    ),
    st.booleans(),
)
def test_written_clips_are_read_back(tmp_path_factory: pytest.TempPathFactory, clips: list[Clip], inside: bool) -> None:
    folder = tmp_path_factory.mktemp("m")
    home = folder / "sub" if inside else folder.parent / "elsewhere"
    clips = [Clip(**{**vars(clip), "path": str(home / clip.path)}) for clip in clips]
    path = write(folder / "m.csv", clips)
    assert read(path) == clips
    assert (str(folder) in path.read_text("utf-8")) is False


def test_a_written_manifest_can_move_with_its_clips(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    write(tmp_path / "old" / "m.csv", [Clip(str(tmp_path / "old" / "x" / "a.mp4"), "1")])
    text = (tmp_path / "old" / "m.csv").read_text()
    assert text == ",".join(COLUMNS) + "\nx/a.mp4,1,,,,,\n"
    (tmp_path / "old").rename(tmp_path / "new")
    assert read(tmp_path / "new" / "m.csv")[0].path == str(tmp_path / "new" / "x" / "a.mp4")


def test_rows_have_their_lines(tmp_path: Path) -> None:
    path = manifest(tmp_path, 'a,1,,\n\n"b\nb",2,,\nc,3,,\n')
    # by hand: header 1, a 2, blank 3, b from 4 to 5, c 6
    assert [(line, clip.subject) for line, clip in read_rows(path)] == [(2, "1"), (5, "2"), (6, "3")]
    assert [clip for _, clip in read_rows(path)] == read(path)


def test_persons_may_be_unknown_without_persons(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a, ,fear,1,,,\nb,2,,,,,\n")
    assert [clip.subject for clip in read(path, persons=False)] == [None, "2"]
    with pytest.raises(InputError, match="line 2, has no subject"):
        read(path)
    with pytest.raises(InputError, match="line 2, has no path"):
        read(manifest(tmp_path, ",,fear,1,,,\n"), persons=False)


def test_missing_gives_files_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "here.npz").touch()
    (tmp_path / "frames").mkdir()
    path = manifest(tmp_path, "here.npz#0,1,,\ngone.npz#1,1,,\nframes,2,,\ngone.csv#x,3,,\ngone.mp4,4,,\n")
    gone = [(3, "gone.npz"), (5, "gone.csv"), (6, "gone.mp4")]
    assert missing(read_rows(path)) == [(line, str(tmp_path / name)) for line, name in gone]


def test_a_clip_of_an_unknown_person_is_written_with_an_empty_cell(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", [Clip(str(tmp_path / "a.mp4")), Clip(str(tmp_path / "b.mp4"), "1")])
    assert path.read_text().splitlines()[1:] == ["a.mp4,,,,,,", "b.mp4,1,,,,,"]
    assert [clip.subject for clip in read(path, persons=False)] == [None, "1"]


def test_facts_become_further_columns_that_readers_ignore(tmp_path: Path) -> None:
    rows = [
        Entry(Clip(str(tmp_path / "a.mp4"), "1"), {"onset": "0.5", "subject": "never"}),
        Clip(str(tmp_path / "b.mp4"), "2"),
        Entry(Clip(str(tmp_path / "c.mp4"), "3"), {"note": "x, y", "onset": "1"}),
    ]
    path = write(tmp_path / "m.csv", rows)
    assert path.read_text().splitlines() == [
        "path,subject,emotion,label,start,end,fold,onset,note",
        "a.mp4,1,,,,,,0.5,",
        "b.mp4,2,,,,,,,",
        'c.mp4,3,,,,,,1,"x, y"',
    ]
    assert [clip.subject for clip in read(path)] == ["1", "2", "3"]


def test_text_without_a_folder_has_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert to_text([Clip("x/a.mp4", "1")]).splitlines()[1] == f"{(tmp_path / 'x' / 'a.mp4').as_posix()},1,,,,,"
    assert to_text([Clip("x/a.mp4", "1")], tmp_path).splitlines()[1] == "x/a.mp4,1,,,,,"
