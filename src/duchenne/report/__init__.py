"""Self-contained HTML reports of finished results: one clip, a batch of clips, the filters of a network."""
