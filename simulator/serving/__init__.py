"""The serving loop, its clocks, its GPUs."""
