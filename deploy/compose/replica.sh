#!/bin/sh
# Begins a standby server of PostgreSQL as a copy of the primary, once, and then runs it.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  until PGPASSWORD="$(cat /run/secrets/postgres)" pg_basebackup --host primary --username loom --pgdata "$PGDATA" \
    --write-recovery-conf --checkpoint fast --dbname "application_name=replica"; do
    rm -rf "${PGDATA:?}"/* && sleep 2
  done
  chmod 0700 "$PGDATA"
fi
# The copy has the setting of the primary: once promoted, it would wait for a standby server that is not there.
exec postgres -c synchronous_standby_names=
