"""What packed batches bring: their texts, a table of both layouts, times side by side, predictions, capacities."""
