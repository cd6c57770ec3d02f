"""How long a batch takes, how many replicas it needs, what it costs, and whether it meets its deadline.

Pure: no I/O, no clock, no randomness that is not passed in. Times are seconds, or unix seconds where a name ends in
`_at`; sizes are megapixels.
"""
