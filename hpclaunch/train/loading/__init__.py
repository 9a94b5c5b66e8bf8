"""Sharded loading: the model is laid out on the meta device and sharded, then read in slices.

No rank holds a whole copy and nothing but an adapter is broadcast. `deferred` postpones what
`from_pretrained` reads, `hooks` has accelerate shard the model on meta, and `reader` reads each
rank's own slices of the safetensors files through Transformers' own loader. What cannot be loaded
so is loaded whole on every rank, as Transformers does it (`whole`).
"""
