"""The app: a page on this computer on which a person drops clips, reads verdicts and compares (`duchenne app`)."""
