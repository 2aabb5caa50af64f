"""Recorded learning curves of whole grids of configurations, and what plays searchers and schedulers on them."""
