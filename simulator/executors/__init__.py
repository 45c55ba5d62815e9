"""What says how long a batch takes: the table, a device, stops, groups of GPUs."""
