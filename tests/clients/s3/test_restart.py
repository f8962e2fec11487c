"""The content of buckets outlives the process, and is not deleted because its index is lost."""

import subprocess

from harness.server import BINARY, Server


def kill(server):
    server.process.kill()
    server.process.wait()


def test_parts_outlive_the_process_and_a_lost_index_deletes_no_file(tmp_path, client_of):
    server = Server(tmp_path)
    server.__enter__()
    s3 = client_of(server)
    s3.create_bucket(Bucket="box")
    s3.put_object(Bucket="box", Key="whole", Body=bytes(100_000))
    where = {"Bucket": "box", "Key": "parts"}
    where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
    last = s3.upload_part(**where, PartNumber=2, Body=b"end")["ETag"]
    kill(server)

    index, kept = server.data / "buckets.db", tmp_path / "kept"
    kept.mkdir()
    for path in server.data.glob("buckets.db*"):
        path.rename(kept / path.name)
    for _ in range(2):
        command = [BINARY, "serve", "--data-dir", server.data, "--listen", "127.0.0.1:0"]
        command += ["--s3-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=120, env=server.environment)
        assert refused.returncode != 0
        sentence = refused.stderr.strip().splitlines()[-1]
        assert "buckets.db" in sentence and "from one backup" in sentence, sentence
        assert not index.exists()
    for path in kept.iterdir():
        path.rename(server.data / path.name)

    with server:
        s3 = client_of(server)
        assert s3.get_object(Bucket="box", Key="whole")["Body"].read() == bytes(100_000)
        first = s3.upload_part(**where, PartNumber=1, Body=bytes(5 << 20))["ETag"]
        parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": last}]
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        assert s3.get_object(Bucket="box", Key="parts")["Body"].read() == bytes(5 << 20) + b"end"
