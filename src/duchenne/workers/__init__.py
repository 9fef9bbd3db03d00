"""Worker processes for a batch and for the app: started, watched, replaced when they hang, die or take too much memory.

One protocol (`protocol`), one program (`child`), memory and threads in one place (`resources`). What a worker does is a
name, "module:object": nothing here knows clips or models, and nothing may.
"""
