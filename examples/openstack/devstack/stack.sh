#!/bin/bash
# A small one in place of DevStack's own: it reads local.conf and puts this node into the controller's database.
set -euo pipefail
cd "$(dirname "$0")"

declare -A services
enable_service() { services[$1]=yes; }
disable_service() { services[$1]=; }
source <(grep -v '^\[\[' local.conf)
: "${SERVICE_HOST:?The DevStack configuration is incomplete: no SERVICE_HOST}"

query() { MYSQL_PWD=$DATABASE_PASSWORD mariadb --host "$SERVICE_HOST" --user "$DATABASE_USER" --skip-ssl nova -e "$1"; }

if [ -n "${services[mysql]:-}" ]; then
    MYSQL_PWD=$DATABASE_PASSWORD mariadb --user "$DATABASE_USER" -e "CREATE DATABASE IF NOT EXISTS nova"
    query "CREATE TABLE IF NOT EXISTS compute_nodes (host VARCHAR(64) PRIMARY KEY, nova VARCHAR(40))"
fi
if [ -n "${services[n-cpu]:-}" ]; then
    echo "This node computes for $SERVICE_HOST"
    query "REPLACE INTO compute_nodes VALUES ('$(hostname)', '$(git -C ../nova rev-parse HEAD)')"
fi
