"""Speed from video to 68 landmarks, compared with decoding alone and with plain pipelines of the same parts.

    DUCHENNE_DATA=FOLDER python benchmarks/extract.py [--clip FILE] [--runs 5] [--quick] [-o FILE]

The clip (FOLDER/clips/WolfgangLanger_Pexels.mp4, 472 frames, hands in front of the face in the middle) is measured at
640x360 and, enlarged, at 1920x1080. All chains of one size run in one process and take turns, some hundred frames each,
so that other load slows them equally; counted is the CPU time of each, with its one detection and without the loading
of models. Ratios are medians over the runs, with minimum and maximum.

    decode     PyAV alone, one thread: the limit
    read       duchenne.video.reader: the same with checked timestamps and the luma plane
    floor      decode, and dlib's points in one box: the lower bound for any chain of these parts
    plain      decode to luma, Haar once, OpenCV's MOSSE on the whole frame, dlib's points on the whole frame
    plain_bgr  the same on colour pictures
    hog        decode, dlib's HOG detector and its points on every frame
    mediapipe  Face Landmarker, where the package is installed and DUCHENNE_MEDIAPIPE names its model
    duchenne   faces.follow

Then two processes of `duchenne extract` against one, without the first clip of each, beside two independent plain
loops; the distance of the tracks from the plain chain's; and the cost of verdict and report. Writes extract.json;
--quick measures a few frames, which is meaningless, and writes only with -o.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import dlib
import numpy as np

from duchenne import pipeline, video
from duchenne.batch import extract_task
from duchenne.batch.work import ClipJob
from duchenne.expression.reading import load as load_expressions
from duchenne.faces import follow
from duchenne.faces.crops import crop
from duchenne.faces.landmarks import Dlib68
from duchenne.faces.reading import LOOK
from duchenne.judging import load_model
from duchenne.types import Array
from duchenne.workers.pool import Pool
from duchenne.workers.protocol import Job, Limits

CLIP = "WolfgangLanger_Pexels.mp4"
SIZES = {"360p": (640, 360), "1080p": (1920, 1080)}
PIECE = 118  # frames until the next chain's turn
HOG_FRAMES = {"360p": 120, "1080p": 24}  # a detector on every frame takes long, and each frame as long as the last
Tick = Callable[[int], None]
Chain = Callable[[Path, int, Tick], Any]
PACKAGES = ("av", "dlib-bin", "duchenne", "numpy", "opencv-contrib-python-headless", "scipy", "torch")
COST = {"seconds": 4.0, "rate": 30.0, "clips": 1_000_000}  # a batch on paper


def luma(path: Path, frames: int) -> Iterator[tuple[av.VideoFrame, Array]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for image in islice(container.decode(stream), frames):
            plane = image.planes[0]
            yield image, np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: image.height, : image.width]


def decode(path: Path, frames: int, tick: Tick) -> None:
    for n, _ in enumerate(luma(path, frames)):
        tick(n + 1)


def read(path: Path, frames: int, tick: Tick) -> None:
    for n, frame in enumerate(islice(video.frames(path), frames)):
        _ = frame.grey
        tick(n + 1)


def floor(path: Path, frames: int, tick: Tick) -> None:
    box: tuple[int, ...] | None = None
    for n, (_, grey) in enumerate(luma(path, frames)):
        box = box or haar(grey)
        points_in(np.ascontiguousarray(grey), box)
        tick(n + 1)


def plain(path: Path, frames: int, tick: Tick, shift: tuple[int, int] = (0, 0), colour: bool = False) -> Array:
    """float (T, 68, 2): the loop that a first script would have, begun in a box `shift`ed by some pixels."""
    tracker, box, found = cv2.legacy.TrackerMOSSE_create(), (0, 0, 1, 1), []
    for n, (image, plane) in enumerate(luma(path, frames)):
        picture = image.to_ndarray(format="bgr24") if colour else np.ascontiguousarray(plane)
        if n == 0:
            x, y, w, h = haar(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if colour else picture)
            box = (x + shift[0], y + shift[1], w, h)
            tracker.init(picture, box)
        else:
            held, moved = tracker.update(picture)
            box = tuple(int(v) for v in moved) if held else box
        found.append(points_in(picture, box))
        tick(n + 1)
    return np.array(found, np.float64)


def hog(path: Path, frames: int, tick: Tick) -> None:
    detector = dlib.get_frontal_face_detector()
    for n, (_, plane) in enumerate(luma(path, frames)):
        grey = np.ascontiguousarray(plane)
        for found in detector(grey):
            points_in(grey, (found.left(), found.top(), found.width(), found.height()))
        tick(n + 1)


def duchenne(path: Path, frames: int, tick: Tick) -> Array:
    tracks = follow(islice(video.frames(path), frames), on_frame=tick).tracks
    return tracks[0].points.astype(np.float64)


def mediapipe(path: Path, frames: int, tick: Tick) -> None:
    import mediapipe as mp

    options = mp.tasks.vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=os.environ["DUCHENNE_MEDIAPIPE"]),
        running_mode=mp.tasks.vision.RunningMode.VIDEO,
    )
    with mp.tasks.vision.FaceLandmarker.create_from_options(options) as finder:
        for n, (image, _) in enumerate(luma(path, frames)):
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=image.to_ndarray(format="rgb24"))
            finder.detect_for_video(picture, round(1000 * image.time))
            tick(n + 1)


CHAINS: dict[str, Chain] = {"decode": decode, "read": read, "floor": floor, "plain": plain, "hog": hog}
CHAINS |= {"plain_bgr": lambda path, frames, tick: plain(path, frames, tick, colour=True), "duchenne": duchenne}
if at_hand := importlib.util.find_spec("mediapipe") is not None and "DUCHENNE_MEDIAPIPE" in os.environ:
    CHAINS["mediapipe"] = mediapipe


def haar(grey: Array) -> tuple[int, ...]:
    """x y w h of the largest face that OpenCV's best-known cascade finds."""
    cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"))
    found = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5)
    if len(found) == 0:
        sys.exit("The plain chain finds no face in the first frame; choose another clip.")
    return tuple(int(v) for v in max(found, key=lambda box: box[2] * box[3]))


