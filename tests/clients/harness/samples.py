"""Small encodings for tests that are about the API, not about the linkage."""

import random

# Half a second is how long the reference's own suite waits for a count to change.
SOON_S = 0.5


def encodings(count, size=8, seed=0):
    """Returns random encodings, the same for the same arguments; none of them is empty."""
    rng = random.Random(f"{seed}/{count}/{size}")
    return [bytes([rng.randrange(1, 256)]) + rng.randbytes(size - 1) for _ in range(count)]


PERSON, OTHER = encodings(2)
EIGHT_BYTES = "AAECAwQFBgc="
EIGHT_MORE = "//79/Pv6+fg="
