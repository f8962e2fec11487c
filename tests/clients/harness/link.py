"""A link to a network namespace that delays and drops packets, between two TUN devices. It works without netem."""

import contextlib
import fcntl
import heapq
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time

import pytest

TUNSETIFF, TUN_WITHOUT_HEADER = 0x400454CA, 0x1001
MTU = 1_500


def run(*words):
    subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)


def is_possible():
    return os.geteuid() == 0 and os.access("/dev/net/tun", os.W_OK) and shutil.which("ip") is not None


needs_links = pytest.mark.skipif(not is_possible(), reason="network namespaces and TUN devices need root")


class Link(contextlib.AbstractContextManager):
    """Connects the address `inside` in a namespace `name` with `outside` on this machine. A thread forwards packets."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        tag = f"{os.getpid() % 100_000:05}"
        self.name = f"entityd-{tag}"
        self.devices = [f"ent{tag}a", f"ent{tag}b"]
        net = f"10.{self.random.randrange(64, 128)}.{self.random.randrange(256)}"
        self.outside, self.inside = f"{net}.1", f"{net}.2"
        self.delay_s, self.loss, self.lost, self.forwarded = 0.0, 0.0, 0, 0
        self.is_over = threading.Event()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            run("ip", "netns", "add", self.name)
            stack.callback(run, "ip", "netns", "del", self.name)
            self.ends = [self._device(stack, name) for name in self.devices]
            run("ip", "link", "set", self.devices[1], "netns", self.name)
            within = ("ip", "-n", self.name)
            for prefix, device, address, peer in [
                (("ip",), self.devices[0], self.outside, self.inside),
                (within, self.devices[1], self.inside, self.outside),
            ]:
                run(*prefix, "addr", "add", address, "peer", peer, "dev", device)
                run(*prefix, "link", "set", device, "mtu", MTU, "up")
            run(*within, "link", "set", "lo", "up")
            forwarder = threading.Thread(target=self._forward, daemon=True)
            forwarder.start()
            stack.callback(forwarder.join)
            stack.callback(self.is_over.set)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *details):
        return self.stack.__exit__(*details)

    def command(self):
        """Returns the words that start a program in the namespace."""
        return ["ip", "netns", "exec", self.name]

    def set(self, delay_s=0.0, loss=0.0):
        """Sets the delay and the share of lost packets, in each direction."""
        self.delay_s, self.loss = delay_s, loss

    def _device(self, stack, name):
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        stack.callback(os.close, end)
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), TUN_WITHOUT_HEADER))
        return end

    def _forward(self):
        waiting, number = [], 0
        while not self.is_over.is_set():
            pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.2
            ready, _, _ = select.select(self.ends, [], [], min(pause, 0.2))
            for end in ready:
                with contextlib.suppress(OSError):
                    packet = os.read(end, 2 * MTU)
                    if self.random.random() < self.loss:
                        self.lost += 1
                        continue
                    number += 1
                    other = self.ends[1 - self.ends.index(end)]
                    heapq.heappush(waiting, (time.monotonic() + self.delay_s, number, other, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, other, packet = heapq.heappop(waiting)
                self.forwarded += 1
                # If the queue of the device is full, the packet is dropped.
                with contextlib.suppress(OSError):
                    os.write(other, packet)
