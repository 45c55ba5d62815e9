"""What policies of exits share: thresholds and ramps, promises, and what they learn from."""
