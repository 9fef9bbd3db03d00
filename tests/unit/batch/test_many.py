"""Many clips from Python, and what a verdict shows in a notebook."""

import numpy as np
import pandas as pd
import pytest

import duchenne
from duchenne import pipeline
from duchenne.datasets import simulate
from duchenne.errors import InputError, UsageError
from duchenne.tables import columns
from makers import make_video

pytestmark = pytest.mark.usefixtures("read_once")


@pytest.fixture(scope="module")
def verdict():
    track = simulate.track(simulate.KINDS["posed"], 25.0, seed=1)
    return pipeline.judge(track, pipeline.load_model("default")).verdict


def test_a_list_of_clips_becomes_a_table_and_a_run_resumes(pictures, tmp_path, capfd):
    make_video(tmp_path / "short.mp4", pictures[:5], rate=25)
    (tmp_path / "text.mp4").write_text("no video")
    clips = [tmp_path / "short.mp4", tmp_path / "text.mp4"]
    table = duchenne.analyze_many(clips, tmp_path / "out", workers=1)
    assert list(table) == list(columns.VERDICTS) and list(table["file"]) == ["short.mp4", "text.mp4"]
    assert list(table["verdict"]) == ["abstained", "failed"] and list(table["code"]) == ["too_short", "failed"]
    assert "2 of 2 clips, 1 failed" in capfd.readouterr().err
    seen = []
    again = duchenne.analyze_many(clips, tmp_path / "out", progress=lambda meter: seen.append(meter.done))
    pd.testing.assert_frame_equal(again, table)
    assert not seen  # nothing was left to do
    with pytest.raises(UsageError, match="a list of paths"):
        duchenne.analyze_many([np.zeros(3)])
    with pytest.raises(InputError, match="There is no manifest"):
        duchenne.analyze_many(tmp_path / "none.csv")


@pytest.mark.parametrize("found", [["a.mp4", "b.mp4"], np.zeros((5, 48, 48)), None])
def test_what_is_not_a_path_gets_a_sentence(found):
    with pytest.raises(UsageError, match=r"path of one video, found a \w+; for several clips"):
        duchenne.analyze(found)


def test_a_verdict_is_a_table_a_card_and_a_figure(verdict, tmp_path):
    (row,) = verdict.to_frame().to_dict("records")
    assert row["verdict"] == verdict.label and row["rise"] == pytest.approx(row["apex"] - row["onset"], abs=2e-3)
    page = verdict._repr_html_()
    assert len(page) < 1200 and f"P(genuine) = {verdict.p_genuine:.2f}" in page
    verdict.plot().savefig(tmp_path / "v.png")
    assert (tmp_path / "v.png").stat().st_size > 5000


def test_tracks_and_curves_become_tables_with_names():
    track = simulate.track(simulate.KINDS["posed"], 25.0, seed=1)
    curves = pipeline.judge(track, pipeline.load_model("default"), explain=False).curves
    table = curves.to_frame()
    assert list(table) == ["time", *curves.names]
    np.testing.assert_array_equal(table["mouth_opening"], curves["mouth_opening"])
    pytest.importorskip("xarray", reason="xarray is not installed")
    data = track.to_xarray()
    assert data.sizes["time"] == len(track) and data["points"].dims == ("time", "point", "xy")
    np.testing.assert_array_equal(data["points"].sel(xy="y")[3], track.points[3, :, 1])
