"""Where to run: site profiles and the GPU catalogue."""
