"""Conversations as text and tokens: what the chat template writes of a row, and what is learnt.

Needs no training stack, so that a submission sees what the job will.
"""
