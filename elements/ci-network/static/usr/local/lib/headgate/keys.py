"""Lets whoever may log in to this machine by its config-drive do so as the image's user; glean, which mounts it, has let them in as root.

Keys are those of the cloud's keypair, and Headgate's own (`headgate_key` of the server's metadata). It runs at every boot, before the SSH
server, in Pythons of any age, without packages.
"""

import json
import os
import pwd
import sys
from pathlib import Path


def keys(meta_data):
    """The keys of a config-drive's meta_data.json, each once."""
    found = [*(meta_data.get("public_keys") or {}).values(), (meta_data.get("meta") or {}).get("headgate_key") or ""]
    return list(dict.fromkeys(key.strip() for key in found if key.strip()))


def admit(home, owner, new):
    """Add what is missing to the authorized keys in `home`, never through a link."""
    directory = home / ".ssh"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(str(directory), *owner, follow_symlinks=False)
    handle = os.open(str(directory / "authorized_keys"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "r+") as file:
        os.fchown(handle, *owner)
        known = file.read()
        missing = [key for key in new if key not in known.splitlines()]
        file.write(("\n" if known and not known.endswith("\n") else "") + "".join(key + "\n" for key in missing))


def main(root="/"):
    top = Path(root)
    user = pwd.getpwnam((top / "etc/ci-image-user").read_text().strip())
    meta_data = json.loads((top / "mnt/config/openstack/latest/meta_data.json").read_text())
    admit(top / user.pw_dir.lstrip("/"), (user.pw_uid, user.pw_gid), keys(meta_data))


if __name__ == "__main__":
    main(*sys.argv[1:])
