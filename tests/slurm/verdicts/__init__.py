"""Faults that slow a training of four nodes, made for real, and what the report says of each."""
