"""Policies that choose what shares a batch and when it starts."""
