"""The boosted descriptors in scikit-learn's pipelines and searches."""

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from duchenne import DescriptorClassifier

SMALL = {"n_estimators": 8, "n_boosters": 1, "folds": 2, "learning_rate": 0.3, "C": 1.0}


def people(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Descriptors of 12 people with 6 clips, whose first column tells the label; some numbers are missing."""
    rng = np.random.default_rng(seed)
    y = np.tile([0, 1], 36)
    x = rng.normal(size=(72, 4)) + 2.5 * y[:, None] * [1, 0, 0, 0]
    x[::7, 2] = np.nan
    return x, np.where(y, "genuine", "posed"), np.repeat(np.arange(12), 6)


def test_a_pipeline_is_searched_with_people_left_out():
    x, y, who = people()
    whole = make_pipeline(SimpleImputer(), DescriptorClassifier(**SMALL))
    search = GridSearchCV(whole, {"descriptorclassifier__max_depth": [1, 2]}, cv=GroupKFold(3)).fit(x, y, groups=who)
    assert search.best_score_ > 0.8 and set(search.predict(x)) == {"genuine", "posed"}


def test_people_are_kept_apart_and_the_same_seed_gives_the_same_model():
    x, y, who = people()
    one, two = (DescriptorClassifier(**SMALL).fit(x, y, groups=who) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(x), two.predict_proba(x))
    assert list(one.classes_) == ["genuine", "posed"] and (one.predict(x) == y).mean() > 0.85
    apart = DescriptorClassifier(**SMALL).fit(x, y)  # every row a person of its own
    assert not np.array_equal(one.predict_proba(x), apart.predict_proba(x))
    with pytest.raises(ValueError, match="a person for each of 72 rows, found 3"):
        DescriptorClassifier(**SMALL).fit(x, y, groups=[1, 2, 3])


@pytest.mark.slow
def test_scikit_learn_accepts_it():
    check_estimator(DescriptorClassifier(**SMALL), on_skip=None)  # of array libraries that are not installed
