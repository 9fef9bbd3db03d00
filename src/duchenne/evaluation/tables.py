"""Results of an evaluation as Markdown, as aligned text for a terminal, and as verdicts in sentences.

`results` is the dictionary that an evaluation writes as JSON; scores in it are those of `metrics.scores.score`.
Shares are printed as 0.720, with a 95 % interval over people where there is one; what is missing is "–".
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from duchenne import limits
from duchenne.plots.figures import short
from duchenne.plots.text import finite
from duchenne.types import JsonMap

_WIDTH = 100  # columns of a terminal
_PAIRS = (
    "Forced pairs are another task: of two clips of one person and emotion, one genuine and one posed, only the order "
    "is predicted. Chance is one half. These figures must never be compared with the accuracy of single clips."
)
_BY = " (95 % by person)"
_SINGLE = {
    "accuracy": f"accuracy{_BY}",
    "auc": f"AUC{_BY}",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "brier": "Brier",
    "ece": "ECE",
}

# --- verdicts -----------------------------------------------------------------------------------------------


def verdict(method: str, comparisons: Mapping[str, Mapping[str, JsonMap | None]]) -> str:
    """One sentence: which baselines `method` beats, and by how much.

    `comparisons[baseline]` holds, under "accuracy" and "auc", `difference` (method − baseline) and `interval`
    [low, high] or None. A baseline is beaten where the whole interval is above 0. Metrics without a
    comparison are left out.
    """
    clauses: list[str] = []
    for metric, word in (("accuracy", "accuracy"), ("auc", "AUC")):
        if found := {name: each[metric] or {} for name, each in comparisons.items() if metric in each}:
            who = "it" if clauses else f"`{_flat(method)}`"
            clauses.append(f"{'in' if clauses else 'In'} {word} {who} {_clause(found, metric)}")
    if not clauses:
        return f"`{_flat(method)}` was compared with no baseline, so nothing says that it is better than one."
    return f"{'; '.join(clauses)}."


def _clause(found: Mapping[str, JsonMap], metric: str) -> str:
    """What is won and lost in one metric: "beats every baseline, nearest `b` (+5.2 points, 95 %: 1.1 to 9.0)"."""
    groups: dict[str, list[str]] = {"won": [], "tied": [], "lost": [], "unknown": []}
    for name in sorted(found, key=lambda name: _sortable(found[name].get("difference"))):
        groups[_outcome(found[name])].append(f"`{_flat(name)}` ({_gap(found[name], metric)})")
    won = groups["won"]
    if len(won) == len(found):
        return f"beats every baseline, {'nearest ' if len(won) > 1 else 'that is '}{won[0]}"
    parts = [
        f"{words} {_listed(groups[group])}"
        for group, words in (
            ("lost", "is worse than"),
            ("tied", "does not beat"),
            ("unknown", "cannot be compared with"),
        )
        if groups[group]
    ]
    if won:
        parts.append(f"beats {f'the other {len(won)}, nearest ' if len(won) > 1 else ''}{won[0]}")
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def _outcome(comparison: JsonMap) -> str:
    low, high = comparison.get("interval") or (None, None)
    if not (finite(comparison.get("difference")) and finite(low) and finite(high)):
        return "unknown"
    return "won" if low > 0 else "lost" if high < 0 else "tied"


def _gap(comparison: JsonMap, metric: str) -> str:
    if _outcome(comparison) == "unknown":
        return "no interval"
    scale, form, unit = (100, ".1f", " points") if metric == "accuracy" else (1, ".3f", "")
    low, high = comparison["interval"]
    gap, low, high = (_minus(f"{scale * value:{form}}") for value in (comparison["difference"], low, high))
    return f"{'' if gap[0] == '−' else '+'}{gap}{unit}, 95 %: {low} to {high}"


# --- Markdown -----------------------------------------------------------------------------------------------


def markdown(results: JsonMap) -> str:
    """`results` as GitHub's Markdown; strings are escaped."""
    methods = _ordered(results["methods"])
    scored = {name: m["score"] for name, m in methods.items() if _scored(m)}
    blocks = [f"# {_text(results['title'])}", _text(results["protocol"]), _design(results), _main_table(methods)]
    blocks += _unanswered(scored)
    blocks += _section("What this says", _bullets(m["verdict"] for m in methods.values() if m.get("verdict")))
    if human := results.get("human"):
        figures = [
            f"{w} {_number(human[k])}" for k, w in (("accuracy", "accuracy"), ("auc", "AUC")) if finite(human.get(k))
        ]
        body = _text(human["text"]) + (f" ({', '.join(figures)})" if figures else "")
        blocks += _section("People on the same task", body)
    blocks += _section("Warnings", _bullets(results.get("warnings") or ()))
    blocks += _answered(methods) + _pairs(scored) + _per_emotion(methods) + _published(results.get("published") or ())
    blocks += _section("What it may not be used for", limits.TABLES)
    blocks += _section("Notes", _bullets(results.get("notes") or ()))
    blocks += _section("How it was run", _how(results))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _design(results: JsonMap) -> str:
    data = ", ".join(
        f"{_text(d['name'])} ({_count(d['clips'])} clips, {_count(d['people'])} people)" for d in results["data"]
    )
    folds, repeats = results.get("folds"), results.get("repeats") or 1
    again = f", repeated {_count(repeats)} times" if repeats > 1 else ""
    return f"Data: {data}." + (f" {_count(folds)} folds{again}." if folds else "")


