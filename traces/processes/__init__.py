"""Arrival processes: generators, tenants, models fitted to a trace."""
