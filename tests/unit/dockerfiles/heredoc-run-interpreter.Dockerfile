FROM python:3
RUN <<EOF python3
import sys
print("on", sys.platform)
EOF
RUN python3 - <<'PY'
print("$not expanded")
PY
RUN <<EOF
#!/usr/bin/env bash
set -euo pipefail
echo "${BASH_VERSION}"
EOF
