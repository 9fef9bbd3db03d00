"""Methods by name, each unfitted: what an evaluation fits anew on every fold.

`LEARNER` or `LEARNER:WHAT`, where WHAT is a family of descriptors, "smile", or "all" (see `learn.rows.Reader`), of
"lstm-pb" a reading or a recipe, of a clip network a recipe, @WEIGHTS to start from, or both, of "single" and "multi" a
backbone. Torch is loaded where a network is made and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from duchenne.errors import InputError, UsageError
from duchenne.features import smile
from duchenne.features.descriptors import FAMILIES
from duchenne.learn import checkpoint
from duchenne.learn.classifiers import TARGET_ACCURACY, DescriptorModel, abstention_margin
from duchenne.learn.rank_svm import RankSVM
from duchenne.learn.rows import Reader
from duchenne.learn.tabular import Recipe, boost, log_odds, person_folds, platt, sigmoid
from duchenne.types import Array, Sample

#: One booster without a bag or a choice of members, for comparing what is read rather than how it is learnt.
ONE = Recipe(bag=1, members=("boosting",), rounds=200, rate=0.08, folds=3)
AS_IS = "as-is:"
Scorer = Callable[[Array], Array]


@dataclass
class TableModel:
    """Any scorer on one row per clip, made a probability by Platt scaling on people that it had not seen.

    `fit(samples, labels, groups, emotions)` and `predict_proba(samples)`, or the same on rows of numbers.
    `by_person` models read the mean row of a person's clips; `rank_table` answers for pairs only.
    """

    reader: Reader
    fit_scorer: Callable[..., Scorer]
    seed: int = 0
    by_person: bool = False
    ranker: RankSVM | None = None
    needs: str = "points"
    scorer: Scorer | None = None
    slope: float = 1.0
    intercept: float = 0.0
    margin: float = 0.0
    centre: Array = field(default_factory=lambda: np.zeros(0))

    def table(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, D): see `Reader.table`."""
        return self.reader.table(samples)

    def fit(self, samples: Sequence[Sample], labels: Array, groups: Array, emotions: Array | None = None) -> TableModel:
        """Fit on samples; labels (N,) 1 = genuine, groups (N,) persons, emotions (N,) names or None."""
        return self.fit_table(self.table(samples), labels, groups, emotions)

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> TableModel:
        """Fit on rows (N, D); InputError with fewer than two persons or only one class."""
        usable = np.isfinite(x).any(axis=1)
        x, y, groups = x[usable], np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        emotions = None if emotions is None else np.asarray(emotions)[usable]
        if len(np.unique(groups)) < 2 or len(np.unique(y)) < 2:
            raise InputError("Training needs usable clips of both labels from at least 2 people; add to the manifest.")
        self.centre = np.nan_to_num(np.nanmedian(np.where(np.isfinite(x).any(axis=0), x, 0.0), axis=0))
        x, z = self._filled(x), np.full(len(y), np.nan)
        for train, test in person_folds(groups, 3, self.seed):
            if len(np.unique(y[train])) == 2:
                z[test] = self.fit_scorer(x[train], y[train], self.seed)(x[test])
        seen = np.isfinite(z)
        self.slope, self.intercept = platt(z[seen], y[seen]) if seen.any() else (1.0, 0.0)
        self.margin = abstention_margin(sigmoid(self.slope * z[seen] + self.intercept), y[seen], TARGET_ACCURACY)
        self.scorer = self.fit_scorer(x, y, self.seed)
        if self.ranker is not None:
            self.ranker.fit(x, y, groups, emotions)
        return self

    def predict_proba(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, 2): P(posed), P(genuine)."""
        return self.predict_table(self.table(samples))

    def predict_table(self, x: Array) -> Array:
        """float64 (N, 2): P(posed), P(genuine) of rows (N, D)."""
        if self.scorer is None:
            raise InputError("This model has not been fitted; call fit first.")
        p = sigmoid(self.slope * self.scorer(self._filled(x)) + self.intercept)
        return np.column_stack([1 - p, p])

    def rank_table(self, x: Array) -> Array | None:
        """float64 (N,): scores that order two clips of one person and emotion; None where P(genuine) does."""
        return None if self.ranker is None else self.ranker.scores(self._filled(x))

    def _filled(self, x: Array) -> Array:
        return np.where(np.isfinite(x), x, self.centre)


@dataclass
class AsIs:
    """A finished model, judged as it stands: its `fit` learns nothing. Without the smile expert's share."""

    name: str
    needs: str = "points"

    def __post_init__(self) -> None:
        self.model: Any
        self.model, facts = checkpoint.load_judge(self.name)
        self.sha256 = facts["sha256"]
        self.reader, self.margin, self.needs = self.model.reader, self.model.margin, self.model.needs
        self.told_emotion = getattr(self.model, "told_emotion", False)

    def table(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, D), or object (N,) of sequences: what the model reads."""
        return np.asarray(self.model.table(samples))

    def fit(self, *_: Any) -> AsIs:
        """Nothing is learnt."""
        return self

    def fit_table(self, *_: Any) -> AsIs:
        """Nothing is learnt."""
        return self

    def predict_proba(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, 2): P(posed), P(genuine)."""
        return np.asarray(self.model.predict_proba(samples))

    def predict_table(self, x: Array, *emotions: Array) -> Array:
        """float64 (N, 2): P(posed), P(genuine) of rows (N, D); `emotions` (N,) for a model that must be told them."""
        return np.asarray(self.model.predict_table(x, *emotions))


