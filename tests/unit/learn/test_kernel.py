"""The smooth classifier: what it learns, that it is smooth, what it stores, and that its terms add up."""

from dataclasses import replace

import numpy as np
import pytest

from duchenne.learn.kernel import Kernel


@pytest.fixture(scope="module")
def rows():
    """Two columns that decide by their product, which no line does, among 30 of noise; (rows, labels)."""
    x = np.random.default_rng(0).normal(size=(400, 32))
    return x, (x[:, 0] * x[:, 1] > 0).astype(int)


@pytest.fixture(scope="module")
def importance():
    return np.r_[1.0, 1.0, np.full(30, 0.05)]


@pytest.fixture(scope="module")
def kernel(rows, importance):
    return Kernel.fit(rows[0][:300], rows[1][:300], 100.0, importance)


def right(kernel, rows):
    return ((kernel.log_odds(rows[0][300:]) > 0) == rows[1][300:]).mean()


def test_it_learns_what_no_line_tells_apart(kernel, rows):
    assert right(kernel, rows) > 0.85


def test_columns_that_count_less_disturb_less(kernel, rows):
    alike = Kernel.fit(rows[0][:300], rows[1][:300], 100.0, np.ones(32))
    assert right(alike, rows) < right(kernel, rows) - 0.05


def test_the_same_rows_give_the_same_weights(kernel, rows, importance):
    again = Kernel.fit(rows[0][:300], rows[1][:300], 100.0, importance)
    assert all(np.array_equal(getattr(again, name), getattr(kernel, name)) for name in ("axes", "signs", "weights"))


def test_little_trembling_moves_it_little(kernel, rows):
    x = rows[0][300:]
    trembling = x + 0.01 * np.random.default_rng(1).normal(size=x.shape)
    assert np.abs(kernel.log_odds(trembling) - kernel.log_odds(x)).max() < 0.05 * kernel.log_odds(x).std()


def test_terms_add_up_to_the_log_odds_over_those_of_a_mean_row(kernel, rows):
    x = rows[0][300:340]
    mean = float(np.cos(kernel.phase) @ kernel.weights + kernel.bias[0])
    assert np.allclose(kernel.terms(x).sum(axis=1), kernel.log_odds(x) - mean, atol=1e-6)
    assert np.abs(kernel.terms(x)[:, :2]).mean() > 5 * np.abs(kernel.terms(x)[:, 2:]).mean()


def test_missing_numbers_count_as_the_median(kernel, rows):
    x = rows[0][300:302].copy()
    x[0, 5], x[1, 5] = np.nan, kernel.median[5]
    x[0, :5] = x[1, :5]
    x[0, 6:] = x[1, 6:]
    assert kernel.log_odds(x)[0] == kernel.log_odds(x)[1]


def test_shapes_are_checked(kernel):
    assert all(array.shape == shape for array, shape in kernel.shapes(32))
    assert not all(array.shape == shape for array, shape in replace(kernel, bias=np.zeros(2)).shapes(32))
    with pytest.raises(ValueError, match="spread of 0"):
        replace(kernel, spread=np.zeros(32)).shapes(32)


def test_fewer_clips_than_axes_are_enough():
    x = np.random.default_rng(0).normal(size=(12, 40))
    assert np.isfinite(Kernel.fit(x, np.arange(12) % 2, 10.0, np.ones(40)).log_odds(x)).all()
