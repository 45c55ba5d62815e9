"""Whether the simulation is right: live runs and simulations of the same arrivals, and the error in layers."""
