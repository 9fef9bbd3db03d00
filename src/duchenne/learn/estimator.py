"""scikit-learn's interface to the boosted descriptors: for its pipelines, searches and cross-validations."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from duchenne.learn.boosting import Recipe, Tabular
from duchenne.types import Array


class DescriptorClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """`learn.boosting.Tabular` on a table of descriptors: boosted trees, a kernel and a linear model, calibrated.

    Parameters are those of `learn.boosting.Recipe`. `fit` takes the persons as `groups`, so that no person is on both
    sides of a fold; without them every row counts as a person of its own. NaN is a missing descriptor. Two classes.

        >>> from sklearn.model_selection import GridSearchCV, GroupKFold
        >>> search = GridSearchCV(DescriptorClassifier(), {"max_depth": [2, 3]}, cv=GroupKFold(3))
    """

    def __init__(
        self,
        *,
        n_estimators: int = 400,
        max_depth: int = 3,
        learning_rate: float = 0.04,
        C: float = 0.001,
        kernel_C: float = 10.0,
        n_boosters: int = 4,
        folds: int = 5,
        random_state: Any = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.learning_rate = learning_rate
        self.C = C
        self.kernel_C = kernel_C
        self.n_boosters = n_boosters
        self.folds = folds
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Fit on descriptors (N, D), labels (N,) of two classes, persons (N,); ValueError for others, as scikit-learn
        expects it."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(f"Only binary classification is supported. The type of the target is {type_of_target(y)}.")
        if len(self.classes_) < 2:
            raise ValueError("Classifier can't train when only one class is present; give rows of both.")
        people = _own_person(labels) if groups is None else np.asarray(groups)
        if len(people) != len(labels):
            raise ValueError(f"groups must name a person for each of {len(labels)} rows, found {len(people)}.")
        folds = min(self.folds, len(np.unique(people)))
        if folds < 2:
            raise ValueError(f"At least two people are needed, found {folds}; with fewer n_samples = 1 for a class.")
        drawn = not isinstance(self.random_state, int)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1)) if drawn else self.random_state
        recipe = Recipe(
            n_estimators=self.n_estimators, max_depth=self.max_depth, learning_rate=self.learning_rate, C=self.C,
            kernel_C=self.kernel_C,
            n_boosters=self.n_boosters, folds=folds, seed=seed,
        )  # fmt: skip
        self.model_ = Tabular(tuple(f"x{i}" for i in range(X.shape[1])), recipe).fit(X, labels, people)
        return self

    def predict_proba(self, X: Any) -> Array:
        """float64 (N, 2): the probability of each of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        return np.asarray(self.model_.predict_proba(X))

    def predict(self, X: Any) -> Array:
        """(N,): the more probable class."""
        p = self.predict_proba(X)
        return np.asarray(self.classes_[(p[:, 1] >= 0.5).astype(int)])


def _own_person(labels: Array) -> Array:
    """int (N,): the k-th rows of both classes are one person, so that both classes are in every fold."""
    place = np.zeros(len(labels), int)
    for value in (0, 1):
        place[labels == value] = np.arange((labels == value).sum())
    return np.asarray(np.minimum(place, min((labels == 0).sum(), (labels == 1).sum()) - 1))