def _main_table(methods: Mapping[str, JsonMap]) -> str:
    rows, reasons = [], []
    for name, method in methods.items():
        score = method["score"] if _scored(method) else {}
        shown = f"**{_text(name)}**" if method["kind"] == "method" else _text(name)
        first_two = [_with_interval(score, metric) for metric in ("accuracy", "auc")]
        rows.append([shown, *first_two, *(_number(score.get(metric)) for metric in list(_SINGLE)[2:])])
        if not score:
            reasons.append(f"{name} has no score: {method.get('why') or 'no reason was given'}")
    return "\n\n".join(filter(None, (_table(["one clip at a time", *_SINGLE.values()], rows), _bullets(reasons))))


def _unanswered(scored: Mapping[str, JsonMap]) -> list[str]:
    lines = [
        f"{name} left {_count(s['unanswered'])} of {_count(s['rows'])} clips unanswered; its scores are of the others."
        for name, s in scored.items()
        if s.get("unanswered")
    ]
    return [_bullets(lines)]


def _answered(methods: Mapping[str, JsonMap]) -> list[str]:
    rows = [
        [_text(name), *(_number(m["answered"].get(key)) for key in ("coverage", "accuracy", "auc"))]
        for name, m in methods.items()
        if _scored(m) and m.get("answered")
    ]
    head = ["where it may abstain", "share answered", "accuracy of those", "AUC of those"]
    return _section("When it may abstain", _table(head, rows) if rows else "")


def _pairs(scored: Mapping[str, JsonMap]) -> list[str]:
    rows = [
        [_text(n), _with_interval(s, "forced_pairs"), _count(s["pairs"])] for n, s in scored.items() if s.get("pairs")
    ]
    table = _table(["which of two", "share right (95 % by person)", "pairs"], rows)
    return _section("Forced pairs", f"{_PAIRS}\n\n{table}" if rows else "")


def _per_emotion(methods: Mapping[str, JsonMap]) -> list[str]:
    """A table for each method; a row also names the baseline that does best on that emotion."""
    blocks: list[str] = []
    for name, method in methods.items():
        per = method["score"].get("per_emotion") if _scored(method) and method["kind"] == "method" else None
        rows = [
            [
                _text(emotion),
                _count(s["rows"]),
                _with_interval(s, "accuracy"),
                _with_interval(s, "auc"),
                _best_baseline(methods, emotion),
            ]
            for emotion, s in (per or {}).items()
        ]
        head = ["emotion", "clips", _SINGLE["accuracy"], _SINGLE["auc"], "best baseline's accuracy"]
        blocks += [f"### {_text(name)}", _table(head, rows)] if rows else []
    return ["## Per emotion", *blocks] if blocks else []


def _best_baseline(methods: Mapping[str, JsonMap], emotion: str) -> str:
    found = [
        (each["accuracy"], name)
        for name, m in methods.items()
        if m["kind"] == "baseline" and _scored(m)
        if finite((each := (m["score"].get("per_emotion") or {}).get(emotion) or {}).get("accuracy"))
    ]
    return f"{_number(max(found)[0])} ({_text(max(found)[1])})" if found else "–"


def _published(published: Sequence[JsonMap]) -> list[str]:
    keys = ("name", "score", "protocol", "problem", "source")
    rows = [[_text(each.get(key)) for key in keys] for each in published]
    head = ["published", "score", "protocol", "what is wrong with it", "source"]
    words = "Read or quoted, not run here, and under other protocols: none can be compared with the tables above."
    return _section("Published figures", f"{words}\n\n{_table(head, rows)}" if rows else "")


def _how(results: JsonMap) -> str:
    run = results.get("run") or {}
    rows = [[f"{d['name']}, SHA-256", d.get("sha256")] for d in results["data"]]
    rows += [["seed", run.get("seed")], ["commit", run.get("commit")], ["device", run.get("device")]]
    rows += [[name, version] for name, version in (run.get("versions") or {}).items()]
    rows += [[words, _seconds(run.get(key))] for key, words in (("seconds", "the whole run"), ("fit", "fitting"))]
    rows += [["predicting", _seconds(run.get("predict"))], ["all else", _percent(run.get("overhead_share"))]]
    return _table(["what", "value"], [[_text(cell) for cell in row] for row in rows])


def _section(title: str, body: str) -> list[str]:
    return [f"## {title}", body] if body else []


