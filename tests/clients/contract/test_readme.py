"""The README's conversation, word for word."""

import json
import os
import re
import subprocess

from harness.server import BINARY, REPOSITORY


def test_the_conversation_of_the_readme_leads_to_its_result(server, tmp_path):
    readme = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    conversation = next(block for block in blocks if "curl" in block)
    promised = re.search(r"The last answer is `(.*?)`", readme, re.DOTALL)[1]
    script = conversation.replace("http://127.0.0.1:8851", server.origin).replace("\ncurl", "\necho\ncurl")
    shell = ["sh", "-eu", "-c", script]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    answers = [line for line in done.stdout.splitlines() if line.strip()]
    assert json.loads(answers[-1]) == json.loads(promised)
    assert "completed" in done.stdout


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
PAGES = ["README.md", ".github/*.md", "assets/docs/*.md", "src/ARCHITECTURE.md", "tests/*.md"]


def headings(page):
    """The anchors that a repository's browser makes of a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_no_link_of_a_page_is_broken():
    pages = [page for pattern in PAGES for page in REPOSITORY.glob(pattern)]
    assert len(pages) > 10
    for page in pages:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for link in LINK.findall(text):
            if "://" in link or "::" in link:
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in headings(target), f"{page.name}: {link}"


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 150


def test_the_readme_leads_from_a_csv_to_a_linkage(tmp_path):
    readme = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    commands = next(block for block in blocks if "entityd generate" in block)
    script = re.sub(r"^export PATH=.*$", 'entityd() { "$BINARY" "$@"; }', commands, flags=re.MULTILINE)
    shell = ["sh", "-eu", "-c", script]
    environment = {**os.environ, "BINARY": str(BINARY)}
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path, env=environment)
    lines = done.stdout.splitlines()
    assert lines[0] == "group,dataset_index,record_index"
    # Half of the thousand people are in both tables; typing errors cost some.
    assert 800 < len(lines) <= 1 + 2 * 500 + 20
