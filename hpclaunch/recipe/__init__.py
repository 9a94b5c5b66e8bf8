"""What to train: recipes as typed values."""
