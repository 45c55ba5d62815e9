"""What tenants take on a device: their adapters in a batch and on the link, and looked-up lower layers."""
