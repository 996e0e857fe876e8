#!/bin/sh
# Lets the standby server connect to the primary, and has commits wait for it; run once, when the primary's files are made.
# As an option of the command, synchronous_standby_names would hold for the making of the database, too: no one answers then.
set -eu
echo "host replication loom samenet scram-sha-256" >> "$PGDATA/pg_hba.conf"
echo "synchronous_standby_names = 'replica'" >> "$PGDATA/postgresql.conf"
