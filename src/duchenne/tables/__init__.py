"""Tables of results: their columns and codebook, curves, files for other programs, and comparisons of groups."""
