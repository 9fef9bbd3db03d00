"""`duchenne overlay`: what is drawn, and that timing and sound are those of the clip."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from conftest import RATE
from duchenne import judging, overlay, pipeline, video
from duchenne.errors import UsageError
from duchenne.types import Array, Phase
from makers import corner_picture, make_video, turn_mp4

pytestmark = pytest.mark.usefixtures("read_once")
TIMES = [0, 40, 90, 150, 210, 300, 420, 500, 900, 930]  # ms: a variable rate


def with_sound(path: Path, video_from: Path, codec: str, late: float = 0.0) -> Path:
    """The pictures of a file with 0.5 s of a tone beside them; all pictures `late` seconds after the tone's start."""
    with av.open(str(video_from)) as pictures, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(pictures.streams.video[0])
        tone = out.add_stream(codec, rate=44100)
        wave = np.sin(np.arange(22050) * 0.05).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(
            wave if codec == "aac" else (wave * 9999).astype(np.int16), "fltp" if codec == "aac" else "s16", "mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
        packets = [*tone.encode(frame), *tone.encode(None)]
        for packet in pictures.demux(video=0):
            if packet.dts is not None:
                shift = round(Fraction(late).limit_denominator(1000) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                packets.append(packet)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)
    return path


def heard(path: Path) -> tuple[str, float, float, float]:
    """Codec, loudest sample, seconds of a file's sound, and when it starts after the first picture."""
    with av.open(str(path)) as container:
        stream, pictures = container.streams.audio[0], container.streams.video[0]
        begin = float((pictures.start_time or 0) * (pictures.time_base or 0))
        frames = list(container.decode(stream))
        loudest = max(float(np.abs(f.to_ndarray()).max()) for f in frames)
        seconds = sum(f.samples for f in frames) / frames[0].sample_rate
        return stream.codec_context.name, loudest, seconds, float(frames[0].time or 0.0) - begin


def same(frame: video.Frame) -> Array:
    return frame.bgr[..., ::-1]


def test_times_of_a_variable_rate_are_kept_and_odd_sides_grow(tmp_path: Path) -> None:
    source = make_video(
        tmp_path / "v.mkv", [corner_picture(65, 49)] * len(TIMES), times=TIMES, codec="ffv1", pix_fmt="bgr0"
    )
    out = video.redraw(source, tmp_path / "out.mp4", same)
    frames = list(video.frames(out))
    assert [round(1000 * f.time) for f in frames] == TIMES
    assert frames[0].grey.shape == (50, 66)


def test_a_turned_picture_is_written_upright(tmp_path: Path) -> None:
    """The corner that is bright when the file is shown must be bright in the result, which has no turn of its own."""
    source = turn_mp4(make_video(tmp_path / "v.mp4", [corner_picture(64, 48)] * 3), (0, 1, -1, 0))
    shown = next(iter(video.frames(source))).grey
    result = next(iter(video.frames(video.redraw(source, tmp_path / "out.mp4", same)))).grey
    assert result.shape == shown.shape
    assert np.abs(result.astype(int) - shown.astype(int)).mean() < 4
    assert video.info(tmp_path / "out.mp4").rotation == 0


@pytest.mark.parametrize(("codec", "suffix"), [("aac", ".mp4"), ("pcm_s16le", ".mkv")])
@pytest.mark.parametrize("late", [0.0, 0.2])
def test_sound_is_kept_beside_the_pictures(tmp_path: Path, codec: str, suffix: str, late: float) -> None:
    pictures = make_video(tmp_path / "p.mp4", [corner_picture()] * 12)
    source = with_sound(tmp_path / f"s{suffix}", pictures, codec, late)
    out = video.redraw(source, tmp_path / "out.mp4", same)
    _, _, before, first = heard(source)
    name, loudest, after, begin = heard(out)
    assert name == "aac"
    assert loudest > 0.2
    expected = before + min(first, 0.0)  # what lies before the first picture is left out
    assert after == pytest.approx(expected, abs=0.08)  # to three packets of 1,024 samples
    assert begin == pytest.approx(max(first, 0.0), abs=0.05)


def test_nothing_is_left_where_reading_fails(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 3000)
    with pytest.raises(Exception, match=r"broken\.mp4"):
        video.redraw(tmp_path / "broken.mp4", tmp_path / "out" / "out.mp4", same)
    assert not list((tmp_path / "out").iterdir())


def test_a_target_that_makes_no_sense_is_refused_before_any_work(smile: Path, tmp_path: Path, duchenne) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=r"use a name that ends in \.mp4"):
        video.check_target(smile, tmp_path / "out.avi")
    with pytest.raises(UsageError, match="the clip itself"):
        video.check_target(smile, smile)
    said = duchenne("overlay", str(smile), "-o", str(tmp_path / "o.gif"))
    assert said.code == 2
    assert "ends in .mp4" in said.err


