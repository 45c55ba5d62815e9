"""Honest timing: what is measured, under which rules, and the journal that resumes."""