def smile_recipe(seed: int = 0) -> Recipe:
    """Settings for about 60 descriptors of about a thousand smiles (experiments/uva_nemo.toml)."""
    return Recipe(
        rounds=300, depth=4, rate=0.03, rows=0.6, columns=0.3, shrink=3.0, child=3.0, bins=256, penalty=0.3, seed=seed
    )


def smile_expert(seed: int = 0) -> DescriptorModel:
    """The unfitted smile expert."""
    return DescriptorModel(smile.EXPERT, family="smile", fps=smile.TABLE_FPS, recipe=smile_recipe(seed))


def _boosting(x: Array, y: Array, seed: int) -> Scorer:
    booster = boost(x, y, replace(ONE, seed=seed))
    return lambda rows: log_odds(booster, rows)


def _linear_svm(x: Array, y: Array, seed: int) -> Scorer:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    model = make_pipeline(StandardScaler(), LinearSVC(C=0.003, dual="auto", max_iter=20000, random_state=seed))
    model.fit(x, y)
    return lambda rows: np.asarray(model.decision_function(rows))


def _extra_trees(x: Array, y: Array, seed: int) -> Scorer:
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(500, max_features=0.3, random_state=seed).fit(x, y)
    return lambda rows: np.asarray(model.predict_proba(rows)[:, 1] - 0.5)


def _constant(x: Array, y: Array, seed: int) -> Scorer:
    return lambda rows: np.zeros(len(rows))


def _lstm_pb(what: str, seed: int) -> Any:
    """The shipped recipe, or the same with another reading, or another recipe: a shipped one's name, or a TOML file."""
    from duchenne.learn import pb, recipes

    if not what or what == "solved":
        return pb.PBModel(recipes.read("lstm-pb", seed=seed))
    if what in pb.READINGS:
        return pb.PBModel(recipes.read("lstm-pb-small", reading=what, seed=seed))
    if what not in recipes.shipped() and not what.endswith(".toml"):
        raise UsageError(
            f"There is no method 'lstm-pb:{what}': choose one of {', '.join(pb.READINGS)} after lstm-pb, or a recipe "
            f"({', '.join(recipes.shipped())}, or a TOML)."
        )
    return pb.PBModel(recipes.read(what, seed=seed))


def _hybrid(what: str, seed: int) -> Any:
    """Descriptors beside the shipped recipe of LSTM-PB."""
    from duchenne.learn.hybrid import Hybrid

    return Hybrid(DescriptorModel.of_family(what or "dynamics", recipe=Recipe(seed=seed)), _lstm_pb("", seed))


def _clip_net(what: str, seed: int, network: str) -> Any:
    """The network's recipe, or the one of a TOML in its place; behind an @ the weights that its trunk starts from."""
    from duchenne.learn import clip_recipe
    from duchenne.learn.clip_model import ClipModel

    what, _, weights = what.partition("@")
    if weights and weights not in checkpoint.shipped() and not Path(weights).exists():
        raise InputError(f"There are no weights {weights} for {network} to start from; get them, or leave @ out.")
    recipe = clip_recipe.read(what or network, seed=seed)
    return ClipModel(recipe, device="auto" if recipe.inputs == "crops" else "cpu", weights=weights or None)


def _single_faces(what: str, seed: int, network: str) -> Any:
    """Such a network with another backbone."""
    from duchenne.learn import clip_recipe
    from duchenne.learn.clip_model import ClipModel

    return ClipModel(clip_recipe.read(network, seed=seed, backbone=what or None), device="auto")


