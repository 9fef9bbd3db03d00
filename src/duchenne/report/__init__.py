"""Self-contained HTML pages: one clip, a batch of clips, a network's filters.

Pages get finished results; they judge nothing.
"""
