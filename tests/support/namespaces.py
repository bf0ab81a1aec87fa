"""Network namespaces of a test's own: each a machine with interfaces, addresses and a packet filter, held by a process."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


def missing() -> str:
    """What keeps this machine from having them; "" for nothing."""
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program, path=PATH) is None:
            return f"needs {program}"
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "network namespaces can't be made here"


PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Namespace:
    """One of them, with loopback up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo up; exec sleep 600"], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self.ip("link", "set", "lo", "up")

    @property
    def pid(self) -> int:
        return self._holder.pid

    def inside(self, *argv: str) -> list[str]:
        """The command line that runs `argv` there."""
        return ["nsenter", "--net", "--target", str(self.pid), *argv]

    def run(self, *argv: str, given: str = "") -> str:
        done = subprocess.run(self.inside(*argv), capture_output=True, text=True, input=given, check=False)
        assert done.returncode == 0, f"{self.name}: {' '.join(argv)}: {done.stderr or done.stdout}"
        return done.stdout

    def ip(self, *words: str) -> None:
        self.run("ip", *words)

    def join(
        self, name: str, addresses: Sequence[str], other: "Namespace", other_name: str, others: Sequence[str]
    ) -> None:
        """A cable between two of them: an interface in each, with its addresses (IPv6 at once usable)."""
        self.ip("link", "add", name, "type", "veth", "peer", "name", other_name, "netns", str(other.pid))
        for namespace, interface, given in ((self, name, addresses), (other, other_name, others)):
            for address in given:
                namespace.ip("address", "add", address, "dev", interface, *(["nodad"] if ":" in address else []))
            namespace.ip("link", "set", interface, "up")

    def forwards(self) -> None:
        self.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")

    def serve(self, port: int, folder: Path) -> subprocess.Popen[bytes]:
        """A TCP server on all addresses that greets each client with this namespace's name."""
        script = (
            "import socket, sys, threading\n"
            "server = socket.create_server(('::', int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)\n"
            "print('up', flush=True)\n"
            "while True:\n"
            "    client, _ = server.accept()\n"
            "    client.sendall(sys.argv[2].encode())\n"
            "    threading.Thread(target=client.recv, args=(1,), daemon=True).start()\n"
            "    kept = globals().setdefault('kept', []); kept.append(client)\n"
        )
        process = subprocess.Popen(
            self.inside("python3", "-c", script, str(port), self.name), stdout=subprocess.PIPE, cwd=folder
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        return process

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()
