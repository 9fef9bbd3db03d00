"""Filters and peaks against scipy's."""

import numpy as np
import pytest
from scipy import ndimage, signal

from duchenne.features import filtering


@pytest.mark.parametrize("cutoff", [0.3, 4.0, 12.0])
@pytest.mark.parametrize("count", [2, 7, 400])
def test_lowpass(count, cutoff):
    x = np.random.default_rng(count).normal(size=(count, 3)).cumsum(axis=0)
    sos = signal.butter(1, cutoff, fs=25.0, output="sos")
    expected = signal.sosfiltfilt(sos, x, axis=0, padlen=min(count - 1, 25), padtype="constant")
    np.testing.assert_allclose(filtering.lowpass(x, 25.0, cutoff), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("count", "sigma"), [(1, 2.0), (5, 3.0), (60, 0.8), (60, 2.0)])
def test_gaussian(count, sigma):
    x = np.random.default_rng(count).normal(size=(count, 3))
    expected = ndimage.gaussian_filter1d(x, sigma, axis=0, mode="nearest")
    np.testing.assert_allclose(filtering.gaussian(x, sigma), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (1, 5), (2, 5), (40, 7)])
def test_running_median(count, size):
    x = np.random.default_rng(count).normal(size=count)
    np.testing.assert_array_equal(filtering.running_median(x, size), ndimage.median_filter(x, size, mode="reflect"))


@pytest.mark.parametrize("levels", [2, 5, 1000])  # few levels: plateaus
def test_peaks_and_their_prominence(levels):
    x = np.r_[-5.0, np.random.default_rng(levels).integers(0, levels, 300), -5.0]
    expected, about = signal.find_peaks(x, prominence=0)
    np.testing.assert_array_equal(filtering.peaks(x), expected)
    found = [filtering.prominence(x, peak) for peak in expected]
    np.testing.assert_array_equal(found, about["prominences"])
