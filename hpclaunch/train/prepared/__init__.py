"""Tokenized and packed rows, kept by content: a later start reads them and tokenizes nothing."""