@pytest.fixture(scope="module")
def made(smile: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[pipeline.Analysis]]:
    out = tmp_path_factory.mktemp("overlay") / "out.mp4"
    return smile, out, overlay.overlay(smile, out)


def test_the_clip_is_there_with_face_and_strip_drawn_in(made: tuple[Path, Path, list[pipeline.Analysis]]) -> None:
    clip, out, found = made
    before, after = list(video.frames(clip)), list(video.frames(out))
    assert [f.time for f in after] == pytest.approx([f.time for f in before], abs=2e-5)
    high, wide = before[0].grey.shape
    assert after[0].grey.shape[0] > high
    n = len(before) // 2
    change = np.abs(after[n].bgr[:high, :wide].astype(int) - before[n].bgr.astype(int)).max(axis=2)
    x0, y0, x1, y1 = found[0].track.box[n].astype(int)
    inside = np.zeros_like(change, bool)
    inside[max(0, y0 - 40) : y1 + 6, max(0, x0 - 6) : x1 + 60] = True
    assert (change[inside] > 60).sum() > 500  # points, lines, corners and label
    assert np.percentile(change[~inside], 99) < 30  # the rest is the clip, but for the coding
    strips = [f.bgr[high:].astype(int) for f in after]
    assert np.abs(strips[2] - strips[-3]).max() > 100  # the playhead went on


def test_running_probability_ends_at_the_verdict_and_reads_only_the_past(
    made: tuple[Path, Path, list[pipeline.Analysis]],
) -> None:
    found = made[2][0]
    run = overlay.running(found, judging.load_model("default"))
    assert run.p[-1] == found.p_raw
    assert np.diff(run.time).min() > 0
    assert np.isnan(run.at(run.time[0] - 0.01))
    phase = found.verdict.judged_phase
    assert phase is not None and phase.onset is not None and phase.apex is not None
    assert np.isnan(run.p[run.time <= phase.onset]).all() and (run.time <= phase.onset).any()
    assert np.isfinite(run.p[run.time >= phase.apex + 0.5]).all()
    k = len(run.time) // 2
    n = int(np.searchsorted(found.track.time, run.time[k], side="right"))
    cut = found.track.take("cut", np.arange(n))
    loaded = judging.load_model("default")
    again = pipeline.judge(cut, loaded, emotions=found.emotions, looks=found.looks, explain=False).p_raw
    assert run.at(run.time[k]) == again or np.isnan(again)


def test_a_dash_stands_for_the_probability_until_a_rise_and_a_line_over_what_is_judged(
    made: tuple[Path, Path, list[pipeline.Analysis]],
) -> None:
    found = made[2][0]
    size = found.track.frame_size
    run = overlay.Running(np.array([0.0, 1.0]), np.array([np.nan, 0.6]))
    painter = overlay.Painter([found], [run], size)
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    before, after = (painter.paint(picture, 0, t)[size[1] :].astype(int) for t in (0.0, 1.0))
    u = painter.unit
    place = (slice(round(20 * u), round(50 * u)), slice(round(8 * u), round(70 * u)))  # of the number
    lit = [(each[place].max(axis=2) > 90).sum(axis=1) for each in (before, after)]
    assert 0 < np.count_nonzero(lit[0]) <= 5 * u < np.count_nonzero(lit[1])
    assert found.verdict.judged is not None
    line = (before[round(5 * u)].min(axis=1) > 90).nonzero()[0]
    line = line[line < painter.chart.right + 1]
    expected = [painter.chart.x(t) for t in found.verdict.judged]
    assert [line[0], line[-1]] == pytest.approx(expected, abs=2 * u)


