"""Thousands of damaged videos through the video reader and the face tracker: the outcome for each, and for the process.

    python benchmarks/fuzz.py [--cases 2400] [--quick] [--only CONTAINER:SEED [--keep FILE]]
                              [--again FILE] [-o FILE]

Small clips of a simulated face are encoded in six containers and mutated by seed: flipped bits, overwritten runs, cut
ends, shuffled and duplicated blocks, zeros, header fields at their extremes, two files in one. Each is decoded to its
end and the face in it tracked, in a monitored child process. The outcome for a file:

read       frames came out; refused: rejected with one sentence (`DuchenneError`)
traceback  any other exception; crash: a signal ended the child; hang: longer than `STALL` seconds; memory: more than
           `MEMORY` MB above what the child needs by itself

The last four are bugs, and make the exit status 1. Seeds are the same on every machine; the bytes of the
clips depend on the encoders of the installed PyAV, so a case is kept with `--keep`. Writes fuzz.json; --quick
tries some 60 files and writes only with -o.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import queue
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

STALL, MEMORY = 30.0, 1000  # s, MB
FAULTS = ("traceback", "crash", "hang", "memory")
#: Container → the codecs of its clips: (codec, pixel format, options of the encoder, options of the muxer).
CONTAINERS: dict[str, tuple[tuple[str, str, dict[str, str], dict[str, str]], ...]] = {
    "mp4": (
        ("libx264", "yuv420p", {}, {}),
        ("mpeg4", "yuv420p", {}, {"movflags": "faststart"}),
        ("libx264", "yuv420p", {}, {"movflags": "frag_keyframe+empty_moov"}),
    ),
    "mov": (("mjpeg", "yuvj420p", {}, {}), ("prores_ks", "yuv422p10le", {}, {"movflags": "faststart"})),
    "mkv": (("libx264", "yuv420p", {}, {}), ("ffv1", "yuv420p", {}, {})),
    "webm": (("libvpx", "yuv420p", {}, {}), ("libvpx-vp9", "yuv420p", {"cpu-used": "8"}, {})),
    "avi": (("mpeg4", "yuv420p", {}, {}), ("mjpeg", "yuvj420p", {}, {})),
    "ts": (("mpeg2video", "yuv420p", {}, {}), ("libx264", "yuv420p", {}, {})),
}
#: Names before fields that say how large, how many, how long: of ISO media files, Matroska, AVI, and of streams.
TAGS = [
    *(b"tkhd", b"mvhd", b"mdhd", b"stsd", b"stsz", b"stts", b"stsc", b"stco", b"ctts", b"elst", b"trun", b"tfhd"),
    *(b"avc1", b"avcC", b"mp4v", b"jpeg", b"esds", b"moov", b"mdat", b"hdlr", b"moof", b"tfdt", b"trex", b"stss"),
    *(b"\xb0\x81", b"\xba\x81", b"\x44\x89", b"\x2a\xd7\xb1", b"\x1f\x43\xb6\x75", b"\xe7\x81", b"\xa3", b"\x63\xa2"),
    *(b"\x23\xe3\x83", b"\x16\x54\xae\x6b", b"\x15\x49\xa9\x66", b"\x1c\x53\xbb\x6b", b"V_", b"\x9a\x82", b"\x53\xb8"),
    *(b"avih", b"strh", b"strf", b"LIST", b"idx1", b"movi", b"00dc", b"vprp", b"RIFF"),
    *(b"\x00\x00\x01\xb3", b"\x00\x00\x01\xb5", b"\x00\x00\x01\xe0", b"\x00\x00\x01\xb0", b"\x00\x00\x01\x20"),
    *(b"\x00\x00\x00\x01\x67", b"\x00\x00\x00\x01\x68", b"\xff\xc0", b"\xff\xda", b"\x9d\x01\x2a", b"\x49\x83\x42"),
]
_EXTREMES = (
    0,
    1,
    2**7 - 1,
    2**8 - 1,
    2**15,
    2**16 - 1,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**64 - 1,
)

Mutation = Callable[[np.random.Generator, bytearray, bytes], bytearray]


def _place(rng: np.random.Generator, data: bytes | bytearray, longest: int) -> tuple[int, int]:
    """A stretch of up to so many bytes; half of the time near one of the ends, where headers and indices lie."""
    length, size = int(rng.integers(1, longest + 1)), len(data)
    at = int(rng.integers(0, size)) if rng.random() < 0.5 else int(rng.integers(0, min(size, 1500)))
    at = at if rng.random() < 0.7 else size - 1 - at
    return at, min(size, at + length)


def flip(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    """Single bits."""
    for _n in range(int(rng.integers(1, 40))):
        data[_place(rng, data, 1)[0]] ^= 1 << int(rng.integers(8))
    return data


def overwrite(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    """A run of bytes by noise."""
    a, b = _place(rng, data, 256)
    data[a:b] = rng.bytes(b - a)
    return data


def cut(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    """The end is missing, or the beginning."""
    at = int(rng.integers(1, len(data)))
    return data[:at] if rng.random() < 0.8 else data[at:]


def shuffle(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    """Blocks change places."""
    size = int(2 ** rng.integers(4, 12))
    blocks = [data[i : i + size] for i in range(0, len(data), size)]
    first, last = sorted(int(i) for i in rng.integers(0, len(blocks), 2))
    moved = [blocks[first + int(i)] for i in rng.permutation(last + 1 - first)]
    return bytearray(b"".join([*blocks[:first], *moved, *blocks[last + 1 :]]))


def zeros(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    """A stretch that was never written."""
    a, b = _place(rng, data, max(2, len(data) // 4))
    data[a:b] = bytes(b - a)
    return data


def extreme(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    """Fields of headers say the most, the least, or nothing."""
    for _n in range(int(rng.integers(1, 4))):
        places = [i + len(tag) for tag in TAGS for i in _found(data, tag)]
        at = int(rng.choice(places)) + int(rng.integers(0, 40)) if places and rng.random() < 0.8 else 0
        at = (at or _place(rng, data, 1)[0]) - int(rng.integers(0, 9)) * (
            rng.random() < 0.2
        )  # sizes stand before names
        width = int(rng.choice([1, 2, 4, 8]))
        value = _EXTREMES[int(rng.integers(len(_EXTREMES)))] % (1 << 8 * width)
        data[max(0, at) : max(0, at) + width] = value.to_bytes(width, "big" if rng.random() < 0.6 else "little")
    return data


def _found(data: bytearray, tag: bytes) -> Iterator[int]:
    at = data.find(tag)
    for _n in range(20):
        if at < 0:
            return
        yield at
        at = data.find(tag, at + 1)


def splice(rng: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    """The beginning of one file, the end of another."""
    a, b = int(rng.integers(0, len(data))), int(rng.integers(0, len(other)))
    return data[:a] + other[b:]


def double(rng: np.random.Generator, data: bytearray, _: bytes) -> bytearray:
    """An atom, or any block, comes several times."""
    atoms = [at - 4 for tag in TAGS[:24] for at in _found(data, tag) if at >= 4]
    a, b = _place(rng, data, 2000)
    if atoms and rng.random() < 0.7:
        a = int(rng.choice(atoms))
        b = a + min(4000, int.from_bytes(data[a : a + 4], "big") or 4)
    to = a if rng.random() < 0.6 else int(rng.integers(0, len(data)))
    return data[:to] + data[a:b] * int(rng.integers(1, 20)) + data[to:]


MUTATIONS: tuple[Mutation, ...] = (flip, overwrite, cut, shuffle, zeros, extreme, extreme, extreme, splice, double)


def make_clips(folder: Path) -> None:
    """The sound clips that are mutated, as CONTAINER-NUMBER.CONTAINER."""
    import av

    from duchenne.datasets import simulate

    kinematics = replace(simulate.POSED, neutral_before=0.1, onset=0.2, apex=0.1, offset=0.1, neutral_after=0.1)
    pictures = list(itertools.islice(simulate.frames(kinematics, rate=25, size=(160, 120), seed=3), 15))
    for kind, ways in CONTAINERS.items():
        for number, (codec, pix_fmt, options, muxer) in enumerate(ways):
            with av.open(str(folder / f"{kind}-{number}.{kind}"), "w", options=muxer) as container:
                stream = container.add_stream(codec, rate=25, options={"g": "8", **options})
                stream.width, stream.height, stream.pix_fmt = 160, 120, pix_fmt
                for index, picture in enumerate(pictures):
                    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
                    frame.pts, frame.time_base = index, Fraction(1, 25)
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))


def mutated(clips: Path, case: str) -> tuple[bytes, list[str]]:
    """The file of a case "CONTAINER:SEED", and what was done to it."""
    kind, _, number = case.partition(":")
    rng = np.random.default_rng([int(number), zlib.crc32(kind.encode())])
    sound = sorted(clips.glob(f"{kind}-*.{kind}"))
    others = sorted(clips.glob("*-*.*"))
    data, other = (bytearray(ways[int(rng.integers(len(ways)))].read_bytes()) for ways in (sound, others))
    done = []
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        mutation = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        data = mutation(rng, data, bytes(other)) or bytearray(b"\0")
        done.append(mutation.__name__)
    return bytes(data), done


# --- in the child ---------------------------------------------------------------------------------------------------


def read(path: Path, lenient: bool) -> dict[str, Any]:
    """What becomes of one file in the chain, from its description to the last frame of the face."""
    from duchenne import video
    from duchenne.errors import DuchenneError
    from duchenne.faces import follow

    try:
        video.info(path)
        found = follow(video.frames(path, allow_truncated=lenient), source=str(path))
        return {"verdict": "read", "frames": len(found.time), "faces": len(found.tracks)}
    except DuchenneError as error:
        sentence = str(error)
        one = sentence.endswith(".") and "\n" not in sentence and len(sentence) < 1000
        return {"verdict": "refused" if one else "traceback", "why": sentence.replace(str(path), path.name)}
    except MemoryError:
        return {"verdict": "memory", "why": "MemoryError"}
    except Exception as error:  # what this script is for
        at = error.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        where = f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}" if at else ""
        return {"verdict": "traceback", "why": f"{type(error).__name__} at {where}: {error}"}


def _megabytes(pid: int | str, name: str) -> float:
    """A figure of /proc/PID/status: VmRSS now, VmHWM at most since it was last reset."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), 0.0)


