"""Policies on the same arrivals: replications, paired statistics, and the bound of the optimum."""
