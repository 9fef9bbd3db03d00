"""Clip networks as a method: fitted on clips of people, calibrated on people whom they had not seen, asked, explained
by no more than what they answer. Every network of `clipnets.recipe.shipped` is one.

`fit_table` and `predict_table` read what `reader` makes of a clip, as every method does (`methods.names`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from duchenne.clipnets.evidence import clip_evidence
from duchenne.clipnets.inputs import ClipReader, Pictures
from duchenne.clipnets.learner import ClipLearner, Task, answers
from duchenne.clipnets.loader import Loader
from duchenne.clipnets.network import ClipNet
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.errors import InputError
from duchenne.learn import loop, optim, pieces
from duchenne.learn.calibration import TARGET_ACCURACY, abstention_margin, platt, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.types import Array, Classifier, Evidence, Json, Opinion, Question

__all__ = ["ClipModel", "ClipRecipe"]


@dataclass
class ClipModel(Classifier):
    """A bag of clip networks.

    networks       all judge; an answer is the mean of theirs
    emotion_names  in the order of the networks' emotions; empty where they tell none
    out_of_fold    P(genuine) of the clips given to `fit_table`, by a network that had not seen the person, at an epoch
                   that was not chosen for that person; NaN for who was held back from no network
    device         where it learns and answers ("auto": a GPU where there is one)
    weights        published weights of the trunk, or a folder or id of an expression model, to start from
    workers        threads that read ahead
    waited         share of the learning's time in which the network waited for clips to be read
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
    curves: dict[str, list[Json]] = field(default_factory=dict)
    device: str = "cpu"
    weights: Path | str | None = None
    workers: int = 2
    on_epoch: Any = None
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
        usable = np.array([each is not None for each in x], bool)
        x, y, groups = x[usable], np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        what = np.full(len(y), "") if emotions is None else np.asarray(emotions).astype(str)[usable]
        self._check(y, groups, what)
        self.emotion_names = () if self.recipe.task == "authenticity" else tuple(sorted(set(what.tolist()) - {""}))
        number = {name: i for i, name in enumerate(self.emotion_names)}
        emotion = np.array([number.get(name, -1) for name in what.tolist()], np.int64)
        z, learnt = np.full(len(y), np.nan), []
        for i, (train, held) in enumerate(self._parts(groups)):
            if len(np.unique(y[train])) < 2:
                continue
            learner = self._learn(i, Task(list(x), y, emotion, len(self.emotion_names), held), groups)
            z[held] = learner.unseen(groups[held])
            learner.release()
            learnt.append(learner)
        if not learnt:
            raise InputError(
                "Clips of both labels are needed from more people, so that some can be left out; add some."
            )
        self.networks = [learner.kept.eval() for learner in learnt]
        judged = np.isfinite(z)
        self.slope, self.intercept = platt(z[judged], y[judged])
        p = sigmoid(self.slope * z + self.intercept)
        self.margin = abstention_margin(p[judged], y[judged], TARGET_ACCURACY)
        self.out_of_fold = np.full(len(usable), np.nan)
        self.out_of_fold[usable] = p
        told = {"people": len(np.unique(groups)), "clips": len(y), "genuine": int(y.sum())}
        self.facts = {**self.facts, **told, **self._about(learnt)}
        waited, worked = (sum(getattr(learner.loader, name) for learner in learnt) for name in ("waited", "worked"))
        self.waited = waited / max(1e-9, waited + worked)
        return self

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine); NaN for clips that could not be read. InputError before `fit`."""
        out = np.full((len(x), 2), np.nan)
        for rows, said in self._asked(x):
            p = sigmoid(self.slope * said["authenticity"] + self.intercept)
            out[rows] = np.column_stack([1 - p, p])
        return out

    def on(self, device: str) -> str:
        """UsageError for a device that is not there."""
        self.device = optim.device_of(device).type
        return self.device

    def evidence(self, x: Array) -> tuple[Evidence, ...]:
        """When it made up its mind, see `clipnets.evidence`."""
        return clip_evidence(self, x)

    def opinion(self, question: Question) -> Opinion:
        """What it says of one clip."""
        track, steps = question.track, [f"judge: clip network '{question.model}'"]
        if self.reader.crop_readers:
            track = question.cut(self.reader)
            steps.insert(0, track.history[-1])
        x = self.table([track])
        if x[0] is None:
            reason = "Too short for this model: it sees too few frames of the face."
            return Opinion(np.nan, reason, steps=tuple(steps))
        p = float(self.predict_table(x)[0, 1])
        return Opinion(p, None, self.evidence(x) if question.explain else (), tuple(steps))

    def emotions(self, x: Array) -> list[dict[str, float]]:
        """Of each clip, emotion → probability; empty where the clip could not be read or the network tells none."""
        out: list[dict[str, float]] = [{} for _ in x]
        for rows, said in self._asked(x) if self.emotion_names else ():
            z = said["emotion"] - said["emotion"].max(axis=1, keepdims=True)
            p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
            for i, row in zip(rows, p, strict=True):
                out[i] = dict(zip(self.emotion_names, row.tolist(), strict=True))
        return out

    def _asked(self, x: Array) -> Iterator[tuple[Array, dict[str, Array]]]:
        """(rows that can be read, the mean of what the networks say of them), if there are any."""
        if not self.networks:
            raise InputError("This model has not been fitted; call fit or load a trained one.")
        rows, device = np.flatnonzero([each is not None for each in x]), optim.device_of(self.device)
        if not len(rows):
            return
        loader = Loader(self.recipe, x, self.workers)
        each = [answers(network.to(device), loader, rows, self.recipe) for network in self.networks]
        yield rows, {name: np.mean([said[name] for said in each], axis=0) for name in each[0]}

    def _parts(self, groups: Array) -> Iterator[tuple[Array, Array]]:
        """(learnt from, held back) of each network."""
        r, people = self.recipe, np.unique(groups)
        if r.n_networks > 1:
            yield from person_folds(groups, min(r.n_networks, len(people)), r.seed)
            return
        some = np.random.default_rng(r.seed).permutation(people)[: max(1, round(r.validation_fraction * len(people)))]
        held = np.isin(groups, some)
        yield np.flatnonzero(~held), np.flatnonzero(held)

    def _learn(self, i: int, task: Task, groups: Array) -> ClipLearner:
        start = None
        if self.weights is not None:
            from duchenne.clipnets.published import published

            start = published(self.weights, self.recipe)
        learner = ClipLearner(
            self.recipe, task, self.recipe.seed + i, device=self.device, start=start, workers=self.workers
        )
        name = f"{i + 1}" if self.recipe.n_networks > 1 else ""
        on_epoch = None if self.on_epoch is None else lambda row: self.on_epoch({**row, "network": name})
        self.curves[name] = loop.fit(learner, self.recipe.schedule, self._place(name, task, groups), on_epoch)
        return learner

    def _about(self, learnt: list[ClipLearner]) -> Json:
        return {
            "device": optim.described(learnt[0].device),
            "precision": "bfloat16" if learnt[0].bf16 else "float32",
            "weights": sum(each.numel() for each in self.networks[0].parameters()),
            "started_from": None if self.weights is None else Path(self.weights).name,
        }

    def _check(self, y: Array, groups: Array, what: Array) -> None:
        people, task = len(np.unique(groups)), self.recipe.task
        if people < 4 or len(np.unique(y)) < 2:
            raise InputError(
                f"A clip network needs usable clips of both labels from at least 4 people, found {people} people and "
                f"{int(y.sum())} genuine of {len(y)} clips; add to the manifest."
            )
        kinds = len(set(what.tolist()) - {""})
        least = {"authenticity": 0, "classes": 1, "multi": 2}[task]
        if kinds < least:
            raise InputError(
                f"The task '{task}' needs clips of {least} or more named emotions, found {kinds}; name them in the "
                "manifest or choose another network."
            )

    def _place(self, name: str, task: Task, groups: Array) -> Path | None:
        """Where the epochs of one network are kept. How long it goes on is free."""
        told = {**self.recipe.lasting(), "weights": str(self.weights or "")}
        # a picture of each, as to read all would take long
        some = [clip.at(np.arange(1)) if isinstance(clip, Pictures) else clip for clip in task.x]
        about = [told, list(map(len, task.x)), groups.tolist()]
        return pieces.place(name or "all", about, [*some, task.y, task.emotion, task.held])
