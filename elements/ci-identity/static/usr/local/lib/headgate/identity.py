"""Gives this machine its identity, as whoever started it says: host name, machine id, SSH host key, the user's key, randomness, time.

Headgate's driver `qemu` saves a machine that has booted and starts others from it, each of them a clone until it has been told who it is.
It is told on a serial port that only QEMU's process has the other end of, in lines of JSON, each answered by two lines: `{"begun": true}`,
then `{"done": true}` or `{"failed": "why"}`.

`prepare`: wait for the end of the boot, then stop and forget what knows who this machine is; it is saved next.
`become`: be the machine that the order describes. `clock`: the time, and the end of this program.

Only the standard library. It starts no program but what it must: programs start slowly on an emulated processor.
"""

import ctypes
import fcntl
import glob
import json
import os
import pwd
import socket
import struct
import subprocess
import time

PORT = "/dev/virtio-ports/org.headgate.identity"
ADD_ENTROPY, RESEED = 0x40085203, 0x5207
SET_FLAGS, SET_ADDRESS, SET_NETMASK, SET_HARDWARE_ADDRESS = 0x8914, 0x8916, 0x891C, 0x8924
UP, ETHERNET, BIND = 0x1, 1, 4096
SSH_UNITS = ("ssh.socket", "sshd.socket", "ssh.service", "sshd.service")
BOOT_SECONDS = 900
NOBODY_CONNECTED_SECONDS = 0.02
"""Until the port is read again: while nobody has its other end, reading it ends at once."""


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def systemctl(*words):
    return run("systemctl", *words)


