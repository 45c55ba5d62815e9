"""Adapters of many tenants on a real device: stored on the host, loaded into slots, applied in mixed batches."""
