"""The policy `adaptive` and its parts."""
