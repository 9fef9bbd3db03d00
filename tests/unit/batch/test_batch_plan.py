"""Which clips a batch has, what their results are called, and who may work on one folder."""

import os

import pytest

from duchenne.batch import plan
from duchenne.batch.state import State, hold, shard_of
from duchenne.errors import InputError, UsageError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def names(found):
    return [item.name for item in found.items]


@pytest.fixture
def clips(tmp_path):
    return touch(tmp_path / "c", "clip10.mp4", "clip2.MOV", "b/x.mkv", "b/x.mp4", "notes.txt", "still.png", ".h.mp4")


def test_videos_are_found_in_natural_order(clips, tmp_path):
    touch(clips, ".hidden/a.mp4", "out/.duchenne/settings.json", "out/a.mp4/b.mp4")
    assert names(plan.find([clips], tmp_path / "o")) == ["b/x.mkv", "b/x.mp4", "clip2.MOV", "clip10.mp4"]


def test_link_cycles_are_followed_once(clips, tmp_path):
    (clips / "a_link").symlink_to(clips / "b")
    (clips / "b" / "up").symlink_to(clips)
    other = touch(tmp_path / "far", "y.avi")
    (clips / "far").symlink_to(other)
    (other / "back").symlink_to(clips)
    found = names(plan.find([clips], tmp_path / "o"))
    assert found == ["b/x.mkv", "b/x.mp4", "clip2.MOV", "clip10.mp4", "far/y.avi"]


def test_repeated_sources_are_listed_once(clips, tmp_path):
    found = plan.find([clips / "b", clips / "b" / "x.mp4", clips / "notes.txt"], tmp_path / "o")
    assert found.root == clips and names(found) == ["b/x.mkv", "b/x.mp4", "notes.txt"]


def test_every_clip_has_a_unique_place_and_key(tmp_path):
    odd = ["a.mp4", "a.mov", "=1+1.mp4", "new\nline.mp4", "back\\slash.mp4", "n" * 250 + ".mp4", "clips.csv/a.mp4"]
    odd += [os.fsdecode(b"caf\xe9.mp4"), "ünï.mp4", "-dash.mp4", "frames/a.mp4.csv/a.mp4"]
    found = plan.find([touch(tmp_path / "c", *odd)], tmp_path / "o").items
    assert len({item.key for item in found}) == len({item.place for item in found}) == len(odd)
    shown = {item.name for item in found}
    assert {"./=1+1.mp4", "new\\nline.mp4", "back\\\\slash.mp4", "caf\\xe9.mp4", "ünï.mp4", "./-dash.mp4"} <= shown
    assert all(name.isprintable() for name in shown)
    for item in found:
        assert (tmp_path / "c" / item.path).read_bytes() == b"x" and item.stamp is not None
        touch(tmp_path / "o", f"{item.place}.parquet")  # it can be written, beside all others


def test_manifest_keeps_order_stretches_and_folders(tmp_path):
    folder = touch(tmp_path / "c", "b.mp4", "a.mp4")
    touch(tmp_path, "up.mp4")
    rows = ["b.mp4,,,,,", "a.mp4,,,,0.5,2", "a.mp4,,,,3,", "../up.mp4,,,,,", "images,,,,,,"]
    (folder / "images").mkdir()
    text = (
        "path,subject,emotion,label,start,end,rate\n" + "\n".join(f"{row}," for row in rows[:4]) + "\nimages,,,,,,50\n"
    )
    (folder / "m.csv").write_text(text)
    found = plan.find([], tmp_path / "o", folder / "m.csv").items
    assert [(i.name, i.start, i.end, i.rate) for i in found] == [
        ("b.mp4", None, None, None), ("a.mp4", 0.5, 2.0, None), ("a.mp4", 3.0, None, None),
        ("../up.mp4", None, None, None), ("images", None, None, 50.0),
    ]  # fmt: skip
    assert [i.place for i in found] == ["b.mp4", "a.mp4@0.5-2.0", "a.mp4@3.0-", "..~/up.mp4", "images"]


def test_rate_is_of_streams_and_of_folders_of_images_without_one(tmp_path):
    folder = touch(tmp_path / "c", "a.mp4", "b.mjpg", "in/1.png", "in/preview.mp4")
    found = plan.find([folder / "a.mp4", folder / "b.mjpg", folder / "in"], tmp_path / "o", rate=12.5).items
    assert [(i.name, i.rate) for i in found] == [("a.mp4", None), ("b.mjpg", 12.5), ("in", 12.5)]
    assert names(plan.find([folder], tmp_path / "o", rate=12.5)) == ["a.mp4", "b.mjpg", "in/preview.mp4"]
    (folder / "m.csv").write_text("path,subject,emotion,label,rate\na.mp4,,,,\nb.mjpg,,,,\nin,,,,50\n")
    found = plan.find([], tmp_path / "o", folder / "m.csv", rate=12.5).items
    assert [(i.name, i.rate) for i in found] == [("a.mp4", None), ("b.mjpg", 12.5), ("in", 50.0)]