def _bullets(lines: Iterable[object]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- terminal -----------------------------------------------------------------------------------------------


def terminal(results: JsonMap) -> str:
    """`results` in brief as aligned text of at most 100 columns, without control characters or a last line break."""
    methods, lines = _ordered(results["methods"]), [*_wrapped(results["title"])]
    columns = (("accuracy (95 %)", 20), ("AUC (95 %)", 20), ("Brier", 6), ("ECE", 6))
    lines += ["", "  ".join([" " * 36, *(head.ljust(width) for head, width in columns)]).rstrip()]
    for name, method in methods.items():
        score = method["score"] if _scored(method) else {}
        cells = [_with_interval(score, "accuracy"), _with_interval(score, "auc")]
        cells += [_number(score.get("brier")), _number(score.get("ece"))]
        padded = (cell.ljust(width) for cell, (_, width) in zip(cells, columns, strict=True))
        lines.append("  ".join([short(name, 36).ljust(36), *padded]).rstrip())
    pairs = [
        f"{short(n, 36).ljust(36)}  {_with_interval(m['score'], 'forced_pairs')}"
        for n, m in methods.items()
        if _scored(m) and m["score"].get("pairs")
    ]
    if pairs:
        lines += ["", "Forced pairs, another task; never to be compared with the above", *pairs]
    notes = [
        f"{name} has no score: {m.get('why') or 'no reason was given'}" for name, m in methods.items() if not _scored(m)
    ]
    notes += [m["verdict"] for m in methods.values() if m.get("verdict")]
    notes += [f"Warning: {warning}" for warning in results.get("warnings") or ()]
    return "\n".join(lines + [""] * bool(notes) + [line for note in notes for line in _wrapped(note)])


def scores(found: Mapping[str, JsonMap]) -> str:
    """The scores of `answers.score` of each method as aligned text, with intervals, then by group."""
    lines: list[str] = []
    for name, score in found.items():
        lines += [_flat(name)] if len(found) > 1 else []
        rows = f"{_count(score['rows'])} clips, {_count(score['unanswered'])} not answered"
        lines.append(rows + (f", {_count(score['persons'])} people" if "persons" in score else ""))
        for metric in (*_SINGLE, "uar", "uf1", "weighted_f1"):
            if score.get(metric) is not None:
                word = {"uar": "UAR", "uf1": "UF1", "weighted_f1": "weighted F1"}.get(metric, _SINGLE.get(metric, ""))
                lines.append(f"  {word.removesuffix(_BY).ljust(20)} {_with_interval(score, metric)}")
        if score.get("pairs"):
            lines.append(
                f"  {'forced pairs'.ljust(20)} {_with_interval(score, 'forced_pairs')}, {score['pairs']:.0f} pairs"
            )
            lines.append("                       another task; never to be compared with the accuracy above")
        for group, each in {**score.get("per_emotion", {}), **score.get("per_class", {})}.items():
            figures = [
                f"{word} {_with_interval(each, metric)}"
                for metric, word in (("accuracy", "accuracy"), ("auc", "AUC"), ("recall", "recall"), ("f1", "F1"))
                if each.get(metric) is not None
            ]
            lines.append(f"  {short(group, 20).ljust(20)} {_count(each['rows'])} clips: {', '.join(figures)}")
    return "\n".join(lines)


def _wrapped(text: object) -> list[str]:
    return textwrap.wrap(_flat(text), _WIDTH, subsequent_indent="  ")


# --- cells --------------------------------------------------------------------------------------------------


def _ordered(methods: Mapping[str, JsonMap]) -> dict[str, JsonMap]:
    """Methods before baselines; in both those with a score first; else as given."""
    order = sorted(methods, key=lambda name: (methods[name]["kind"] != "method", not _scored(methods[name])))
    return {name: methods[name] for name in order}


def _scored(method: JsonMap) -> bool:
    return bool(method.get("available") and method.get("score"))


def _with_interval(score: JsonMap, metric: str) -> str:
    low, high = score.get(f"{metric}_interval") or (None, None)
    value = _number(score.get(metric))
    return f"{value} ({_number(low)}–{_number(high)})" if finite(low) and finite(high) and value != "–" else value


def _number(value: object) -> str:
    return _minus(f"{value:.3f}") if finite(value) else "–"


def _count(value: object) -> str:
    return f"{int(value):,}" if finite(value) else "–"


def _seconds(value: object) -> str:
    return f"{value:,.1f} s" if finite(value) else "–"


def _percent(value: object) -> str:
    return f"{100 * value:.1f} % of the run" if finite(value) else "–"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _sortable(value: object) -> float:
    return float(value) if finite(value) else -math.inf


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _flat(value: object) -> str:
    """Any value as one printable line; None and NaN are "–"."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def _text(value: object) -> str:
    """`_flat`, safe in a cell of a Markdown table and outside of it."""
    return _flat(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
