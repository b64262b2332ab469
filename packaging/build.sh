#!/bin/sh
# Builds static binaries and their packages, .deb and .rpm, into dist/, with SHA256SUMS of all of them.
#
#   packaging/build.sh VERSION [ARCH …]     VERSION as git describe says it; ARCH amd64 and arm64 unless told
#
# GO and NFPM name the tools. The same commit gives the same bytes: its time is the time of all that is in them.
set -eu
cd "$(dirname "$0")/.."

version=$1
shift
[ $# -gt 0 ] || set -- amd64 arm64

PACKAGE_VERSION=$(sh packaging/version.sh "$version")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export PACKAGE_VERSION SOURCE_DATE_EPOCH

rm -rf dist
for ARCH in "$@"; do
	BINARY=dist/bootagent_linux_$ARCH
	export ARCH BINARY
	CGO_ENABLED=0 GOOS=linux GOARCH=$ARCH ${GO:-go} build -trimpath -ldflags "-s -w -X main.version=$version" -o "$BINARY" ./cmd/bootagent
	for packager in deb rpm; do
		"${NFPM:-nfpm}" package --config packaging/nfpm.yaml --packager "$packager" --target dist/
	done
done
cd dist
sha256sum bootagent* >SHA256SUMS
cat SHA256SUMS
