"""Expression networks: emotions and action units of single faces, training, transfer, and what their filters see."""
