"""The contest: cells of traffic, the rivals that meet in them, their runs, and the page of what came out."""
