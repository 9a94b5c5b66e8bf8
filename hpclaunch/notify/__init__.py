"""Messages at the end of a run: a POST of its state to the user's webhook."""
