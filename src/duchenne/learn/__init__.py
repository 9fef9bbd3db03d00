"""The engine: training loop, calibration, boosting, linear models, rank SVM, losses and recipes.

It knows arrays and tensors, and no clip.
"""
