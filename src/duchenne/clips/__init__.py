"""A clip's face as models read it: loaded from a manifest's row, cut into crops, and cached by content."""
