"""The ways to run an ensemble on a CPU, and the page that compares them."""
