#!/bin/sh
# Installs what boots machines (see image.go), from Debian's packages.
set -eu
missing=
for tool in systemd-nspawn:systemd-container debootstrap:debootstrap ip:iproute2 nft:nftables; do
	command -v "${tool%%:*}" >/dev/null 2>&1 || missing="$missing ${tool#*:}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "make e2e needs$missing; install them (on Debian, as root: apt-get install$missing), and run it as root" >&2
	exit 1
fi
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $missing >/dev/null
