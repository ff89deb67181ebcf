FROM a
RUN set -eux; \
    for f in a b c; do \
        if [ -e "$f" ]; then \
            # unusual, but it goes
            echo "$f is there"; \
        fi; \
    done; \
    case "$(uname -m)" in \
        x86_64) arch=amd64 ;; \
        aarch64) arch=arm64 ;; \
        *) exit 1 ;; \
    esac; \
    echo "$arch"
