"""What every trainer does: read a manifest through the cache, fit where it can go on, write a model folder."""
