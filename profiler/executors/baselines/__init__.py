"""Other engines behind our staging and timing, so that a ratio compares equals."""
