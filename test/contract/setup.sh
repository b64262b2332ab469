#!/bin/sh
# Makes the Python environment in DIR that the contract tests talk to: a pinned
# moto and the stock AWS CLI. Where it can't be made this says so and succeeds:
# the tests then say what they leave out. In CI nothing is left out.
set -u
dir=$1
here=$(dirname "$0")

give_up() {
	echo "set-up: $1; the contract tests against moto and the AWS CLI are left out" >&2
	rm -rf "$dir"
	[ "${CI:-}" != true ] || exit 1
	exit 0
}

command -v python3 >/dev/null 2>&1 || give_up "there is no python3"
rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
python3 -m venv "$dir" >&2 || give_up "python3 -m venv failed (on Debian: apt install python3-venv)"
"$dir/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2 ||
	give_up "pip could not install $here/requirements.txt"
touch "$dir/ready"
