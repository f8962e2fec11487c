"""Locates the binary, the Python packages and the data of the benchmarks. Packages and data are made once and kept
in the target directory."""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = Path(os.environ.get("BINARY", TARGET / "release/entityd"))
ENCODING_BYTES = 128


def python():
    """Returns a Python interpreter with anonlink and clkhash, in the versions that the tests use."""
    folder = TARGET / "bench-venv"
    interpreter = folder / "bin/python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                        "--constraint", ROOT / "tests/clients/requirements.txt", "anonlink", "clkhash"],
                       check=True)
        (folder / "ready").touch()
    return interpreter


def people(records):
    """Returns the paths of two files with `records` encodings each."""
    folder = TARGET / "bench-data"
    paths = [folder / f"people-{records}-{side}.bin" for side in ("left", "right")]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        parts = [path.with_suffix(".part") for path in paths]
        print(f"encoding 2 x {records:,} people", file=sys.stderr)
        subprocess.run([python(), Path(__file__).with_name("people.py"), str(records), "1", *parts], check=True)
        for part, path in zip(parts, paths):
            part.rename(path)
    return paths


def machine():
    """Describes the machine, on which the figures depend."""
    cpu = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        cpu.setdefault(key.strip(), value.strip())
    wanted = ("popcnt", "avx2", "avx512f", "avx512bw", "avx512_vpopcntdq", "avx512_vnni", "amx_int8", "asimd")
    flags = cpu.get("flags", cpu.get("Features", "")).split()
    return {"cpu": cpu.get("model name", os.uname().machine), "cores": os.cpu_count(),
            "flags": [flag for flag in wanted if flag in flags], "load": round(os.getloadavg()[0], 2)}
