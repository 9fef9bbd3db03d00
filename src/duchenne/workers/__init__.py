"""Worker processes for batches and the app: started, and replaced when they hang, crash or use too much memory.

What a worker runs is given by name, "module:object"; this package knows neither clips nor models.
"""
