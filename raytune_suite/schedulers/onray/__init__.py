"""Ray's schedulers, each with a narrow override: seeded from the study, and noting what it compared."""
