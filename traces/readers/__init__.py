"""Readers of public trace formats, and what they find."""
