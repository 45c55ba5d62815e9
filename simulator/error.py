"""What a policy did wrong."""


class PolicyError(ValueError):
    """A policy broke a rule of the loop, or raised. One message, since SimPy re-creates exceptions from their args."""
