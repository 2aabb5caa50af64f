"""Hyperparameter tuning for PyTorch on Ray Tune."""

__version__ = "0.1.0"
