"""Numbers that describe how a face moves: curves, phases, descriptors, point sequences.

Nothing here is fitted.
"""
