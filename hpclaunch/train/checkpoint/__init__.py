"""Checkpoints: saved while training goes on, complete or absent, and resumed from."""
