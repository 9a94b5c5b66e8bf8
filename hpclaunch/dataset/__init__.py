"""Local data: which files make up a split, their rows, and what is wrong with them.

Needs no training stack, so that a submission sees the same rows as the job.
"""
