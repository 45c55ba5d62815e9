"""Which adapters are on a GPU: wrappers that load, evict and prefetch, and batches that go by what is there."""
