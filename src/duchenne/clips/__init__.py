"""The face of a clip as models read it: loaded from a manifest's row, cropped, and cached by content."""
