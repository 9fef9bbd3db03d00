"""Prepare tracks for measurement: quality, gaps and even time grids (`clean`), frontal faces (`align`)."""
