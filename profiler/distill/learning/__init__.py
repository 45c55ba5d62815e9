"""How students learn: encoders, targets, training."""
