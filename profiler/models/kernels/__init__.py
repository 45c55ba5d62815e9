"""Triton kernels for the stacked forward pass, one launcher each. Importing the modules needs Triton, this package not.

All tensors have the students as their first axis. Rows are tokens: row `b * tokens + s` is token s of sequence b.
With TRITON_INTERPRET=1 in the environment before the import, the same code runs on CPU tensors, slowly.
"""
