"""Your own model, evaluated on people it has not seen: python examples/own_model.py manifest.csv

The manifest has the columns path, subject, emotion, label. Try it on simulated people, which say nothing about real
ones: duchenne simulate -o simulated/ --people 12 --clips 4
"""

import sys

import numpy as np
from sklearn.linear_model import LogisticRegression

from duchenne import crossval, metrics
from duchenne.clips.load import read
from duchenne.datasets import manifest, splits
from duchenne.features.descriptors import prepare
from duchenne.features.phases import amplitude, main_phase, phases
from duchenne.methods import names
from duchenne.types import FaceTrack


class RiseModel:
    """Duration, height and mean speed of the rise of the lip corners, and a logistic regression on them."""

    def describe(self, track: FaceTrack) -> list[float]:
        _, curves = prepare(track, fps=50.0)  # frontal, 50 per second, in interocular distances
        smile = main_phase(phases(curves, curve="lip_corner_pull"), curves)
        if smile is None or smile.onset is None or smile.apex is None:
            return [0.0, 0.0, 0.0]
        seconds, height = smile.apex - smile.onset, amplitude(smile, curves)
        return [seconds, height, height / seconds]

    def fit(self, tracks, labels, groups=None, emotions=None):
        x = np.array([self.describe(track) for track in tracks])
        self.centre, self.spread = x.mean(axis=0), x.std(axis=0) + 1e-9
        self.linear = LogisticRegression().fit((x - self.centre) / self.spread, np.asarray(labels))
        return self

    def predict_proba(self, tracks):
        x = np.array([self.describe(track) for track in tracks])
        return self.linear.predict_proba((x - self.centre) / self.spread)


if __name__ == "__main__":
    clips = manifest.read(sys.argv[1])
    tracks = [read(clip) for clip in clips]
    truth = np.array([clip.label == "genuine" for clip in clips])
    folds = list(splits.by_person([clip.subject for clip in clips], k=4, seed=0))
    methods = {
        "rise of the smile": RiseModel,
        "shipped recipe, movement only": lambda: names.make("boosting:movement"),
        "baseline: clip length": lambda: names.BASELINES["clip length"](0),
    }
    for name, factory in methods.items():
        p = crossval(factory, tracks, clips, folds).p
        print(f"{name:32} accuracy {metrics.accuracy(p, truth):.3f}   AUC {metrics.auc(p, truth):.3f}")
