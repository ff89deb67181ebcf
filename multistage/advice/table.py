"""The table of advice, in the order in which it is tried: what is more special comes first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advice:
    """One kind of message.

    ``means`` and ``mend`` may name the pattern's groups in braces; a group whose name ends in
    ``_`` is another place for the same.

    Attributes:
        name: identifies it, for tests and statistics.
        means: one plain sentence: what has happened.
        mend: what to do.
        message: a pattern for the engine's message.
        log: a pattern for one line of what the step wrote.
        step: a pattern that the step's name must hold too.
        exit_codes: with which the command has ended; empty for any.
        machine: whether the fault is the machine's, not the Dockerfile's.
    """

    name: str
    means: str
    mend: str
    message: str = ""
    log: str = ""
    step: str = ""
    exit_codes: tuple[int, ...] = ()
    machine: bool = False


_SHELL = r"^/bin/(?:ba|da|a)?sh: (?:line )?(?:\d+: )?"
_NPM = r"^npm (?:ERR!|error) "
_MISSING = (
    r'"(?P<path>/[^"]*)":? not found'
    r"|(?:^|: )failed to walk (?:.*?(?:mount\d+|/merged))?(?P<walked>/\S*): "
    r"|COPY failed: .*stat (?P<stat>[^:]+): file does not exist"
    r"|^(?P<own>.+) is not there to be copied\.$"
)
# Below these folders lies what a base image brings, or a step installs.
_SYSTEM = r"(?:usr/(?!src/|app/)|etc/|lib/|var/(?!www/)|opt/)"
_MISSING_IN_SYSTEM = (
    rf'"/{_SYSTEM}[^"]*":? not found'
    rf"|(?:^|: )failed to walk .*?(?:mount\d+|/merged)/{_SYSTEM}\S*: "
    rf"|(?:^|: )failed to walk (?!.*(?:mount\d|/merged))/{_SYSTEM}\S*: "  # as it is told
    rf"|COPY failed: .*stat /?{_SYSTEM}[^:]+: file does not exist"
    rf"|(?:^|: )/{_SYSTEM}[^:]* is not there to be copied\.$"
)
_EXEC = r"^(?:runc run failed: .*: )?exec:? "
_GO = r"^(?:go: |\S+\.go:\d+:\d+: ).*: "
_TOOLS = r"npm|npx|node|yarn|pnpm|go|gofmt|gcc|cc|make|git|python3?|pip3?|mvn|java|cargo"
_UNREACHABLE = (
    "network is unreachable|no such host|connection refused|i/o timeout|server misbehaving"
    "|connection reset by peer|no route to host"
)
_CERTIFICATES = (
    "SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_VERIFY_LEAF_SIGNATURE"
    "|UNABLE_TO_GET_ISSUER_CERT(?:_LOCALLY)?"
)
_COMMENT = "Docker takes a # behind an instruction for one more argument, not for a comment."
_OWN_LINE = "Put the comment on a line of its own."
_NETWORK = "Check the network, and the proxy if there is one, then build again."

TABLE = (
    # -- the Dockerfile --
    Advice(
        "comment", _COMMENT, _OWN_LINE,
        message=f"{_MISSING}|destination must be a directory", step=r"\] (?:COPY|ADD) .*\s#",
    ),
    Advice(
        "comment", _COMMENT, _OWN_LINE,
        message=r"[Ii]nvalid (?:containerPort|proto): \S*#|EXPOSE: # is no port"
        r"|can't find = in \"#|^(?:ENV|LABEL): #\S* has no = sign|unable to find user .*\s#",
    ),
    Advice(
        "comment", "FROM has more behind it than an image and a name.",
        "Write FROM <base image> AS <stage>; a comment goes on a line of its own.",
        message="FROM requires either one or three arguments",
    ),
    Advice(
        "not-in-base",
        "That stage has no such path: its base image does not bring it, and no step makes it.",
        "Look into the stage for where it keeps this, or install it there first.",
        message=_MISSING_IN_SYSTEM, step=r"] (?:COPY|ADD) .*--from",
    ),
    Advice(
        "source-not-in-stage", "COPY --from did not find its source in that stage.",
        "Write the path as it is there, from the stage's root on; the WORKDIR of that stage does "
        "not count. Look at where the builder stage puts the artifact.",
        message=_MISSING, step="--from",
    ),
    Advice(
        "source-not-in-context", "COPY did not find its source in the build context.",
        "Check the path: it starts at the build context, and .dockerignore must not name it. "
        "To take it from a stage, write COPY --from=<stage>.",
        message=_MISSING,
    ),
    Advice(
        "stage-order", "A stage takes from itself, or two of the same name from each other.",
        "Give every stage a name of its own (capitals do not count), and take from stages above.",
        message=r"circular dependency detected on stage",
    ),
    Advice(
        "stage-order", "COPY --from names no stage that is above it.",
        "Stages take from stages above them: check the name, or change the order.",
        message=r"invalid from flag value|invalid stage index"
        r"|A stage cannot take from",
    ),
    Advice(
        "misspelt", "The builder does not know this name.", "Did you mean {near}?",
        message=r"\(did you mean (?P<near>[^?]+)\?\)",
    ),
    Advice(
        "here-document", "This builder is too old for here-documents (<<EOF).",
        "Join the commands with && and a backslash at the end of each line, or install "
        "docker buildx.",
        message=r"knows no here-documents",
    ),
    Advice(
        "unknown-instruction", "{word} is not a Dockerfile instruction.",
        "Check the spelling. If the line belongs to the one above, that one must end in a "
        "backslash; here-documents (<<EOF) need BuildKit.",
        message=r"unknown instruction: (?P<word>\S+)",
    ),
    Advice(
        "flag-too-new", "This builder is too old for {option}, or the flag is misspelt.",
        "Check the spelling; else let it fetch a newer Dockerfile syntax by a first line of "
        "# syntax=docker/dockerfile:1",
        message=r"[Uu]nknown flag: (?P<option>[\w-]+)",
    ),
    Advice(
        "needs-buildkit", "The classic builder knows no {option}.",
        "Install docker buildx 0.13 or newer, or do without it.",
        message=r"the (?P<option>--\w+) option requires BuildKit",
    ),
    Advice(
        "secret", "The build asks for the secret {id}, and was not given it.",
        "Build with --secret id={id},src=<file>.",
        message=r"^secret (?P<id>\S+?)(?: not found)?: not found"
        r"|The secret (?P<id_>\S+) is required and not given",
    ),
    Advice(
        "owner", "This stage has no user or group of that name.",
        "An image without /etc/passwd knows no names: use numbers, as in 65532:65532.",
        message=r"invalid (?:user|group) index|unable to find (?:user|group)|can't find [ug]id for",
    ),
    Advice(
        "empty-image", "The final image holds nothing: no instruction puts a file into it.",
        "Copy the artifact into the last stage: COPY --from=<stage> <path there> <path here>",
        message=r"empty export - not implemented",
    ),
    # -- base images --
    Advice(
        "too-many-requests", "The registry hands out no more for now: its pull limit is reached.",
        "Run docker login, which raises the limit, or wait.",
        message=r"toomanyrequests|429 Too Many Requests|hands out no more for now", machine=True,
    ),
    Advice(
        "no-such-image",
        "The registry has no such image, or keeps it private.",
        "If you meant a stage, check the name behind FROM or --from=; else the image's name "
        "and tag.",
        message=r"pull access denied|insufficient_scope|manifest unknown|repository does not exist"
        r"|^(?:docker\.io|[\w.-]+(?::\d+)?)/\S+: not found$|there is none such, or it is private"
        r"|^The registry \S+ has no \S+\.$",
    ),
    Advice(
        "platform", "The base image is not made for this platform.",
        "Leave --platform out, or choose a base image that has it.",
        message=r"no match(?:ing manifest)? for (?:platform|\S+) in (?:the )?manifest"
        r"|it is not there for \S+, only for|does not match the specified platform"
        r"|^This engine builds for \S+ only",
    ),
    # -- the machine --
    Advice(
        "docker-permission", "Docker runs, but you have no permission to use its socket.",
        "Run: sudo usermod -aG docker $USER, then log out and in again.",
        message=r"permission denied while trying to connect to the [Dd]ocker"
        r"|dial unix \S+: connect: permission denied", machine=True,
    ),
    Advice(
        "docker-not-running", "The Docker Engine does not run.",
        "Start it (Docker Desktop, or: sudo systemctl start docker), and build again.",
        message=r"[Cc]annot connect to the Docker daemon|error during connect"
        r"|failed to connect to the docker API", machine=True,
    ),
    Advice(
        "no-builder", "The builder that was chosen does not exist.",
        "Choose one that does: docker buildx ls", message=r"no builder .* found", machine=True,
    ),
    Advice(
        "disk-full", "The disk is full.",
        "Free some space (docker system prune, or multistage prune), and build again.",
        message=r"no space left on device|^The disk is full\.$", machine=True,
    ),
    Advice(
        "disk-full", "The disk is full, or the file system that the command writes to.",
        "Free some space (docker system prune, or multistage prune), and build again.",
        log=rf"{_NPM}(?:code|nospc) ENOSPC|^\S+: .*: [Nn]o space left on device$",
    ),
    Advice(
        "port-taken", "Another program or container has this port.",
        "Stop it (docker ps shows containers), or publish another port.",
        message=r"port is already allocated|bind: address already in use",
        log=r"bind: address already in use|EADDRINUSE: address already in use", machine=True,
    ),
    Advice(
        "certificate", "The registry's TLS certificate is not trusted here.",
        "Behind a proxy that signs anew, give the engine the proxy's certificate.",
        message=r"x509: |tls: failed to verify|its TLS certificate is not valid", machine=True,
    ),
    Advice(
        "network", "The network does not lead to the registry.", _NETWORK,
        message=rf"{_UNREACHABLE}|failed to do request|cannot be reached, to ask for|error dialing",
        machine=True,
    ),
    # -- commands that are not there --
    Advice(
        "no-shell", "This stage has no shell, so RUN cannot work in it.",
        "Do it in the builder stage, and COPY --from it the files that come of it.",
        message=r'exec: "/bin/sh": ', log=rf'{_EXEC}"?/bin/sh"?: .*no such file',
    ),
    Advice(
        "tool-not-in-stage", "This stage has no {tool}: each FROM starts with its own base only.",
        "Do this in the builder stage, whose base has {tool}, and copy what comes of it.",
        message=rf'exec: "(?P<tool>{_TOOLS})": executable file not found',
        log=rf'{_EXEC}"?(?P<tool_>{_TOOLS})"?: (?:executable file not found|no such file)',
    ),
    Advice(
        "tool-not-in-stage", "This stage has no {tool}: each FROM starts with its own base only.",
        "Do this in the builder stage, whose base has {tool}, and copy what comes of it.",
        log=rf"{_SHELL}(?P<tool>{_TOOLS}): (?:command )?not found$", exit_codes=(127,),
    ),
    Advice(
        "package-tool", "{tool} is not installed: a script of package.json calls it.",
        "Run npm ci before it, in the same stage, without --omit=dev and not below "
        "ENV NODE_ENV=production: with either npm leaves out what only the build needs.",
        log=r"^sh: (?:line )?(?:\d+: )?(?P<tool>[\w.-]+): (?:command )?not found$",
        exit_codes=(127,),
    ),
    Advice(
        "exec-format", "{program} is not made for this machine's processor, or is no program.",
        "Build it for the platform of the image: look at GOARCH, --platform and the file itself.",
        log=rf"{_EXEC}(?P<program>\S+): [Ee]xec format error",
    ),
    Advice(
        "exec-not-found",
        "{program} cannot start: it is not in this stage, or its C library is not.",
        "Check the path; a Go program for scratch or alpine needs CGO_ENABLED=0.",
        message=r'exec: "(?P<program>[^"]+)": (?:executable file not found|stat .*no such file)',
        log=rf'{_EXEC}"?(?P<program_>[^":\s]+)"?: (?:executable file not found|.*no such file)',
    ),
    Advice(
        "program-cannot-start",
        "{program} cannot start: it is not there, or what it needs is not.",
        "A script needs the shell that its first line names; a program needs its C library, "
        "or CGO_ENABLED=0.",
        log=rf"{_SHELL}(?P<program>/\S+): not found$", exit_codes=(127,),
    ),
    Advice(
        "command-not-found", "This stage has no command {tool}.",
        "Check the spelling; install it, or do this in a stage whose base has it.",
        log=rf"{_SHELL}(?P<tool>[^\s:/]+): (?:command )?not found$", exit_codes=(127,),
    ),
    Advice(
        "not-executable", "{program} may not be run: its file mode does not allow it.",
        "Run chmod +x on it in the build context, or write COPY --chmod=755.",
        log=rf"{_SHELL}(?P<program>\S+): Permission denied$", exit_codes=(126,),
    ),
    # -- npm --
    Advice(
        "missing-script", "package.json has no script called {script}.",
        "Check its name (npm run lists them), and that the package.json of this app was copied.",
        log=rf'{_NPM}[Mm]issing script: "?(?P<script>[^"]*)"?',
    ),
    Advice(
        "no-lock-file", "npm ci needs a package-lock.json beside package.json.",
        "Copy both before it: COPY package.json package-lock.json ./ (npm install makes the lock).",
        log=rf"{_NPM}.*can only install (?:packages )?with an existing package-lock\.json",
    ),
    Advice(
        "lock-out-of-date", "package-lock.json does not fit package.json.",
        "Run npm install outside of the build, and keep the lock that it writes.",
        log=rf"{_NPM}.*can only install packages when your package\.json and",
    ),
    Advice(
        "no-package-json", "There is no package.json where npm runs.",
        "Set WORKDIR to the app's folder, and COPY package.json before this step.",
        log=rf"{_NPM}.*(?:Could not read package\.json|open '\S*/package\.json')",
    ),
    Advice(
        "no-page-to-build", "Vite finds no index.html where it runs: the source is not there.",
        "COPY it before this step, below npm ci: COPY . .",
        log=r'^Could not resolve entry module "index\.html"',
    ),
    # -- Go --
    Advice(
        "go-variable", "go takes {word} for the path of a package.",
        "A variable goes in front of the command: RUN {word} go build ...",
        log=r"^malformed import path \"(?P<word>[A-Z][A-Z0-9_]*=[^\"]*)\"",
    ),
    Advice(
        "no-go-mod", "There is no go.mod where go runs.",
        "Set WORKDIR to the app's folder, and COPY go.mod before this step.",
        log=r"^go: (?:.*go\.mod file not found in current directory|cannot find main module"
        r"|no modules specified)",
    ),
    Advice(
        "no-go-files", "There is no Go source where go runs.",
        "COPY the source before this step, and name the folder that has package main.",
        log=r"^(?:package \S+: )?no Go files in /\S+$",
    ),
    Advice(
        "go-too-old", "go.mod asks for Go {needed}, and this stage has {here}.",
        "Take a newer golang base image, or lower the go line of go.mod.",
        log=r"^go: .*go\.mod requires go >= (?P<needed>\S+) \(running go (?P<here>[^;)]+)",
    ),
    Advice(
        "no-go-sum", "go.sum does not name every module that the app needs.",
        "COPY go.sum beside go.mod; if it is not complete, run go mod tidy outside of the build.",
        log=r": missing go\.sum entry for ",
    ),
    # -- the network, as commands meet it --
    Advice(
        "certificate", "The command does not trust the TLS certificate that it was shown.",
        "Behind a proxy that signs anew, the builder stage needs the proxy's certificate.",
        log=rf"{_NPM}code (?:{_CERTIFICATES})|{_GO}x509: |^(?:W|E|Err|Ign)?:?.*"
        r"Certificate verification failed: The certificate is NOT trusted|^curl: \(60\)",
    ),
    Advice(
        "network", "The command does not reach the network.", _NETWORK,
        log=rf"{_NPM}code (?:EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH)"
        rf"|{_GO}dial (?:tcp|udp).*(?:{_UNREACHABLE})|^wget: bad address "
        r"|^(?:W|E|Err|Ign)?:?.*Temporary failure resolving|^curl: \([67]\) ",
    ),
    # -- how a command ended --
    Advice(
        "killed", "The command was killed, most likely because the memory was used up.",
        "Give the engine more memory, close other programs, or let the command use less.",
        message=r"^exit code: 137$|cannot allocate memory$",
    ),
)  # fmt: skip
