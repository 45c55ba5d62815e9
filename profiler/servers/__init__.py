"""Servers that somebody else runs: how they are asked, what they offer, and what they take, measured from outside."""
