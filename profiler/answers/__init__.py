"""Recorded answers, and what they say of early stops. A leaf: no torch."""
