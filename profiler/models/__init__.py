"""The models that run: shapes, weights, forward passes, their floors."""
