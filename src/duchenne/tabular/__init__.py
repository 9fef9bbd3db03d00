"""Models on one row of numbers per clip: gradient boosting on descriptors, small networks, any scorer."""
