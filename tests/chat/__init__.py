"""Tests of conversations as text and tokens, without the training stack."""