def write(path, text, mode=0o644, owner=(0, 0)):
    """In place, and never through a link."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    os.write(handle, text.encode())
    os.fchmod(handle, mode)
    os.fchown(handle, *owner)
    os.close(handle)


def ssh_units():
    """Those of this system that are active, its service if none is."""
    known = [unit for unit in SSH_UNITS if glob.glob(f"/*/systemd/system/{unit}") or glob.glob(f"/usr/lib/systemd/system/{unit}")]
    states = systemctl("is-active", *known).stdout.split()
    active = [unit for unit, state in zip(known, states) if state in ("active", "activating")]
    return active or [unit for unit in known if unit.endswith(".service")][:1]


def forget_host_keys():
    for path in glob.glob("/etc/ssh/ssh_host_*"):
        os.unlink(path)


class Machine:
    def __init__(self):
        self.ssh_units = None

    def prepare(self):
        deadline = time.monotonic() + BOOT_SECONDS
        while systemctl("is-system-running", "--wait").stdout.strip() in ("initializing", "starting", "offline"):
            if time.monotonic() > deadline:
                raise OSError(f"the boot did not end in {BOOT_SECONDS} s")
            time.sleep(1)
        self.ssh_units = ssh_units()
        systemctl("stop", *self.ssh_units)
        systemctl("reset-failed")  # without host keys the server may have failed too often to be started again
        forget_host_keys()
        if os.path.exists("/var/lib/systemd/random-seed"):
            os.unlink("/var/lib/systemd/random-seed")
        os.sync()
        with open("/proc/sys/vm/drop_caches", "w") as caches:
            caches.write("3")

    def become(self, entropy, hostname, machine_id, boot_id, interfaces, host_key, host_key_public, username, public_key):
        self.reseed(bytes.fromhex(entropy))
        self.take_name(hostname)
        self.take_ids(machine_id, boot_id)
        for interface in interfaces:
            self.connect(**interface)
        if self.ssh_units is None:
            self.ssh_units = ssh_units()
            systemctl("stop", *self.ssh_units)
        forget_host_keys()
        write("/etc/ssh/ssh_host_ed25519_key", host_key, 0o600)
        write("/etc/ssh/ssh_host_ed25519_key.pub", host_key_public + "\n")
        self.admit(username, public_key)
        started = systemctl("start", *self.ssh_units)
        if started.returncode and systemctl("reset-failed", *self.ssh_units).returncode == 0:
            started = systemctl("start", *self.ssh_units)
        if started.returncode:
            raise OSError(f"the SSH server does not start: {run('/usr/sbin/sshd', '-t').stdout.strip() or started.stdout.strip()}")

    def clock(self, seconds):
        time.clock_settime(time.CLOCK_REALTIME, seconds)
        os.sync()  # who falls over right after that is still the same machine

    def reseed(self, entropy):
        with open("/dev/urandom", "wb") as pool:
            fcntl.ioctl(pool, ADD_ENTROPY, struct.pack("ii", len(entropy) * 8, len(entropy)) + entropy)
            fcntl.ioctl(pool, RESEED)

    def take_name(self, hostname):
        old = socket.gethostname()
        socket.sethostname(hostname)
        write("/etc/hostname", hostname + "\n")
        kept = []
        if os.path.exists("/etc/hosts"):
            with open("/etc/hosts") as file:
                kept = [line for line in file.read().splitlines() if old not in line.split()[1:] or "localhost" in line]
        write("/etc/hosts", "\n".join([*kept, f"127.0.1.1 {hostname}", ""]))

    def take_ids(self, machine_id, boot_id):
        write("/etc/machine-id", machine_id + "\n", 0o444)
        if os.path.exists("/var/lib/dbus/machine-id") and not os.path.islink("/var/lib/dbus/machine-id"):
            write("/var/lib/dbus/machine-id", machine_id + "\n", 0o444)
        write("/run/headgate-boot-id", boot_id + "\n", 0o444)
        ctypes.CDLL(None).mount(b"/run/headgate-boot-id", b"/proc/sys/kernel/random/boot_id", None, BIND, None)

    def connect(self, old_mac, mac, address, netmask):
        """The interface that has one of the hardware addresses gets `mac` and the address."""
        for path in glob.glob("/sys/class/net/*/address"):
            with open(path) as file:
                if file.read().strip() in (old_mac, mac):
                    break
        else:
            raise OSError(f"no interface has the address {old_mac}")
        name = path.split("/")[4].encode()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, SET_FLAGS, struct.pack("16sh", name, 0))
            hardware = struct.pack("16sH6s8x", name, ETHERNET, bytes.fromhex(mac.replace(":", "")))
            fcntl.ioctl(control, SET_HARDWARE_ADDRESS, hardware)
            for request, value in ((SET_ADDRESS, address), (SET_NETMASK, netmask)):
                fcntl.ioctl(control, request, struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(value)))
            fcntl.ioctl(control, SET_FLAGS, struct.pack("16sh", name, UP))

    def admit(self, username, public_key):
        user = pwd.getpwnam(username)
        owner = (user.pw_uid, user.pw_gid)
        directory = f"{user.pw_dir}/.ssh"
        os.makedirs(directory, 0o700, exist_ok=True)
        os.chown(directory, *owner)
        write(f"{directory}/authorized_keys", public_key + "\n", 0o600, owner)


def lines(port):
    text = b""
    while True:
        piece = os.read(port, 65536)
        if not piece:
            text = b""
            time.sleep(NOBODY_CONNECTED_SECONDS)
            continue
        *whole, text = (text + piece).split(b"\n")
        yield from whole


def say(port, what):
    os.write(port, json.dumps(what).encode() + b"\n")


def ready():
    """Tell systemd, so that an SSH server which answers says that this program takes orders."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))


def main():
    port = os.open(PORT, os.O_RDWR)
    machine = Machine()
    ready()
    orders = {"prepare": machine.prepare, "become": machine.become, "clock": machine.clock}
    for line in lines(port):
        say(port, {"begun": True})
        said = {"done": True}
        try:
            order = json.loads(line)
            what = order.pop("do")
            orders[what](**order)
        except (KeyError, TypeError, ValueError, OSError) as problem:
            said = {"failed": str(problem) or type(problem).__name__}
        say(port, said)
        if what == "clock":
            # the journal is kept by machine id, and its daemon still has the old one
            systemctl("--no-block", "restart", "systemd-journald.service")
            return


if __name__ == "__main__":
    main()
