"""What answers a batch: on CPU, on CUDA, in stages, with stops."""
