FROM a
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN curl -s x | tar x
SHELL ["cmd", "/S", "/C"]
RUN dir
