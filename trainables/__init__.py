"""Models to tune as they are, or to copy: each reads from top to bottom and needs only raytune_suite and torch."""
