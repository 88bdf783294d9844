"""Code that tries to get out of a sandbox just started: what it may do there after all, in words."""

from typing import Final

__all__ = ["CANARY", "HELD"]

HELD: Final = "held"

# Runs inside. Each attempt has to fail, whatever the machine allows.
CANARY: Final = f"""
import ctypes, errno, os, socket

libc = ctypes.CDLL(None, use_errno=True)
broken = []

def must_fail(what, attempt):
    try:
        attempt()
    except OSError:
        return
    broken.append(what)

def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

def routed(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # sends nothing

def written(folder):
    os.close(os.open(folder + "/canary", os.O_WRONLY | os.O_CREAT))

must_fail("it has a way to the network", lambda: routed(socket.AF_INET, "192.0.2.1"))
must_fail("it has a way to the network", lambda: routed(socket.AF_INET6, "2001:db8::1"))
must_fail("it talks to the kernel's network", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
for folder in ("/", "/usr", "/opt", "/opt/venv", "/dev", "/etc"):
    must_fail("it writes " + folder, lambda: written(folder))
must_fail("it becomes root", lambda: os.setuid(0))
must_fail("it makes namespaces", lambda: call("unshare", 0x10000000))
must_fail("it mounts", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
must_fail("it traces processes", lambda: call("ptrace", 16, 1, 0, 0))
must_fail("it sees the machine's files", lambda: os.stat("/etc/passwd"))
must_fail("it signals the machine's processes", lambda: os.kill({{pid}}, 0))
if os.getuid() == 0:
    broken.append("it is root")
written("/mnt/data")
os.unlink("/mnt/data/canary")
print(", ".join(broken) or "{HELD}")
"""
