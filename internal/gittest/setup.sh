#!/bin/sh
# Installs what the tests of repositories sign and fetch with, from Debian's packages. Where it can't, the tests say what
# they leave out, and fail with CI=true.
set -eu
missing=
for tool in gpg:gnupg ssh-keygen:openssh-client git-lfs:git-lfs; do
	command -v "${tool%%:*}" >/dev/null 2>&1 || missing="$missing ${tool#*:}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "set-up: the tests of signatures and of Git LFS need$missing (on Debian, as root: apt-get install$missing)" >&2
	exit 0
fi
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $missing >/dev/null
