"""Numbers that describe how a face moves: curves, phases, descriptors, point sequences. Nothing is fitted."""
