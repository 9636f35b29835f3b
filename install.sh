#!/usr/bin/env bash
# Installs what Headgate needs: system programs (by apt-get where that is possible, else it says which) and the Python environment in .venv.
#   ./install.sh          to run it: git, bubblewrap, ssh
#   ./install.sh --test   to test it: also what builds and boots images, sshd, Java and Maven (for a real Gerrit), Chromium
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3}

declare -A package=([git]=git [bwrap]=bubblewrap [ssh]=openssh-client [ssh-agent]=openssh-client)
if [ "${1:-}" = --test ]; then
  package+=([rsync]=rsync [mmdebstrap]=mmdebstrap [nft]=nftables [debootstrap]=debootstrap [qemu-img]=qemu-utils [qemu-system-x86_64]=qemu-system-x86 [genisoimage]=genisoimage [kpartx]=kpartx [sfdisk]=fdisk [cpio]=cpio)
  package+=([pasta]=passt [ip]=iproute2 [sshd]=openssh-server [java]=openjdk-17-jdk-headless [javac]=openjdk-17-jdk-headless [mvn]=maven [chromium]=chromium)
fi
PATH=$PATH:/usr/sbin:/sbin
missing=()
for program in "${!package[@]}"; do
  command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
if [ "${1:-}" = --test ] && [ "$(id -u)" = 0 ] && { ! command -v libvirtd || [ ! -e /usr/lib/python3/dist-packages/libvirt.py ]; } >/dev/null; then
  missing+=(libvirt-daemon-system libvirt-daemon-driver-qemu python3-libvirt)  # a region with real guests; others' tests do without
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Headgate needs Python 3.11 or newer; $python is older. Set PYTHON=..." >&2; exit 1; }
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}"; } >/tmp/headgate-apt.log 2>&1 ||
      { tail -5 /tmp/headgate-apt.log >&2; echo "apt-get could not install ${missing[*]}." >&2; exit 1; }
  else
    echo "Please install first: ${missing[*]}   (on Debian or Ubuntu: sudo apt-get install ${missing[*]})" >&2
    exit 1
  fi
fi

stamp=.venv/.installed
if [ ! -f "$stamp" ] || [ requirements.lock -nt "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
  echo "installing the Python environment in .venv"
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip -q
  .venv/bin/python -m pip install -q --disable-pip-version-check uv
  .venv/bin/python -m uv pip install -q --python .venv/bin/python -r requirements.lock
  .venv/bin/python -m uv pip install -q --python .venv/bin/python --no-deps -e .
  touch "$stamp"
fi