def points_in(picture: Array, box: tuple[int, ...]) -> list[tuple[int, int]]:
    x, y, w, h = box
    return [(q.x, q.y) for q in Dlib68()._predict(picture, dlib.rectangle(x, y, x + w - 1, y + h - 1)).parts()]


class Turns:
    """One chain at a time, `PIECE` frames each; every chain's own CPU seconds."""

    def __init__(self, works: dict[str, Callable[[Tick], Any]]) -> None:
        self.queue, self.change = deque(works), threading.Condition()
        self.spent, self.results = dict.fromkeys(works, 0.0), dict[str, Any]()
        threads = [threading.Thread(target=self._work, args=item) for item in works.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, name: str, work: Callable[[Tick], Any]) -> None:
        self._take(name)
        start = time.thread_time()

        def tick(n: int) -> None:
            nonlocal start
            if n % PIECE == 0:
                self.spent[name] += time.thread_time() - start
                with self.change:
                    self.queue.rotate(-1)
                    self.change.notify_all()
                self._take(name)
                start = time.thread_time()

        try:
            self.results[name] = work(tick)
        finally:
            self.spent[name] += time.thread_time() - start
            with self.change:
                self.queue.remove(name)
                self.change.notify_all()

    def _take(self, name: str) -> None:
        with self.change:
            self.change.wait_for(lambda: self.queue[0] == name)


def one_run(path: Path, frames: dict[str, int]) -> Turns:
    works = {name: lambda tick, name=name: CHAINS[name](path, frames[name], tick) for name in CHAINS}
    return Turns(works)


def speeds(path: Path, size: str, runs: int, frames: int) -> dict[str, Any]:
    """ms per frame of every chain, and the ratios that matter; medians over runs, [lowest, highest] beside."""
    todo = dict.fromkeys(CHAINS, frames) | {"hog": min(frames, HOG_FRAMES[size])}
    ms = []
    for _ in range(runs):
        turns = one_run(path, todo)
        if set(turns.results) != set(CHAINS):
            sys.exit(f"Not every chain came to its end: {sorted(set(CHAINS) - set(turns.results))}.")
        ms.append({name: 1000 * spent / todo[name] for name, spent in turns.spent.items()})
        print(f"{size}: { ({k: round(v, 3) for k, v in ms[-1].items()}) }", file=sys.stderr, flush=True)
    found: dict[str, Any] = {"frames": frames, "hog_frames": todo["hog"]}
    found["ms_per_frame"] = {name: spread([run[name] for run in ms]) for name in CHAINS}
    found["ratios"] = {
        "times_plain": spread([run["plain"] / run["duchenne"] for run in ms]),
        "times_plain_bgr": spread([run["plain_bgr"] / run["duchenne"] for run in ms]),
        "times_hog": spread([run["hog"] / run["duchenne"] for run in ms]),
        "of_decode": spread([run["decode"] / run["duchenne"] for run in ms]),
        "of_floor": spread([run["floor"] / run["duchenne"] for run in ms]),
        "plain_of_decode": spread([run["decode"] / run["plain"] for run in ms]),
    }
    if at_hand:
        found["ratios"]["times_mediapipe"] = spread([run["mediapipe"] / run["duchenne"] for run in ms])
    found["tracks"] = likeness(path, frames, turns.results)
    return found