def child(clips: Path) -> None:
    """Answer every case of stdin by one line of JSON on what was stdout."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sound = sorted(clips.glob("mp4-*"))[0]
    read(sound, False)  # imports, models
    base = _megabytes("self", "VmRSS")
    most = int((_megabytes("self", "VmSize") + 4 * MEMORY) * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))  # the machine survives what the watch is too late for
    print(json.dumps({"ready": base}), file=answers)
    for line in sys.stdin:
        case = line.strip()
        data, done = mutated(clips, case)
        path = clips / f"case-{os.getpid()}.{case.partition(':')[0]}"
        path.write_bytes(data)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        begun = time.perf_counter()
        found = read(path, int(case.partition(":")[2]) % 2 == 1)
        took = time.perf_counter() - begun
        path.unlink()
        more = _megabytes("self", "VmHWM") - base
        if more > MEMORY:
            found = {"verdict": "memory", "why": f"{more:.0f} MB; {found.get('why', 'read')}"}
        outcome = {**found, "case": case, "seconds": round(took, 3), "megabytes": round(max(more, 0)), "done": done}
        print(json.dumps(outcome), file=answers)


# --- from outside ---------------------------------------------------------------------------------------------------


@dataclass
class Child:
    """The monitored process, restarted after it has ended."""

    clips: Path
    process: subprocess.Popen[str] | None = None
    answers: queue.Queue[str] = field(default_factory=queue.Queue)
    receiver: threading.Thread | None = None
    base: float = 0.0

    def start(self) -> None:
        words = [sys.executable, str(Path(__file__).resolve()), "--child", str(self.clips)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process, self.answers = subprocess.Popen(words, text=True, **pipes), queue.Queue()
        self.receiver = threading.Thread(target=self._receive, args=(self.process, self.answers), daemon=True)
        self.receiver.start()
        self.base = float(json.loads(self.answers.get(timeout=300))["ready"])

    @staticmethod
    def _receive(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                answers.put(line)
        answers.put("")  # it has ended

    def ask(self, case: str) -> dict[str, Any]:
        """The child's result, or how it ended."""
        if self.process is None:
            self.start()
        process = self.process
        assert process is not None and process.stdin is not None
        begun, peak_mb, verdict = time.monotonic(), 0.0, ""
        process.stdin.write(f"{case}\n")
        process.stdin.flush()
        while not verdict:
            try:
                if line := self.answers.get(timeout=0.05):
                    return dict(json.loads(line))
                verdict = "crash"
            except queue.Empty:
                with contextlib.suppress(OSError):
                    peak_mb = max(peak_mb, _megabytes(process.pid, "VmRSS") - self.base)
                verdict = "memory" if peak_mb > 2 * MEMORY else ""
                verdict = verdict or ("hang" if time.monotonic() - begun > STALL else "")
        process.kill() if verdict != "crash" else None
        status = self.close()
        why = signal.Signals(-status).name if verdict == "crash" and status < 0 else f"ended with {status}"
        done = mutated(self.clips, case)[1]
        outcome = {"case": case, "seconds": round(time.monotonic() - begun, 3), "megabytes": round(peak_mb)}
        return {
            **outcome,
            "verdict": verdict,
            "why": why if verdict == "crash" else "killed from outside",
            "done": done,
        }

    def close(self) -> int:
        """End the child; its exit status."""
        process, self.process = self.process, None
        if process is None or process.stdin is None or self.receiver is None:
            return 0
        with contextlib.suppress(OSError):
            process.stdin.close()
        self.receiver.join()
        return process.wait()


