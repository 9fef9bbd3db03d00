"""Figures in the decision note and the page of coefficients come from the JSON files of the scripts."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
NOTE = (ROOT / "docs/decisions/0012-face-mesh.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs/science/coefficients.md").read_text(encoding="utf-8")
EARNED = 0.8  # AUC above which the interval of a coefficient lies that stands for a unit


def stored(name):
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


def part(name):
    return re.search(rf"<!-- {name} -->(.*?)<!-- /{name} -->", NOTE + PAGE, re.DOTALL)[1].strip()


def runtimes():
    """The table of runtimes."""
    found = stored("benchmarks/mesh_runtimes.json")
    ways = ("opencv", "litert", "torch", "torch, 8 at once")
    lines = ["| network | OpenCV | LiteRT | torch | torch, 8 at once |", "|---|---|---|---|---|"]
    names = {"face_detector": "detector", "face_landmarks_detector": "points", "face_blendshapes": "coefficients"}
    for file, name in names.items():
        each = found[f"{file}.tflite"]
        cells = [f"{each[way]['over_opencv']:.2f}" if way in each else "–" for way in ways]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def mediapipe():
    """The table of differences."""
    lines = [
        "| clip | way | frames | points: mean | largest | above 0.5 % | coefficients: mean | largest | above 0.02 |"
    ]
    lines.append("|---" * 9 + "|")
    names = {"image": "searched", "same": "same region", "track": "followed", "video": "smoothed"}
    for clip, found in stored("benchmarks/mesh.json")["clips"].items():
        for way, name in names.items():
            if way in found and found[way]["both"]:
                points, values = found[way]["points_of_eye_distance"], found[way]["coefficients"]
                cells = [f"{100 * points[key]:.3f} %" for key in ("mean", "max")]
                cells += [f"{points['frames_above']}"] + [f"{values[key]:.4f}" for key in ("mean", "max")]
                cells.append(f"{values['frames_above']}")
                lines.append(f"| {clip} | {name} | {found[way]['both']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def layout():
    """The sentence about the 68 points."""
    found = stored("experiments/mesh_layout.json")
    return (
        f"{100 * found['mean_distance']:.1f} % of the interocular distance apart on average, "
        f"{100 * found['mean_distance_without_jaw_and_brows']:.1f} % for nose, eyes and lips "
        f"({found['frames']} frames of {found['people']} people)"
    )


def mask():
    """The table of masked faces."""
    lines = ["| clip | as they are | in one form | whole face against its one form |", "|---|---|---|---|"]
    for clip, found in stored("experiments/mesh_mask.json").items():
        ways = [found[name] for name in ("as_they_are", "in_one_form", "whole_face_against_its_one_form")]
        cells = [f"{each['coefficients_mean']:.3f}, {each['correlation']:.2f}" for each in ways]
        lines.append(f"| {clip} | {' | '.join(cells)} |")
    return "\n".join(lines)


def speed():
    """The table of speeds."""
    found = stored("benchmarks/mesh_speed.json")["clips"]
    others = ("floor", "paper", "mediapipe")
    lines = ["| clip | mesh over floor | over paper | over MediaPipe |", "|---|---|---|---|"]
    for clip, each in found.items():
        ratios = [each["speed_of_mesh_over"].get(name) for name in others]
        cells = ["–" if each is None else f"{each[0]:.2f} ({each[1]:.2f}–{each[2]:.2f})" for each in ratios]
        lines.append(f"| {clip} | {' | '.join(cells)} |")
    return "\n".join(lines)


def growth():
    """What more frames a second cost."""
    found = stored("benchmarks/mesh_speed.json")
    ms = {clip: each["cpu_ms_per_second"]["mesh"][0] for clip, each in found["clips"].items()}
    times = [f"{ms[f'{size}, 100 frames/s'] / ms[f'{size}, 30 frames/s']:.2f}" for size in ("360p", "1080p")]
    two, lost = found["two_processes"]["two_over_one_duchenne"], found["read_50_of_100"]
    points, rise, p = lost["points"]["mean"], lost["rise"], lost["p_genuine"]
    return (
        f"At 100 frames a second a second of video costs {times[0]} (360p) and {times[1]} (1080p) times as much as at "
        f"30; two processes are {two[0]:.2f} ({two[1]:.2f}–{two[2]:.2f}) times one. Of {lost['clips']} simulated "
        f"smiles at 100 frames a second, read 50 and 100 times, points are {100 * points:.2f} % of the interocular "
        f"distance apart, the moment of half of the rise {1000 * rise['mean']:.0f} ms (at most "
        f"{1000 * rise['largest']:.0f} ms), P(genuine) {p['mean']:.3f} (at most {p['largest']:.3f})."
    )


def gain():
    """The table of what points and coefficients tell of PEDFE's clips."""
    lines = ["| read | accuracy | AUC (95 % by person) | pairs | AUC against (95 %) |", "|---|---|---|---|---|"]
    for name, each in stored("experiments/reader.json")["rows"].items():
        low, high = each["auc_interval"]
        against = each.get("against")
        gap = "–"
        if against is not None:
            found = against["auc"]
            gap = f"{found['difference']:+.3f} ({found['interval'][0]:+.3f} to {found['interval'][1]:+.3f})"
        cells = (name, f"{each['accuracy']:.3f}", f"{each['auc']:.3f} ({low:.3f}–{high:.3f})")
        lines.append(f"| {' | '.join(cells)} | {each['forced_pairs']:.3f} | {gap} |")
    return "\n".join(lines)


def units():
    """The table of action units."""
    lines = ["| unit | faces (people) | by name | AUC (95 %) | stood for | best | AUC | all: AUC |", "|---" * 8 + "|"]
    for unit, each in stored("experiments/mesh_units.json")["units"].items():
        score, low, high = each["named_auc"]
        chosen = sorted(set(each["chosen_in_folds"]), key=lambda name: (-each["chosen_in_folds"].count(name), name))
        best = ", ".join(f"{name} ({each['chosen_in_folds'].count(name)})" for name in chosen)
        cells = (
            *(f"AU{int(unit[2:])}", f"{each['faces']} ({each['people']})", each["named"]),
            *(f"{score:.3f} ({low:.3f}–{high:.3f})", "yes" if low > EARNED else "no"),
            *(best, f"{each['chosen_auc']:.3f}", f"{each['all_auc']:.3f}"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def dead():
    """The coefficients that hardly ever leave zero."""
    return ", ".join(f"`{name}`" for name in stored("experiments/mesh_units.json")["dead"])


def faces():
    """How many faces of how many people."""
    found = stored("experiments/mesh_units.json")
    return f"{found['faces']} faces of {found['people']} people, of which {found['not_read']} could not be read"


def test_the_pages_have_the_figures_of_the_scripts():
    for make in (runtimes, mediapipe, speed, growth, layout, mask, gain, units, dead, faces):
        assert part(make.__name__) == make(), f"write into {make.__name__}:\n{make()}"


def test_readers_agree():
    """Points within 0.5 % of the eye distance and coefficients within 0.02 in every frame that both read alike."""
    for clip, found in stored("benchmarks/mesh.json")["clips"].items():
        for way in {"image", "same", "track"} & set(found):
            assert found[way]["only_one"] == 0, (clip, way)
            if found[way]["both"]:
                parts = [found[way][name] for name in ("points_of_eye_distance", "coefficients")]
                most = 0 if way != "track" else 0.03 * found[way]["both"]  # what differs goes into the next region
                assert all(each["mean"] < 0.001 and each["frames_above"] <= most for each in parts), (clip, way)
