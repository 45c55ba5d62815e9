"""Grids of runs: axes, cells, workers, and the store that resumes."""
