"""Policies that know the future: what no other can beat."""
