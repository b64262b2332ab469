#!/bin/sh
# Fetches what the examples in Node and Python depend on into DIR, so that the
# tests that deploy them stay on loopback: DIR/npm is a cache of npm's, DIR/wheels
# has Python's. Where they can't be had this says so and succeeds: the tests then
# say what they leave out. In CI nothing is left out.
set -u
dir=$1
examples=$(cd "$(dirname "$0")/../../examples" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

give_up() {
	echo "set-up: $1; the test that deploys $2 is left out" >&2
	[ "${CI:-}" != true ] || exit 1
}

rm -rf "$dir"
mkdir -p "$dir" || exit 1
dir=$(cd "$dir" && pwd)

if ! command -v npm >/dev/null 2>&1; then
	give_up "there is no npm" examples/node
elif ! cp "$examples/node/package.json" "$examples/node/package-lock.json" "$work" ||
	! npm ci --prefix "$work" --cache "$dir/npm" --no-audit --no-fund --no-update-notifier --loglevel=error >&2; then
	rm -rf "$dir/npm"
	give_up "npm could not install what examples/node/package-lock.json names" examples/node
fi

# 22.3 is the first that the example can use.
if ! python3 -m pip --python "$(command -v python3)" --version >/dev/null 2>&1; then
	give_up "there is no Python with pip 22.3 or later (on Debian: apt install python3-pip python3-venv)" examples/python
elif ! python3 -m pip download --quiet --disable-pip-version-check --only-binary=:all: --require-hashes \
	-r "$examples/python/requirements.txt" -d "$dir/wheels" >&2; then
	rm -rf "$dir/wheels"
	give_up "pip could not fetch what examples/python/requirements.txt names" examples/python
fi
touch "$dir/ready"
