FROM a
HEALTHCHECK NONE
HEALTHCHECK CMD true
HEALTHCHECK --interval=5m --timeout=3s --start-period=1m --start-interval=2s --retries=2 CMD curl -f http://localhost/ || exit 1
HEALTHCHECK --interval=30s \
  # every half minute
  --timeout=1s \
  CMD ["/probe"]
healthcheck cmd  two  gaps
