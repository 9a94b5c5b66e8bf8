"""The trainer under DeepSpeed's ZeRO: what `--engine deepspeed` adds, imported for it alone.

`partitions` says which piece of each parameter a rank holds, `pieces` has DCP write and read such
pieces as parts of whole tensors, `checkpoint` is the state built of them, `weights` makes the final
ones whole, and `trainer` is the mixin that calls them.
"""
