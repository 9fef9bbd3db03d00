"""Unfitted methods by name: what an evaluation fits on every fold.

`LEARNER` or `LEARNER:WHAT`, where WHAT is a family of descriptors, "smile", or "all" (see `tabular.rows.Reader`), of
"lstm-pb" a reading or a recipe, of a clip network a recipe, @WEIGHTS to start from, or both, of "single" and "multi" a
backbone. Torch is loaded where a network is made and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from duchenne import checkpoints, io
from duchenne.errors import InputError, UsageError, meant
from duchenne.features import smile
from duchenne.features.descriptors import FAMILIES
from duchenne.learn.boosting import Recipe
from duchenne.learn.rank_svm import RankSVM
from duchenne.tabular.model import APPEARANCE, DescriptorModel
from duchenne.tabular.rows import Reader
from duchenne.tabular.table_model import TableModel
from duchenne.types import Array, Classifier, Json, Opinion, Question
from duchenne.types import Reader as AnyReader

if TYPE_CHECKING:
    from duchenne.lstm_pb.model import PBModel

AS_IS = "as-is:"
HYBRID = "mesh-relative"  # family of the default model's descriptors


@dataclass
class AsIs(Classifier):
    """A trained model as it is: `fit` does nothing. Without the smile expert."""

    name: str
    model: Classifier = field(init=False)
    facts: Json = field(init=False)
    recipe: str = ""
    out_of_fold: Array | None = None

    def __post_init__(self) -> None:
        self.model, self.facts = checkpoints.load_classifier(self.name)

    @property
    def reader(self) -> AnyReader:
        """The model's."""
        return self.model.reader

    @property
    def margin(self) -> float:
        """The model's."""
        return self.model.margin

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Does nothing."""
        return self

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine) of the model."""
        return self.model.predict_table(x, emotions)

    def rank_table(self, x: Array) -> Array | None:
        """float64 (N,): the model's."""
        return self.model.rank_table(x)

    @property
    def needs_emotions(self) -> bool:
        """The model's."""
        return self.model.needs_emotions

    def opinion(self, question: Question) -> Opinion:
        """The model's."""
        return self.model.opinion(question)


def smile_expert(seed: int = 0) -> DescriptorModel:
    """The unfitted smile expert, for 60 descriptors of a thousand smiles (experiments/uva_nemo.toml)."""
    recipe = Recipe(
        n_estimators=300, max_depth=4, learning_rate=0.03, subsample=0.6, colsample_bytree=0.3, reg_lambda=3.0,
        min_child_weight=3.0, max_bin=256, C=0.3, seed=seed,
    )  # fmt: skip
    return DescriptorModel(smile.EXPERT, family="smile", fps=smile.TABLE_FPS, recipe=recipe)


def _lstm_pb(what: str, seed: int) -> PBModel:
    """The shipped recipe of a reading, or another recipe: a shipped one's name, or a TOML file."""
    from duchenne.lstm_pb.model import PBModel
    from duchenne.lstm_pb.recipe import READINGS, PBRecipe

    if what in ("", *READINGS):
        return PBModel(PBRecipe.of_reading(what or "solved", seed=seed))
    if what not in PBRecipe.shipped() and not what.endswith(".toml"):
        raise UsageError(
            f"There is no method 'lstm-pb:{what}'; choose one of {', '.join(READINGS)} after lstm-pb, "
            f"or a recipe ({', '.join(PBRecipe.shipped())}, or a TOML)."
        )
    return PBModel(PBRecipe.read(what, seed=seed))


def _default(what: str, seed: int) -> Classifier:
    """Descriptors beside how the face looks, also of clips without their start; those of points alone beside the
    shipped recipe of LSTM-PB."""
    from duchenne.methods.cuts import Cuts
    from duchenne.methods.hybrid import Hybrid

    family = what or HYBRID
    if not FAMILIES[family].of_mesh:
        return Hybrid(DescriptorModel.of_family(family, recipe=Recipe(seed=seed)), _lstm_pb("", seed))

    def hybrid(recipe: Recipe) -> Hybrid:
        first, other = (DescriptorModel.of_family(each, recipe=recipe) for each in (family, APPEARANCE))
        return Hybrid(first, other)

    cut = Recipe(seed=seed, candidates=("boosting+kernel",), n_boosters=2, folds=3)
    detector = DescriptorModel.of_family(family, recipe=replace(cut, candidates=("boosting",)))
    return Cuts(hybrid(Recipe(seed=seed)), hybrid(cut), detector)


