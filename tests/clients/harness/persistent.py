"""A client that repeats its requests until they succeed, while nodes and engines fail."""

import contextlib
import time

from .upload import body

PATIENCE_S = 240


def persist(act, what):
    """Repeats a request until it succeeds; returns its value."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return act()
        except (AssertionError, OSError) as error:
            assert time.monotonic() < deadline, f"{what}: {error}"
            time.sleep(0.2)


def send(project, party, encodings, blocks):
    """Repeats an upload until it is accepted. 403 for a repetition means that the answer to an earlier one was lost."""
    path, token = f"{project.path}/clks", project.update_tokens[party]
    content = body("clknblocks" if blocks else "clks", encodings, blocks)
    attempts = 0

    def attempt():
        nonlocal attempts
        attempts += 1
        response = project.api.post(path, token, json=content, timeout=30)
        is_used_up = response.status_code == 403 and attempts > 1
        assert response.status_code == 201 or is_used_up, response.text

    persist(attempt, f"the upload of party {party}")


def linked(api, case):
    """Runs a linkage, repeating requests that fail; returns the run and its result."""
    _, kind, datasets, blocks, threshold = case
    project = persist(lambda: api.project(kind, parties=len(datasets), blocking=blocks is not None), "the project")
    for party, encodings in enumerate(datasets):
        send(project, party, encodings, blocks[party] if blocks else None)
    run = persist(lambda: project.run(threshold), "the run")
    deadline, last = time.monotonic() + PATIENCE_S, None
    while True:
        with contextlib.suppress(OSError):
            last = run.get_status()
            if last.status_code == 200:
                state = last.json()["state"]
                if state == "error":
                    raise RuntimeError(f"the run has failed: {last.text}")
                if state == "completed":
                    result = run.get_result()
                    if result.status_code == 200:
                        return run, result.content
        assert time.monotonic() < deadline, f"the run has not ended: {last and last.text}"
        time.sleep(0.1)


def delete(project):
    """Repeats the deletion of a project until there is a response."""

    def attempt():
        response = project.delete()
        # 403: an earlier request, whose answer was lost, has deleted the project.
        assert response.status_code in (204, 403), response.text

    persist(attempt, "the deletion")
