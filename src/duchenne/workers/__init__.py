"""Processes that read strangers' clips: started, watched, replaced when they stall, die or swell."""
