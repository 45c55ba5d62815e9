"""Wrappers: admission, priorities, routers, scaling around a policy that batches."""
