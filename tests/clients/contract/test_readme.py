"""The README's example session, word for word."""

import os
import re
import subprocess

from harness.server import BINARY, REPOSITORY


def blocks():
    """The commands that the README gives, block by block."""
    return re.findall(r"```sh\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)


def lines_of(commands, folder, **variables):
    """Runs commands in a folder; returns the lines that they print."""
    script = re.sub(r"^export PATH=.*$", 'entityd() { "$BINARY" "$@"; }', commands, flags=re.MULTILINE)
    environment = {**os.environ, "BINARY": str(BINARY), **variables}
    shell = ["sh", "-eu", "-c", script]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=180, check=True, cwd=folder, env=environment)
    return done.stdout.splitlines()


def test_the_example_session_of_the_readme_gives_its_result(server, tmp_path):
    commands = [next(block for block in blocks() if words in block) for words in ("entityd generate", "entityd project create")]
    lines = lines_of("\n".join(commands), tmp_path, ENTITYD_SERVER=server.origin)
    answer = lines[lines.index("group,dataset,record,id") + 1 :]
    assert 800 < len(answer) <= 2 * 500 + 20
    # The id is the number of the record's line in the CSV.
    for line in answer:
        _, dataset, record, found = line.split(",")
        people = (tmp_path / f"people/party-{dataset}.csv").read_text().splitlines()
        assert people[int(record) + 1].split(",")[0] == found


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
PAGES = ["README.md", ".github/*.md", "assets/docs/*.md", "src/ARCHITECTURE.md", "tests/*.md"]


def headings(page):
    """Returns the anchors that a repository browser makes from a page's headings."""
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
    commands = next(block for block in blocks() if "entityd generate" in block)
    lines = lines_of(commands, tmp_path)
    assert lines[0] == "group,dataset,record"
    # Half of the thousand people are in both tables; some are lost by typing errors.
    assert 800 < len(lines) <= 1 + 2 * 500 + 20


def test_one_command_of_the_readme_links_two_tables(tmp_path):
    first = next(block for block in blocks() if "entityd generate" in block)
    alone = next(block for block in blocks() if block.startswith("entityd link people/"))
    lines = lines_of(f"{first}\necho alone\n{alone}", tmp_path)
    assert 800 < len(lines[lines.index("alone") :]) <= 2 + 2 * 500 + 20
