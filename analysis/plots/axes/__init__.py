"""Functions of a frame and an Axes that return the Axes, and the look that they share."""
