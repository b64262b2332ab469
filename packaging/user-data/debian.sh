#!/bin/bash
set -euo pipefail
curl -fsSL --retry 5 --retry-connrefused -o /run/bootagent.deb https://example.com/bootagent.deb
echo "0000000000000000000000000000000000000000000000000000000000000000  /run/bootagent.deb" | sha256sum -c -
apt-get -qq -o DPkg::Lock::Timeout=300 install /run/bootagent.deb
cat >/etc/bootagent/config.yaml <<'END'
{version: 1, app: shop, env: prod, source: {url: 'https://github.com/you/shop.git'}, balancer: {target_groups: [shop-web]}, fleet: {table: bootagent}}
END
systemctl start --no-block bootagent