def run(cases: Iterable[str], clips: Path, tell: bool = True) -> list[dict[str, Any]]:
    """What became of each case; a line about each fault as it is found."""
    watched, found = Child(clips), []
    try:
        for number, case in enumerate(cases, 1):
            found.append(watched.ask(case))
            if tell and found[-1]["verdict"] in FAULTS:
                print(json.dumps(found[-1]), file=sys.stderr, flush=True)
            if tell and not number % 200:
                print(number, dict(Counter(each["verdict"] for each in found)), file=sys.stderr, flush=True)
    finally:
        watched.close()
    return found


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts by container and by mutation, the extremes, and every fault."""
    import av

    def counts(of: Callable[[dict[str, Any]], Iterable[str]]) -> dict[str, dict[str, int]]:
        pairs = Counter((name, each["verdict"]) for each in found for name in of(each))
        names = sorted({name for name, _ in pairs})
        return {name: {verdict: n for (who, verdict), n in sorted(pairs.items()) if who == name} for name in names}

    def most(what: str) -> list[dict[str, Any]]:
        ordered = sorted(found, key=lambda each: -each[what])[:5]
        return [{name: each[name] for name in ("case", "verdict", what)} for each in ordered]

    return {
        "cases": len(found),
        "limits": {"seconds": STALL, "megabytes": MEMORY},
        "verdicts": dict(Counter(each["verdict"] for each in found)),
        "by container": counts(lambda each: [each["case"].partition(":")[0]]),
        "by mutation": counts(lambda each: sorted(set(each["done"]))),
        "slowest": most("seconds"),
        "peak_mb": most("megabytes"),
        "faults": [each for each in found if each["verdict"] in FAULTS],
        "versions": {"python": platform.python_version(), "av": av.__version__, "ffmpeg": av.library_versions},
        "clips": {kind: [way[0] for way in ways] for kind, ways in CONTAINERS.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2400, help="files in all, as many of each container")
    parser.add_argument("--quick", action="store_true", help="some 60 files, and nothing written but by -o")
    parser.add_argument("--only", metavar="CONTAINER:SEED", nargs="+", help="these cases")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the file of the only case")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE")
    parser.add_argument("--again", type=Path, metavar="FILE", help="repeat the failures of a run")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return 0
    if args.again:
        kept = json.loads(args.again.read_text())
        args.only, args.out = [fault["case"] for fault in kept["faults"]], None
    each = (60 if args.quick else args.cases) // len(CONTAINERS)
    cases = args.only or [f"{kind}:{seed}" for seed in range(each) for kind in CONTAINERS]
    with tempfile.TemporaryDirectory() as name:
        make_clips(Path(name))
        if args.keep and args.only:
            args.keep.write_bytes(mutated(Path(name), args.only[0])[0])
        found = run(cases, Path(name))
    result = summary(found)
    if args.again:
        args.again.write_text(json.dumps({**kept, "again": found}, indent=1) + "\n")
    out = args.out or (None if args.quick or args.only else Path(__file__).with_suffix(".json"))
    if out:
        out.write_text(json.dumps(result, indent=1, default=str) + "\n")
    print(json.dumps(found if args.only else result["by container"], indent=1))
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
