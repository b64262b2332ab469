#!/bin/sh
# Prints the package version of what git describe says. A commit after a tag must sort after it, one before the
# first tag before every release, and neither kind of package has dashes in its versions:
#
#   v1.4.2                    1.4.2
#   v1.5.0-rc.1               1.5.0~rc.1
#   v1.4.2-3-gabc1234         1.4.2+3.gabc1234
#   abc1234-dirty             0.0.0~abc1234.dirty
set -eu

printf '%s\n' "$1" | sed -E '
	s/^v([0-9])/\1/
	t release
	s/^/0.0.0~/
	b plain
	:release
	s/-([0-9]+-g[0-9a-f]+)(-dirty)?$/+\1\2/
	s/^([0-9.]+)-(alpha|beta|rc)/\1~\2/
	s/^([^+]*)-dirty$/\1+dirty/
	:plain
	s/-/./g'
