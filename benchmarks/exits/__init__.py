"""The study of early exits: its cells, what is asked of them, and the page."""
