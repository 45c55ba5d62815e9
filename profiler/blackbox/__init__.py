"""A running server as a table: measured from outside, by what it tells, by what it counts, or by the clock alone."""
