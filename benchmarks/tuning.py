"""The allocator settings of the tuned contenders.

Given here in full, not taken from muniflow: a tuned floor that changes with the product would hide a regression.
"""

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
    "MALLOC_ARENA_MAX": "1",
}
"""glibc: keep pixel buffers instead of unmapping them and faulting their pages in anew for every image."""
