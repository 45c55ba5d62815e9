"""The device behind a seam: CUDA, its double, and what NVML says."""
