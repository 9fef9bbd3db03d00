"""Tracks made fit to be measured: quality, gaps, even time grids (`clean`) and frontal faces (`align`).

Nothing here is fitted, and nothing here opens a file.
"""
