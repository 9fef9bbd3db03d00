"""Analyze one clip and print what the report says: python examples/analyze_clip.py clip.mp4"""

import sys

import duchenne

verdict = duchenne.analyze(sys.argv[1])
if verdict.abstained:
    print("No verdict:", verdict.reason)
else:
    print(f"{verdict.label}, P(genuine) = {verdict.p_genuine:.2f}")

emotion = max(verdict.emotion, key=verdict.emotion.__getitem__, default="unknown")
print(f"shows {emotion}; face visible in {verdict.quality.coverage:.0%} of {verdict.duration:.1f} s")
for phase in verdict.phases:
    moments = {name: getattr(phase, name) for name in ("onset", "apex", "offset", "end")}
    known = {name: f"{seconds:.2f} s" for name, seconds in moments.items() if seconds is not None}
    print("expression:", known, "measured on", phase.curve)
for sign in verdict.signs:
    print(f"{sign.title}: {sign.text}")
for item in verdict.evidence:
    print("for", "spontaneous:" if item.contribution > 0 else "posed:", item.feature, item.text)
for warning in verdict.quality.warnings:
    print("note:", warning)
print(verdict.limits)
