"""A FUSE file system that shows a folder. Reads of files that a test names fail with EIO."""

import contextlib
import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MOUNTED_S = 60


@contextlib.contextmanager
def mounted(source, target, control):
    """Mounts `source` at `target`. Reads of a file fail while its path contains a line of the file `control`."""
    for folder in (source, target):
        folder.mkdir(parents=True, exist_ok=True)
    control.write_text("")
    command = [sys.executable, __file__, str(source), str(target), str(control)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + MOUNTED_S
            while not os.path.ismount(target):
                assert process.poll() is None and time.monotonic() < deadline, "the file system is not mounted"
                time.sleep(0.02)
            yield
        finally:
            subprocess.run(["umount", "-l", str(target)], check=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(MOUNTED_S)
            process.kill()


def serve(source, target, control):
    import mfusepy

    class Passthrough(mfusepy.Operations):
        """Forwards the operations on the mount to a folder."""

        use_ns = True

        def _at(self, path):
            return os.path.join(source, path.lstrip("/"))

        def getattr(self, path, fh=None):
            found = os.lstat(self._at(path))
            names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino", "st_blocks")
            times = {f"st_{name}time": getattr(found, f"st_{name}time_ns") for name in "acm"}
            return {**{name: getattr(found, name) for name in names}, **times}

        def readdir(self, path, fh):
            return [".", "..", *os.listdir(self._at(path))]

        def open(self, path, flags):
            return os.open(self._at(path), flags)

        def create(self, path, mode, fi=None):
            return os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

        def read(self, path, size, offset, fh):
            if any(name and name in path for name in Path(control).read_text().splitlines()):
                raise mfusepy.FuseOSError(errno.EIO)
            return os.pread(fh, size, offset)

        def write(self, path, data, offset, fh):
            return os.pwrite(fh, data, offset)

        def truncate(self, path, length, fh=None):
            os.truncate(self._at(path), length)

        def fsync(self, path, datasync, fh):
            os.fsync(fh)

        def fsyncdir(self, path, datasync, fh):
            pass

        def flush(self, path, fh):
            pass

        def release(self, path, fh):
            os.close(fh)

        def mkdir(self, path, mode):
            os.mkdir(self._at(path), mode)

        def rmdir(self, path):
            os.rmdir(self._at(path))

        def unlink(self, path):
            os.unlink(self._at(path))

        def rename(self, old, new, flags=0):
            os.rename(self._at(old), self._at(new))

        def link(self, new, old):
            os.link(self._at(old), self._at(new))

        def chmod(self, path, mode):
            os.chmod(self._at(path), mode)

        def chown(self, path, uid, gid):
            os.chown(self._at(path), uid, gid)

        def utimens(self, path, times=None):
            os.utime(self._at(path), ns=times)

        def statfs(self, path):
            found = os.statvfs(self._at(path))
            return {name: getattr(found, name) for name in dir(found) if name.startswith("f_") and name != "f_fsid"}

    # The kernel ends this process when the parent process ends in any way.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    mfusepy.FUSE(Passthrough(), target, foreground=True, nothreads=True, default_permissions=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
