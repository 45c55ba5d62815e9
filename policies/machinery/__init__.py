"""What policies are made of: queues of their own, deadlines, limits, wrapping."""
