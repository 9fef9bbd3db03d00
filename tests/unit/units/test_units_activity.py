"""Activity descriptors of action units: an imported table, gaps, rates, and units that are missing."""

import numpy as np
import pandas as pd
import pytest

from duchenne import io
from duchenne.errors import InputError
from duchenne.features import activity
from duchenne.types import Signals
from duchenne.units.activity import row


def signals(count=60, fps=25.0):
    time = np.arange(count) / fps
    return Signals(time, np.column_stack([np.sin(time), np.cos(3 * time)]), ("AU06", "AU12"), ("0-1", "0-1"))


def test_they_are_those_of_the_named_curves_in_the_given_order():
    found = signals()
    np.testing.assert_allclose(row(found, ("AU12", "AU06")), activity.activity(found.values[:, ::-1], 25.0))


def test_the_longest_stretch_counts_and_a_short_one_has_no_descriptors():
    whole, cut = signals(), signals()
    cut.values[20] = np.nan
    last = Signals(whole.time[21:], whole.values[21:], whole.names, whole.units)
    np.testing.assert_allclose(row(cut, ("AU06",)), row(last, ("AU06",)))
    cut.values[::7, 0] = np.nan
    assert np.isnan(row(cut, ("AU06",))).all()


def test_openfaces_intensities_are_described_and_missing_units_are_named():
    time = np.arange(50) / 50
    table = pd.DataFrame({"frame": np.arange(1, 51), "face_id": 0, "timestamp": time, "confidence": 1.0, "success": 1})
    table["AU12_r"] = 2 + np.sin(6 * time)
    (units,) = io.action_units(table)
    found = row(units, ("AU12",), fps=50.0)
    np.testing.assert_allclose(found, activity.activity(np.asarray(table[["AU12_r"]], float), 50.0), rtol=1e-6)
    with pytest.raises(InputError, match="no curve AU06, found AU12"):
        row(units, ("AU06",))
