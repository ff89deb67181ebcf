#!/bin/sh
# What repo2docker has made before it looks into binder/: the user, and the environment that the
# notebook server runs in. Run as root when the tests' image is built: binder_base.sh PREFIX
#
# The server is an older one than the course's on purpose: Binder's is whatever repo2docker pins.
set -eu
userdel --remove ubuntu 2>/dev/null || true # Ubuntu's images have given it the number 1000
useradd --create-home --uid 1000 --user-group --shell /bin/bash jovyan
python3 -m venv "$1"
"$1/bin/pip" install --no-cache-dir --progress-bar off --quiet 'jupyterlab==4.4.*'
chown -R jovyan:jovyan "$1"
