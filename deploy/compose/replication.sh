#!/bin/sh
# Lets the standby server connect to the primary; run once, when the primary's files are made.
set -eu
echo "host replication loom samenet scram-sha-256" >> "$PGDATA/pg_hba.conf"
