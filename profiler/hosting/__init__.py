"""What the host takes beside the devices: our endpoint on a device that answers at once, measured from outside."""
