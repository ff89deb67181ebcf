#!/bin/sh
# Runs the command; a first word that is no command is taken for a script of Node's.
set -e
if [ "${1#-}" != "$1" ] || ! command -v "$1" >/dev/null 2>&1; then
  set -- node "$@"
fi
exec "$@"
