"""The requests that wait, and the View of them."""
