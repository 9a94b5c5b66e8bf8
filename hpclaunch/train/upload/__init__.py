"""Copies of checkpoints and final weights elsewhere (`checkpoints.sync_to`)."""
