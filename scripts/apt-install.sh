#!/bin/sh
# Installs Debian packages without letting any of them start a service. Run as root: apt-install.sh PACKAGE...
set -eu

# Debian's maintainer scripts ask this program before they start anything; 101 forbids it.
policy=/usr/sbin/policy-rc.d
saved=$policy.before-stentor
mark='Put here by scripts/apt-install.sh of Stentor while it installs'

restore() {
    if [ -e "$saved" ]; then mv -f "$saved" "$policy"; else rm -f "$policy"; fi
}

# One at a time, or the first to end would lift the ban while another installs.
exec 9>/var/lock/stentor-apt-install
flock 9

# One that is already ours was left by a run that was killed.
if [ -e "$policy" ] && ! grep -q "$mark" "$policy"; then mv -f "$policy" "$saved"; fi
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
printf '#!/bin/sh\n# %s.\nexit 101\n' "$mark" >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
apt() { apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" 9>&- </dev/null; }
apt update || echo 'warning: the package lists could not all be refreshed' >&2
apt install -y --no-install-recommends "$@"
