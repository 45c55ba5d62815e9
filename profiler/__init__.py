"""Measure what a device takes to answer, and keep it in tables. Importing this package does not import torch."""