def _clip_net(what: str, seed: int, network: str) -> Classifier:
    """The network's recipe, or a TOML in its place; after an @ the initial weights of its backbones."""
    from duchenne.clipnets.model import ClipModel
    from duchenne.clipnets.recipe import ClipRecipe

    what, _, weights = what.partition("@")
    for each in weights.split(",") if weights else ():
        if each not in checkpoints.shipped() and not Path(each).exists():
            raise InputError(f"{network}: initial weights {each} not found; check the path, or leave out @.")
    recipe = ClipRecipe.read(what or network, seed=seed)
    return ClipModel(recipe, device="auto" if recipe.inputs == "crops" else "cpu", weights=weights or None)


def _single_faces(what: str, seed: int, network: str) -> Classifier:
    """A network on single faces, with another backbone."""
    from duchenne.clipnets.model import ClipModel
    from duchenne.clipnets.recipe import ClipRecipe

    return ClipModel(ClipRecipe.read(network, seed=seed, backbone=what or None), device="auto")


def _two_stage(what: str, seed: int, how: str) -> Classifier:
    """`METHOD`, or `FIRST/METHOD` with another first stage than the linear one."""
    from duchenne.methods.two_stage import FIRST, TwoStage

    first, slash, method = what.partition("/")
    if not slash or first not in FIRST:
        first, method = "linear", what
    return TwoStage(partial(make, method or "boosting", seed), first, how, seed)


def _members(what: str) -> tuple[str, ...]:
    """Methods with + between them; a family of descriptors may hold a + of its own (dynamics+activity)."""
    names: list[str] = []
    for piece in what.split("+"):
        starts = not names or piece.partition(":")[0] in LEARNERS or piece.startswith(AS_IS)
        names = [*names, piece] if starts else [*names[:-1], f"{names[-1]}+{piece}"]
    return tuple(names)


def _stack(what: str, seed: int) -> Classifier:
    from duchenne.methods.stack import Stack

    names = _members(what or "descriptors+lstm-pb+rank-svm:activity")
    return Stack(tuple(partial(make, name, seed) for name in names), seed, names=names)


def _redundant(what: str, seed: int) -> Classifier:
    from duchenne.methods.redundant import MOST, Redundant

    names = _members(what or "descriptors+lstm-pb+rank-svm:activity")
    if not 2 <= len(names) <= MOST:
        raise UsageError(f"A redundant method has 2 to {MOST} members, found {len(names)}: redundant:A+B+C.")
    return Redundant(tuple(partial(make, name, seed) for name in names), seed, names=names)


def _table_nets(what: str, seed: int, kind: str) -> Classifier:
    from duchenne.tabular.nets import NetRecipe, TableNets

    return TableNets(Reader(what or "all"), NetRecipe(kind, seed=seed))


