#!/bin/bash
set -euo pipefail
curl -fsSL --retry 5 --retry-connrefused -o /run/bootagent.rpm https://example.com/bootagent.rpm
echo "0000000000000000000000000000000000000000000000000000000000000000  /run/bootagent.rpm" | sha256sum -c -
dnf install -qy /run/bootagent.rpm
cat >/etc/bootagent/config.yaml <<'END'
{version: 1, app: shop, env: prod, source: {url: 'https://github.com/you/shop.git'}, balancer: {target_groups: [shop-web]}, fleet: {table: bootagent}}
END
systemctl start --no-block bootagent