def test_unseen_frames_keep_their_picture(made: tuple[Path, Path, list[pipeline.Analysis]]) -> None:
    found = made[2][0]
    track = found.track
    points = track.points.copy()
    points[3] = np.nan
    hidden = replace(found, track=track.evolve("hide", points=points))
    picture = np.full((track.frame_size[1], track.frame_size[0], 3), 90, np.uint8)
    run = overlay.Running(np.array([0.0]), np.array([0.5]))
    painted = overlay.Painter([hidden], [run], track.frame_size)
    assert (painted.paint(picture, 3, float(track.time[3]))[: len(picture)] == 90).all()
    assert (painted.paint(picture, 4, float(track.time[4]))[: len(picture)] != 90).any()


def test_the_points_of_a_covered_part_are_not_drawn(made: tuple[Path, Path, list[pipeline.Analysis]]) -> None:
    found = made[2][0]
    track = found.track
    points = track.points.copy()
    points[3, 48:] = np.nan
    hidden = replace(found, track=track.evolve("cover", points=points))
    picture = np.full((track.frame_size[1], track.frame_size[0], 3), 90, np.uint8)
    run = overlay.Running(np.array([0.0]), np.array([0.5]))
    drawn = [
        overlay.Painter([each], [run], track.frame_size).paint(picture, 3, float(track.time[3]))[: len(picture)]
        for each in (found, hidden)
    ]
    (x0, y0), (x1, y1) = (
        edge.astype(int) for edge in (track.points[3, 48:].min(0) + 3, track.points[3, 48:].max(0) - 1)
    )
    whole, covered = ((each[y0:y1, x0:x1] != 90).any() for each in drawn)
    eyes = tuple(track.points[3, 39].astype(int)[::-1])
    assert whole and not covered and (drawn[1][eyes] != 90).any()


def test_the_mesh_is_drawn_of_the_reader_that_has_one(pictures: list[Array], tmp_path: Path, duchenne) -> None:  # type: ignore[no-untyped-def]
    clip, out = make_video(tmp_path / "clip.mp4", pictures[:5], rate=RATE), tmp_path / "o.mp4"
    assert (
        "Only the reader mesh has a mesh"
        in duchenne("overlay", clip, "-o", out, "--mesh", "--reader", "paper").sentence
    )
    assert not out.exists()
    pictures = []
    for more in ((), ("--mesh",)):
        assert duchenne("overlay", clip, "-o", out, "--reader", "mesh", "--no-faces", *more).code == 0
        pictures.append(next(iter(video.frames(out))).grey.astype(int))
    lit = [(each[:240] > 60).mean() for each in pictures]  # 240: the height of the clip
    assert lit[1] > 1.5 * lit[0]


def test_phases_by_the_clock() -> None:
    phases = [Phase(onset=1.0, apex=1.5, offset=2.0, end=None), Phase(onset=3.0, apex=3.2, offset=3.4, end=4.0)]
    said = [overlay.phase_at(phases, t) for t in (0.5, 1.0, 1.6, 2.1, 3.1, 3.5, 4.0)]
    assert said == [None, "rise", "plateau", None, "rise", "fall", None]


def test_without_faces_no_image_is_left(pictures: list[Array], tmp_path: Path, duchenne) -> None:  # type: ignore[no-untyped-def]
    clip = make_video(tmp_path / "clip.mp4", pictures[:12], rate=RATE)
    said = duchenne("overlay", str(clip), "-o", str(tmp_path / "o.mp4"), "--no-faces")
    assert said.code == 0
    high = len(pictures[0])
    frame = list(video.frames(tmp_path / "o.mp4"))[10].bgr[:high].astype(int)
    assert abs(int(np.median(frame)) - overlay._DARK) <= 2
    assert np.percentile(np.abs(frame - overlay._DARK), 90) < 12  # points and corners are few