def test_shards_cover_all_clips_once(tmp_path):
    found = plan.find([touch(tmp_path / "c", *(f"{i}.mp4" for i in range(10)))], tmp_path / "o")
    shares = [found.share((i, 3)) for i in (1, 2, 3)]
    assert [len(share) for share in shares] == [4, 3, 3]
    assert {item.key for share in shares for item in share} == {item.key for item in found.items}
    assert found.share(None) == found.items


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", ""])
def test_invalid_shard_is_rejected(text):
    with pytest.raises(UsageError, match="3/16"):
        shard_of(text)
    assert shard_of(" 3/16 ") == (3, 16) and shard_of(None) is None


def test_batch_without_videos_or_with_results_among_clips_is_rejected(clips, tmp_path):
    with pytest.raises(InputError, match="holds no video"):
        plan.find([touch(tmp_path / "e", "a.txt", "b.png")], tmp_path / "o")
    with pytest.raises(UsageError, match="the folder of the clips"):
        plan.find([clips], clips)
    with pytest.raises(UsageError, match="not both"):
        plan.find([clips], tmp_path / "o", clips / "m.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_folder_is_reported(clips, tmp_path):
    (clips / "b").chmod(0)
    found = plan.find([clips], tmp_path / "o")
    (clips / "b").chmod(0o700)
    assert names(found) == ["b", "clip2.MOV", "clip10.mp4"] and "b cannot be opened (Perm" in found.items[0].fault


# --- state --------------------------------------------------------------------------------------------------


def test_folder_is_locked_for_one_run_or_shards_of_one_number(tmp_path):
    with hold(tmp_path, {}, (1, 3)), hold(tmp_path, {}, (2, 3)):
        for other in (None, (1, 3), (1, 2)):
            with pytest.raises(UsageError, match="Another run is using"), hold(tmp_path, {}, other):
                pass
    with hold(tmp_path, {}), pytest.raises(UsageError, match="Another run is using"), hold(tmp_path, {}):
        pass
    with hold(tmp_path, {}):
        pass


def test_other_settings_and_other_results_are_rejected(tmp_path):
    with hold(tmp_path / "o", {"task": "extract", "options": {"format": "csv"}}):
        pass
    with (
        pytest.raises(UsageError, match="options format csv there and parquet here"),
        hold(tmp_path / "o", {"task": "extract", "options": {"format": "parquet"}}),
    ):
        pass
    with pytest.raises(UsageError, match="another program"), hold(touch(tmp_path / "mine", "clips.csv"), {}):
        pass
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == ["clips.csv"]


def test_results_of_another_version_are_rejected(tmp_path):
    settings = touch(tmp_path, ".duchenne/settings.json") / ".duchenne" / "settings.json"
    settings.write_text('{"format": 1, "task": "extract"}')
    with pytest.raises(UsageError, match="another version of duchenne; choose"), hold(tmp_path, {"task": "extract"}):
        pass


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"stamp": [1, 2]}', b'{"stamp": 3, "rows": []}', b"\xff"])
def test_damaged_record_counts_as_not_done(damage, tmp_path):
    item = plan.find([touch(tmp_path / "c", "a.mp4")], tmp_path / "o").items[0]
    with hold(tmp_path / "o", {}) as state:
        assert state.read(item) is None
        state.write(item, rows=[{"face": 0}], files={})
        assert state.read(item)["rows"] == [{"face": 0}]
        (record,) = (state.folder / "clips").glob("*/*.json")
        record.write_bytes(damage)
        assert state.read(item) is None


def test_changed_clip_is_not_done_and_removed_one_is_counted(tmp_path):
    folder = touch(tmp_path / "c", "a.mp4", "b.mp4")
    with hold(tmp_path / "o", {}) as state:
        for item in plan.find([folder], tmp_path / "o").items:
            state.write(item, failure="Why.")
        (folder / "a.mp4").write_bytes(b"longer")
        (folder / "b.mp4").unlink()
        items = plan.find([folder], tmp_path / "o").items
        assert isinstance(state, State) and state.read(items[0]) is None and state.gone(items) == 1
