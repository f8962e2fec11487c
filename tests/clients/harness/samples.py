"""Small encodings for tests of the API rather than of the linkage."""

import random

# The test suite of the reference waits half a second for a count to change; the rest is for a loaded machine.
SOON_S = 30


def encodings(count, size=8, seed=0):
    """Returns random encodings, the same ones for equal arguments. Each has at least one bit set."""
    rng = random.Random(f"{seed}/{count}/{size}")
    return [bytes([rng.randrange(1, 256)]) + rng.randbytes(size - 1) for _ in range(count)]


PERSON, OTHER = encodings(2)
EIGHT_BYTES = "AAECAwQFBgc="
EIGHT_MORE = "//79/Pv6+fg="
