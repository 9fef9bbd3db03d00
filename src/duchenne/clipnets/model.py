"""Clip networks as a classifier: fitted on clips, calibrated on people left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from duchenne.clipnets.evidence import clip_evidence
from duchenne.clipnets.inputs import ClipReader, FaceCrops
from duchenne.clipnets.learner import ClipLearner, Task, predict
from duchenne.clipnets.loader import Loader
from duchenne.clipnets.network import ClipNet
from duchenne.clipnets.published import published
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.errors import InputError
from duchenne.learn import loop, optim, pieces
from duchenne.learn.calibration import calibrate, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.types import Array, Classifier, Evidence, Json, Opinion, Question, Reason, readable


@dataclass
class ClipModel(Classifier):
    """A bag of clip networks, whose logits are averaged.

    emotion_names  in the order of the networks' emotions; empty where they predict none
    out_of_fold    P(genuine) of the clips given to `fit_table`, by a network trained on other people, at an epoch
                   chosen by other people; NaN for people in the training set of every network
    device         "auto": a GPU where there is one
    weights        published weights of the backbone, or a folder or id of an expression model, to start from; or
                   several with commas between
    workers        threads that prefetch batches
    waited         share of the training time in which the network waited for clips
    """

    format: ClassVar[str] = "duchenne-clip"

    recipe: ClipRecipe = field(default_factory=ClipRecipe)
    networks: list[ClipNet] = field(default_factory=list)
    emotion_names: tuple[str, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    margin: float = 0.0
    out_of_fold: Array | None = None
    facts: Json = field(default_factory=dict)
    curves: dict[str, list[loop.Row]] = field(default_factory=dict)
    device: str = "cpu"
    weights: Path | str | None = None
    workers: int = 2
    on_epoch: loop.OnEpoch | None = None
    waited: float = math.nan

    @property
    def reader(self) -> ClipReader:
        """What is read of a clip."""
        return self.recipe.reader

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on what `reader` reads (N,), None where a clip cannot be read.

        InputError with fewer than four people, one label only, or without the emotions that the task needs;
        `learn.loop.Diverged` where a loss is not finite.
        """
        usable = readable(x)
        x, y, groups = x[usable], np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        names = np.full(len(y), "") if emotions is None else np.asarray(emotions).astype(str)[usable]
        self._check(y, groups, names)
        self.emotion_names = () if self.recipe.task == "authenticity" else tuple(sorted(set(names.tolist()) - {""}))
        index = {name: i for i, name in enumerate(self.emotion_names)}
        emotion = np.array([index.get(name, -1) for name in names.tolist()], np.int64)
        z, learners = np.full(len(y), np.nan), []
        for i, (train, held_out) in enumerate(self._splits(groups)):
            if len(np.unique(y[train])) < 2:
                continue
            learner = self._train(i, Task(list(x), y, emotion, len(self.emotion_names), held_out), groups)
            z[held_out] = learner.held_out_logits(groups[held_out])
            learner.release()
            learners.append(learner)
        if not learners:
            raise InputError("Clips of both labels from more people are needed to leave some out; add some.")
        self.networks = [learner.average.eval() for learner in learners]
        self.slope, self.intercept, self.margin, p = calibrate(z, y)
        self.out_of_fold = np.full(len(usable), np.nan)
        self.out_of_fold[usable] = p
        self.facts = {**self.facts, "people": len(np.unique(groups)), "clips": len(y), "genuine": int(y.sum())}
        self.facts |= {
            "device": optim.described(learners[0].device),
            "precision": "bfloat16" if learners[0].bf16 else "float32",
            "weights": sum(each.numel() for each in self.networks[0].parameters()),
            "started_from": None
            if self.weights is None
            else ", ".join(Path(each).name for each in str(self.weights).split(",")),
        }
        waited = sum(learner.loader.waited for learner in learners)
        self.waited = waited / max(1e-9, waited + sum(learner.loader.worked for learner in learners))
        return self

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine); NaN for clips that could not be read. InputError before `fit`."""
        out = np.full((len(x), 2), np.nan)
        for rows, outputs in self._outputs(x):
            p = sigmoid(self.slope * outputs["authenticity"] + self.intercept)
            out[rows] = np.column_stack([1 - p, p])
        return out

    def on(self, device: str) -> str:
        """UsageError for a device that does not exist."""
        self.device = optim.device_of(device).type
        return self.device

    def evidence(self, x: Array) -> tuple[Evidence, ...]:
        """See `clipnets.evidence`."""
        return clip_evidence(self, x)

    def opinion(self, question: Question) -> Opinion:
        """See `Classifier.opinion`."""
        track, steps = question.track, [f"judge: clip network '{question.model}'"]
        if self.reader.crop_readers:
            track = question.cut(self.reader)
            steps.insert(0, track.history[-1])
        x = self.table([track])
        if x[0] is None:
            reason = Reason("too_short", "Too short for this model: too few frames show the face.")
            return Opinion(np.nan, reason, steps=tuple(steps))
        p = float(self.predict_table(x)[0, 1])
        return Opinion(p, None, self.evidence(x) if question.explain else (), tuple(steps))

    def emotions(self, x: Array) -> list[dict[str, float]]:
        """Of each clip, emotion → probability; empty where the clip could not be read or the network predicts none."""
        out: list[dict[str, float]] = [{} for _ in x]
        for rows, outputs in self._outputs(x) if self.emotion_names else ():
            z = outputs["emotion"] - outputs["emotion"].max(axis=1, keepdims=True)
            p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
            for i, row in zip(rows, p, strict=True):
                out[i] = dict(zip(self.emotion_names, row.tolist(), strict=True))
        return out

    def _outputs(self, x: Array) -> Iterator[tuple[Array, dict[str, Array]]]:
        """(rows that can be read, the mean of the networks' outputs for them), if there are any."""
        if not self.networks:
            raise InputError("This model has not been fitted; call fit or load a trained one.")
        rows, device = np.flatnonzero(readable(x)), optim.device_of(self.device)
        if not len(rows):
            return
        loader = Loader(self.recipe, list(x), self.workers)
        each = [predict(network.to(device), loader, rows, self.recipe) for network in self.networks]
        yield rows, {name: np.mean([outputs[name] for outputs in each], axis=0) for name in each[0]}

    def _splits(self, groups: Array) -> Iterator[tuple[Array, Array]]:
        """(train, held out) of each network."""
        r, people = self.recipe, np.unique(groups)
        if r.n_networks > 1:
            yield from person_folds(groups, r.n_networks, r.seed)
            return
        some = np.random.default_rng(r.seed).permutation(people)[: max(1, round(r.validation_fraction * len(people)))]
        held_out = np.isin(groups, some)
        yield np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def _train(self, i: int, task: Task, groups: Array) -> ClipLearner:
        starts = () if self.weights is None else published(self.weights, self.recipe)
        learner = ClipLearner(
            self.recipe, task, self.recipe.seed + i, device=self.device, starts=starts, workers=self.workers
        )
        name = f"{i + 1}" if self.recipe.n_networks > 1 else ""
        callback = self.on_epoch
        on_epoch = None if callback is None else lambda row: callback({**row, "network": name})
        self.curves[name] = loop.fit(learner, self.recipe.schedule, self._place(name, task, groups), on_epoch)
        return learner

    def _check(self, y: Array, groups: Array, names: Array) -> None:
        people, task = len(np.unique(groups)), self.recipe.task
        if people < 4 or len(np.unique(y)) < 2:
            raise InputError(
                f"A clip network needs usable clips of both labels from at least 4 people, found {people} people and "
                f"{int(y.sum())} genuine of {len(y)} clips; add to the manifest."
            )
        found = len(set(names.tolist()) - {""})
        least = {"authenticity": 0, "classes": 1, "multi": 2}[task]
        if found < least:
            raise InputError(
                f"The task '{task}' needs clips of {least} or more named emotions, found {found}; name them in the "
                "manifest or choose another network."
            )

    def _place(self, name: str, task: Task, groups: Array) -> Path | None:
        """The folder of one network's checkpoints."""
        settings = {**self.recipe.lasting(), "weights": str(self.weights or "")}
        # one crop per clip, as reading all would take long
        some = [clip.at(np.arange(1)) if isinstance(clip, FaceCrops) else clip for clip in task.x]
        about = [settings, list(map(len, task.x)), groups.tolist()]
        return pieces.network_folder(name or "all", about, [*some, task.y, task.emotion, task.held_out])
