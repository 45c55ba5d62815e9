"""Policies that choose the level of a batch, too."""