#: Networks on clips; each has a recipe of its name in recipes/clips (`clipnets.recipe`).
CLIP_NETS = (
    *("vgg16-lstm", "resnet50-lstm", "se-resnet50-lstm", "expression-lstm", "cnn3d", "resnet3d-18"),
    *("resnet50-single", "resnet50-multi", "context", "points-lstm", "points-cnn", "points-multi"),
)
#: Learner → how one is made from (what it reads, seed).
LEARNERS: dict[str, Callable[[str, int], Classifier]] = {
    "default": _default,
    "descriptors": lambda what, seed: DescriptorModel.of_family(what or "dynamics", recipe=Recipe(seed=seed)),
    "smile": lambda what, seed: smile_expert(seed),
    "boosting": lambda what, seed: TableModel(Reader(what or "all"), "boosting", seed),
    "linear-svm": lambda what, seed: TableModel(Reader(what or "all"), "linear-svm", seed),
    "rank-svm": lambda what, seed: TableModel(Reader(what or "all"), "linear-svm", seed, ranker=RankSVM(seed=seed)),
    "boosted-svm": lambda what, seed: TableModel(Reader(what or "all"), "boosted-svm", seed),
    "extra-trees": lambda what, seed: TableModel(Reader(what or "all"), "extra-trees", seed),
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
    "redundant": _redundant,
}
#: Baselines by name; see `tabular.rows.Reader` for what each reads.
BASELINES: dict[str, Callable[[int], TableModel]] = {
    "majority": lambda seed: TableModel(Reader("nothing"), "constant", seed),
    "clip length": lambda seed: TableModel(Reader("clip length"), "boosting", seed),
    "first frame": lambda seed: TableModel(Reader("first_frame"), "boosting", seed),
    "peak intensity": lambda seed: TableModel(Reader("peak intensity"), "boosting", seed),
    "identity": lambda seed: TableModel(Reader("all"), "boosting", seed, by_person=True),
}

#: What each method and baseline is, in a line.
ABOUT: dict[str, str] = {
    "default": "movement and look, both relative to the face, combined on people left out",
    "descriptors": "boosted trees and a linear model on descriptors of movement, calibrated",
    "smile": "the expert of smiles: 60 descriptors of their dynamics",
    "boosting": "boosted trees on descriptors, one booster",
    "linear-svm": "a linear support vector machine on descriptors",
    "rank-svm": "the same, with a ranker of pairs",
    "boosted-svm": "a boosted support vector machine on descriptors (Annadurai et al.)",
    "redundant": "systems whose agreement reinforces their answers; after ':' its members, joined by '+'",
    "extra-trees": "500 extremely randomised trees on descriptors",
    "lstm-pb": "the LSTM with parametric bias (Huynh & Kim 2017); after ':' a reading or recipe",
    **dict.fromkeys(CLIP_NETS, "a network on clips; see `duchenne models list --networks`"),
    "single": "a network on single faces; after ':' a backbone",
    "multi": "the same, of authenticity and emotion together",
    "table-binary": "a small network on descriptors, of authenticity",
    "table-single": "the same, of authenticity and emotion in one output",
    "table-multi": "the same, of both in two outputs",
    "two-stage": "first the emotion, then a method for each; after ':' FIRST/METHOD",
    "conditioned": "a method that is given the emotion",
    "stack": "methods, joined by +, whose answers are combined",
    "majority": "the more frequent label",
    "clip length": "boosted trees on the length alone",
    "first frame": "boosted trees on the first frame alone",
    "peak intensity": "boosted trees on the strongest frame alone",
    "identity": "boosted trees that know the person",
}


def sources(name: str) -> dict[str, str]:
    """Trained models and initial weights in a method's name → sha256."""
    found = [each for part in re.findall(rf"(?:{AS_IS}|@)([^+]+)", name) for each in part.split(",")]
    known = {text: checkpoints.locate(text) for text in found if not Path(text).is_file()}
    return {text: checkpoints.digest(known[text]) if text in known else io.sha256(Path(text)) for text in found}


def make(name: str, seed: int = 0) -> Classifier:
    """An unfitted method by name ("default", "boosting:movement"), or a trained one ("as-is:default",
    "as-is:folder"); UsageError for unknown names."""
    if name.startswith(AS_IS):
        return AsIs(name.removeprefix(AS_IS))
    learner, _, what = name.partition(":")
    known = (*FAMILIES, APPEARANCE) if learner == "descriptors" else FAMILIES
    unknown = what and (learner == "smile" or (learner in ("default", "descriptors") and what not in known))
    if learner not in LEARNERS or unknown:
        close = meant(learner, LEARNERS)
        raise UsageError(
            f"There is no method '{name}'{close}; choose one of {', '.join(LEARNERS)}, with ':' and a family of "
            f"descriptors ({', '.join(FAMILIES)}) or a reading or recipe of lstm-pb, or {AS_IS}MODEL for a trained "
            "model or its folder."
        )
    return LEARNERS[learner](what, seed)
