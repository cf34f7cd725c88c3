"""What laws, activations and blocks of one's own say of themselves, asked before it is relied on.

What networks show to observables of one's own is checked above the layer loop, in `_observed`.
"""
