"""The recorded linkages of the reference service, which the tests repeat through the API."""

import base64
import json

from .server import REPOSITORY

FOLDER = REPOSITORY / "tests" / "fixtures" / "vectors"


def load(name):
    return json.loads((FOLDER / name).read_text())


def flows():
    """Returns the recorded linkages, with their encodings as bytes."""
    for case in load("flows.json")["cases"]:
        decoded = [[base64.b64decode(text) for text in dataset] for dataset in case["datasets"]]
        yield {**case, "datasets": decoded}
