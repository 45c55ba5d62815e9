"""What a target needs: peak rates, the GPUs, the policy and the model that meet it."""
