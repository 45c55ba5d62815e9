"""Answers that leave at ramps after layers: policies around others that say where, and how sure is sure enough."""
