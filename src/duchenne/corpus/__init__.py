"""Many clips: worked through in any number of processes, and what was read of a clip is kept for the next time."""
