"""Models made of models: hybrid, two-stage, stack, pairs; and every method by its name."""
