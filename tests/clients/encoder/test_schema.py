"""`entityd schema` accepts the schemas that clkhash accepts, and converts them as it does."""

import json
import os

from hypothesis import HealthCheck, given, seed, settings

from harness import linkage_schemas as schemas

EXAMPLES = 20_000 if os.environ.get("TESTS_LONG") else 150
SEED = schemas.seed()


def test_random_schemas_are_converted_or_refused_alike(tmp_path):
    print("TESTS_SEED", SEED)
    counts = {"taken": 0, "refused": 0}

    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(schemas.damaged())
    def check(schema):
        path = tmp_path / "schema.json"
        path.write_text(json.dumps(schema))
        expected = schemas.reference_converted(schema)
        ours = schemas.run("schema", "convert", path)
        if expected is None:
            counts["refused"] += 1
            assert ours.returncode == 3, ours.stdout
        else:
            counts["taken"] += 1
            assert ours.returncode == 0, ours.stderr
            assert json.loads(ours.stdout) == expected

    check()
    print(counts)
    assert counts["taken"] > 0 and counts["refused"] > 0
