"""Tables that were computed, not measured."""
