"""Real text for studies: tasks, splits without leaks."""