def spread(values: list[float]) -> list[float]:
    """[median, lowest, highest], to three digits."""
    return [float(f"{v:.3g}") for v in (statistics.median(values), min(values), max(values))]


def likeness(path: Path, frames: int, results: dict[str, Any]) -> dict[str, Any]:
    """How far our points are from the plain chain's, and that chain's from itself started one pixel away."""
    ours, theirs = results["duchenne"], results["plain"]
    unit = float(np.nanmedian(np.linalg.norm(ours[:, 36:42].mean(1) - ours[:, 42:48].mean(1), axis=1)))
    moved = [plain(path, frames, lambda n: None, shift) for shift in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    return {
        "unit": "px; share: of the interocular distance. Medians over frames of the RMS distance over the 68 points",
        "interocular_px": round(unit, 1),
        "seen": round(float(np.isfinite(ours).all((1, 2)).mean()), 4),
        "ours_from_plain": shared(distance(ours, theirs), unit),
        "ours_from_plain_worst_tenth": shared(np.nanquantile(distance(ours, theirs), 0.9), unit),
        "plain_from_itself_one_pixel_away": shared([np.median(distance(other, theirs)) for other in moved], unit),
        "plain_worst_tenth": shared([np.quantile(distance(other, theirs), 0.9) for other in moved], unit),
        "trembling_ours": shared(jitter(ours), unit),
        "trembling_plain": shared(jitter(theirs), unit),
    }


def distance(a: Array, b: Array) -> Array:
    return np.asarray(np.sqrt(((a - b) ** 2).sum(-1).mean(-1)))


def jitter(points: Array) -> Array:
    """RMS second difference of the points, of every frame: how far one is from the middle of its neighbours, twice."""
    return distance(points[2:] + points[:-2], 2 * points[1:-1])


def shared(values: Any, unit: float) -> dict[str, float]:
    px = float(np.nanmedian(values))
    return {"px": round(px, 3), "share": round(px / unit, 4)}


# ---- two processes


def by_workers(path: Path, clips: int, count: int) -> float:
    """Clips per second of `count` workers of a batch together, after the first clip of each."""
    task = extract_task(cache=False)
    with TemporaryDirectory() as out:
        jobs = (
            Job(n, path.name, asdict(ClipJob(str(path.parent), path.name, path.name, out, f"{n}.csv", f"{out}/made")))
            for n in range(clips + count)
        )
        done = []
        for result in Pool(task.work, count, Limits())(jobs, lambda *_: None):
            assert result.failure is None, result.failure
            done.append(time.perf_counter())
    return clips / (done[-1] - done[count - 1])


def work_alone(kind: str, amount: int) -> None:
    """Say "ready", wait for a line, work, print the seconds."""
    work: Callable[[], Any]
    if kind == "gemm":
        a = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
        work = lambda: [a @ a for _ in range(amount)]  # noqa: E731
    else:
        work = lambda: sum(i % 7 for i in range(20_000 * amount))  # noqa: E731
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    work()
    print(time.perf_counter() - start, flush=True)


def side_by_side(kind: str, amount: int, count: int) -> float:
    """Amounts per second of `count` processes together, each on a core of its own."""
    words = [sys.executable, __file__, "--work", kind, "--frames", str(amount)]
    processes = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)
        for _ in range(count)
    ]
    for core, each in enumerate(processes):
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(each.pid, {sorted(os.sched_getaffinity(0))[core]})
        assert each.stdout and each.stdout.readline().strip() == "ready"
    for each in processes:
        assert each.stdin
        each.stdin.write("\n")
        each.stdin.flush()
    return sum(amount / float(each.communicate()[0]) for each in processes)


ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def scaling(path: Path, runs: int, frames: int) -> dict[str, Any]:
    """Speed of two processes over that of one, for our chain and for loops that share nothing.

    One is measured before two and after, as neighbours on the same machine come and go.
    """
    if len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) < 2:
        return {"left out": "one core"}
    speeds: dict[str, Callable[[int], float]] = {
        "duchenne": partial(by_workers, path, 2 if runs == 1 else 12),
        "gemm": partial(side_by_side, "gemm", frames),
        "python": partial(side_by_side, "python", frames),
    }
    found: dict[str, list[float]] = {kind: [] for kind in speeds}
    for _ in range(runs):
        for kind, speed in speeds.items():
            before, two, after = speed(1), speed(2), speed(1)
            found[kind].append(2 * two / (before + after))
    return {f"two_over_one_{kind}": spread(ratios) for kind, ratios in found.items()}


# ---- beyond the points