def _two_stage(what: str, seed: int, how: str) -> Any:
    """`METHOD`, or `FIRST/METHOD` with another first stage than the linear one."""
    from duchenne.learn.two_stage import FIRST, TwoStage

    first, slash, method = what.partition("/")
    if not slash or first not in FIRST:
        first, method = "linear", what
    return TwoStage(partial(make, method or "boosting", seed), first, how, seed)


def _stack(what: str, seed: int) -> Any:
    """Methods with + between them; a family of descriptors may hold a + of its own (dynamics+activity)."""
    from duchenne.learn.stack import Stack

    names: list[str] = []
    for piece in (what or "descriptors+lstm-pb+rank-svm:activity").split("+"):
        fresh = not names or piece.partition(":")[0] in LEARNERS or piece.startswith(AS_IS)
        names = [*names, piece] if fresh else [*names[:-1], f"{names[-1]}+{piece}"]
    return Stack(tuple(partial(make, name, seed) for name in names), seed)


def _table_nets(what: str, seed: int, kind: str) -> Any:
    from duchenne.learn.table_nets import NetRecipe, TableNets

    return TableNets(Reader(what or "all"), NetRecipe(kind, seed=seed))


#: Networks on clips; each has a recipe of its name in recipes/clips (`learn.clip_recipe`).
CLIP_NETS = (
    *("vgg16-lstm", "resnet50-lstm", "se-resnet50-lstm", "expression-lstm", "cnn3d", "resnet3d-18"),
    *("resnet50-single", "resnet50-multi", "context", "points-lstm", "points-cnn", "points-multi"),
)
#: Learner → how one is made from (what it reads, seed).
LEARNERS: dict[str, Callable[[str, int], Any]] = {
    "default": _hybrid,
    "descriptors": lambda what, seed: DescriptorModel.of_family(what or "dynamics", recipe=Recipe(seed=seed)),
    "smile": lambda what, seed: smile_expert(seed),
    "boosting": lambda what, seed: TableModel(Reader(what or "all"), _boosting, seed),
    "linear-svm": lambda what, seed: TableModel(Reader(what or "all"), _linear_svm, seed),
    "rank-svm": lambda what, seed: TableModel(Reader(what or "all"), _linear_svm, seed, ranker=RankSVM(seed=seed)),
    "extra-trees": lambda what, seed: TableModel(Reader(what or "all"), _extra_trees, seed),
    "lstm-pb": _lstm_pb,
    **{name: partial(_clip_net, network=name) for name in CLIP_NETS},
    "single": partial(_single_faces, network="resnet50-single"),
    "multi": partial(_single_faces, network="resnet50-multi"),
    "table-binary": lambda what, seed: _table_nets(what, seed, "binary"),
    "table-single": lambda what, seed: _table_nets(what, seed, "single"),
    "table-multi": lambda what, seed: _table_nets(what, seed, "multi"),
    "two-stage": lambda what, seed: _two_stage(what, seed, "apart"),
    "conditioned": lambda what, seed: _two_stage(what, seed, "conditioned"),
    "stack": _stack,
}
#: What any method must beat, by name: see `learn.rows.Reader` for what each reads.
BASELINES: dict[str, Callable[[int], TableModel]] = {
    "majority": lambda seed: TableModel(Reader("nothing"), _constant, seed),
    "clip length": lambda seed: TableModel(Reader("clip length"), _boosting, seed),
    "first frame": lambda seed: TableModel(Reader("first_frame"), _boosting, seed),
    "peak intensity": lambda seed: TableModel(Reader("peak intensity"), _boosting, seed),
    "identity": lambda seed: TableModel(Reader("all"), _boosting, seed, by_person=True),
}


def make(name: str, seed: int = 0) -> Any:
    """An unfitted method by name ("default", "boosting:movement"), or a finished one ("as-is:default",
    "as-is:folder"); UsageError for names that nobody knows."""
    if name.startswith(AS_IS):
        return AsIs(name.removeprefix(AS_IS))
    learner, _, what = name.partition(":")
    unknown = what and (learner == "smile" or (learner in ("default", "descriptors") and what not in FAMILIES))
    if learner not in LEARNERS or unknown:
        raise UsageError(
            f"There is no method '{name}': choose one of {', '.join(LEARNERS)}, with ':' and a family of descriptors "
            f"({', '.join(FAMILIES)}) or a reading or recipe of lstm-pb if you like, or {AS_IS}MODEL for a finished "
            "model or its folder."
        )
    return LEARNERS[learner](what, seed)
