"""The sampled values: what is measured of a GPU and of a node, and all that is known of each."""
