"""How large the report of ten seconds of video is, and how long a browser takes to show it.

    python benchmarks/report.py [CLIPS] [--opens 5] [-o FILE]

Analyzes the first ten seconds of every video in a folder (by default $DUCHENNE_DATA/clips) that shows a face, at full
size, and opens each report several times in a new headless Chromium: from the start of navigation to the load event or
the video's first decoded frame, whichever is later, by the page's clock. Writes report.json. A test checks that a
report stays under 15 MB; the time to open it depends on the machine and is measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import machine
import torch

from duchenne import io, judging, pipeline, video
from duchenne.batch.plan import VIDEO_SUFFIXES
from duchenne.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import browser

SECONDS = 10.0
NOTE = "document.addEventListener('loadeddata', () => (window.firstFrame ??= performance.now()), true)"
DONE = "performance.getEntriesByType('navigation')[0].loadEventEnd > 0 && window.firstFrame > 0"
TIMES = "[performance.getEntriesByType('navigation')[0].loadEventEnd / 1e3, window.firstFrame / 1e3]"


def main() -> None:
    """Measure every clip and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("clips", type=Path, nargs="?", default=Path(os.environ.get("DUCHENNE_DATA", ".")) / "clips")
    parser.add_argument("--opens", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    if not any(map(shutil.which, browser.NAMES)):
        sys.exit(f"A browser is needed: install one of {', '.join(browser.NAMES)}.")
    about = machine.about(torch.device("cpu"))
    found = sorted(path for path in args.clips.glob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    rows = [row for path in found if (row := measure(path, args.opens))]
    if not rows:
        sys.exit(f"{args.clips} holds no video that shows a face; give a folder of clips.")
    print(json.dumps(result := {"machine": about, "clips": rows}, indent=2))
    io.write_json(args.output, result)


def measure(path: Path, opens: int) -> dict[str, Any] | None:
    """Size and opening time of the report of a clip's first seconds; None if no face is found."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            (analysis,) = pipeline.examine(path, end=SECONDS)
        except InputError as error:
            print(error, file=sys.stderr)
            return None
        pipeline.save([analysis], folder, judging.load_model("default").card)
        page = Path(folder) / "report.html"
        embedded = re.search(r"data:video/mp4;base64,([\w+/=]*)", page.read_text(encoding="utf-8"))
        times = [opened(page) for _ in range(opens)]
        size, about = page.stat().st_size, video.info(path)
    return {
        "clip": path.name,
        "size": [about.width, about.height],
        "seconds": round(analysis.track.duration, 2),
        "frames": len(analysis.track),
        "bytes": size,
        "bytes_of_film": len(embedded[1]) if embedded else 0,
        "load_event_s": [round(load, 3) for load, _ in times],
        "first_frame_s": [round(frame, 3) for _, frame in times],
        "opens_in_s": round(statistics.median(map(max, times)), 3),
    }


def opened(page: Path) -> tuple[float, float]:
    """Seconds from the start of the navigation to the load event, and to the video's first frame."""
    with browser.Browser() as tab:
        tab.send("Page.addScriptToEvaluateOnNewDocument", source=NOTE)
        tab.send("Page.navigate", url=page.resolve().as_uri())
        tab.until(f"location.protocol === 'file:' && {DONE}")
        load, frame = tab.ask(TIMES)
    return float(load), float(frame)


if __name__ == "__main__":
    main()
