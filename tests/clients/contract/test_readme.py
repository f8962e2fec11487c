"""The README's conversation, word for word."""

import json
import re
import subprocess

from harness.server import REPOSITORY


def test_the_conversation_of_the_readme_leads_to_its_result(server):
    readme = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    conversation = next(block for block in blocks if "curl" in block)
    promised = re.search(r"The last answer is `(.*?)`", readme, re.DOTALL)[1]
    script = conversation.replace("http://127.0.0.1:8851", server.origin).replace("\ncurl", "\necho\ncurl")
    done = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    answers = [line for line in done.stdout.splitlines() if line.strip()]
    assert json.loads(answers[-1]) == json.loads(promised)
    assert "completed" in done.stdout