def judging(path: Path, folder: Path) -> dict[str, float]:
    """CPU ms of a clip's cost after its points: the expression network's pictures, verdict, report; bytes left."""
    loaded = load_model("default")
    load_expressions()
    pipeline.examine(path)  # everything is loaded and warm
    spent = {}
    start = time.process_time()
    seen = follow(video.frames(path), look=crop, every=LOOK)
    spent["follow"] = time.process_time() - start
    start = time.process_time()
    found = pipeline.examine(path)
    spent["judge"] = time.process_time() - start - spent["follow"]
    start = time.process_time()
    pipeline.save(found, folder / "out", loaded.card)
    spent["report"] = time.process_time() - start
    sizes = {file.name: file.stat().st_size for file in (folder / "out").iterdir()}
    return {
        "frames": len(seen.time),
        "seconds": round(float(seen.time[-1]), 2),
        **{f"{name}_ms": round(1000 * value, 1) for name, value in spent.items()},
        **{f"{name}_bytes": size for name, size in sorted(sizes.items())},
    }


def on_paper(found: dict[str, Any]) -> dict[str, Any]:
    """Core-hours and GB of a million clips of four seconds at 30 frames/s, by the numbers of this run.

    Judging and reporting are taken as measured on the longer clip; disk in proportion to frames where it is per frame.
    """
    cost, after = COST, found["judging"]
    frames = cost["seconds"] * cost["rate"]
    per_frame = after["frames.csv_bytes"] / after["frames"]
    hours = cost["clips"] / 3.6e6
    table: dict[str, Any] = {"clips": cost["clips"], "seconds": cost["seconds"], "rate": cost["rate"]}
    for size in found["sizes"]:
        ms = found["sizes"][size]["ms_per_frame"]["duchenne"][0]
        table[f"core_hours_points_{size}"] = round(hours * frames * ms)
    table["core_hours_judging"] = round(hours * after["judge_ms"])
    table["core_hours_reports"] = round(hours * after["report_ms"])
    table["gb_frames_csv"] = round(cost["clips"] * frames * per_frame / 1e9)
    table["gb_verdicts"] = round(cost["clips"] * after["verdict.json_bytes"] / 1e9)
    table["gb_reports"] = round(cost["clips"] * after["report.html_bytes"] / 1e9)
    return table


def sized(clip: Path, size: tuple[int, int], folder: Path) -> Path:
    """The clip itself where it has this size, else one that was made from it."""
    about = video.info(clip)
    if (about.width, about.height) == size:
        return clip
    images = (cv2.cvtColor(cv2.resize(f.bgr, size), cv2.COLOR_BGR2RGB) for f in video.frames(clip))
    return video.write(folder / f"{size[1]}.mp4", images, about.rate or 30.0)


def machine() -> dict[str, Any]:
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_before": [round(v, 2) for v in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def main() -> None:
    words = argparse.ArgumentParser(description="Speed from a video to 68 points.")
    words.add_argument("--clip", type=Path)
    words.add_argument("--runs", type=int, default=5)
    words.add_argument("--frames", type=int, default=10_000)
    words.add_argument("--quick", action="store_true")
    words.add_argument("--work", choices=["gemm", "python"], help=argparse.SUPPRESS)
    words.add_argument("-o", "--out", type=Path)
    options = words.parse_args()
    if options.work:
        work_alone(options.work, options.frames)
        return
    cv2.setNumThreads(1)
    root = os.environ.get("DUCHENNE_DATA")
    clip = options.clip or (Path(root) / "clips" / CLIP if root else sys.exit("Pass --clip, or set DUCHENNE_DATA."))
    with TemporaryDirectory() as folder:
        result = everything(clip, Path(folder), options)
    text = json.dumps(result, indent=1) + "\n"
    out = options.out or (None if options.quick else Path(__file__).with_suffix(".json"))
    if out:
        out.write_text(text)
    print(text, end="")


def everything(clip: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    runs, limit = (1, 24) if options.quick else (options.runs, options.frames)
    found: dict[str, Any] = {"clip": clip.name, "machine": machine(), "runs": runs, "sizes": {}}
    found["mediapipe"] = "measured" if at_hand else "not at hand"
    for name, size in SIZES.items():
        path = clip if options.quick else sized(clip, size, folder)
        frames = min(limit, sum(1 for _ in video.frames(path)))
        follow(islice(video.frames(path), 2))  # loads every model
        found["sizes"][name] = speeds(path, name, runs, frames)
        if name == "360p":
            found["two processes"] = scaling(path, runs, frames)
    found["judging"] = judging(clip, folder)
    found["on paper"] = on_paper(found)
    return found


if __name__ == "__main__":
    main()
