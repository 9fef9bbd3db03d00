"""Data sets as tables: the catalogue, manifests, splits by person, layouts on disk, and simulated smiles."""
