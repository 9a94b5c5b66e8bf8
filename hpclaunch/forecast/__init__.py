"""What a prediction needs from disk, hub and earlier runs, and the prediction itself."""
