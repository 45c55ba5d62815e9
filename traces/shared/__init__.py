"""What all five packages share: the frame of command lines, whole-or-nothing files, numbers in text, provenance.

Imports nothing of ours.
"""
