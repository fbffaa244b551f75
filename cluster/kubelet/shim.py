"""One container's keeper: starts its process, writes its log and records its exit, whether or not an agent is there.

Run as `python -I -S -E shim.py FOLDER`, with attachpoint.py beside it; imports hardly more than built-in modules, so
that it stays at a few megabytes.

FOLDER/spec holds byte strings joined by NUL: log path, working folder, memory limit in bytes (0 for none), nice
increment, log size limit in bytes, standard input ("none", "open" or "once"), "tty" or "", number of arguments, the
executable's path, arguments, environment. FOLDER/attach is the socket that attachpoint.py describes.
On standard output comes one line: "started PID" or "failed MESSAGE"; then the caller's process ends, and the keeper
goes on without it, in a session of its own.
FOLDER/started holds "shim-pid shim-start pid start unix-ns boot-id", starts being the kernel's clock ticks since boot.
FOLDER/exit holds "code signal unix-ns", written and synced before the keeper ends, which is what an agent waits for.
"""

# The public module costs a megabyte for its enums.
import _signal as signals  # type: ignore[import-not-found]
import posix
import select
import sys
import time

if __name__ == "__main__":
    sys.path.append(sys.argv[0].rpartition("/")[0])
    from attachpoint import AttachPoint  # type: ignore[import-not-found]
else:
    from oarlock.cluster.kubelet.attachpoint import AttachPoint

READ_BYTES = 65536
LINE_BYTES_MAX = 16384
ROTATED_FILES_MAX = 4
PRIO_STEP_MAX = 19


def main() -> None:
    """Start the container that the folder describes; return in the keeper once it has ended."""
    folder = sys.argv[1]
    with open(folder + "/spec", "rb") as file:
        fields = file.read().split(b"\0")
    log_path, cwd, memory, nice, log_bytes, stdin, tty, count = fields[:8]
    executable, rest = fields[8], fields[9:]
    argv, environment = rest[: int(count)], rest[int(count) :]
    if posix.fork():
        posix._exit(0)  # noqa: SLF001
    posix.setsid()
    try:
        # Before the container starts: whoever sees it run can read its log.
        log = Log(log_path.decode(), int(log_bytes))
    except OSError as error:
        posix.write(1, b"failed " + log_path + b": " + str(error.strerror).encode() + b"\n")
        return
    streams = Streams(stdin, tty=bool(tty))
    failure = posix.pipe()
    child = posix.fork()
    if child == 0:
        _become(executable, argv, environment, cwd, int(memory), int(nice), streams, failure[1])
    streams.close_theirs()
    posix.close(failure[1])
    reason = posix.read(failure[0], 4096)
    posix.close(failure[0])
    if reason:
        posix.waitpid(child, 0)
        posix.write(1, b"failed " + reason + b"\n")
        return
    for number in (signals.SIGHUP, signals.SIGINT, signals.SIGTERM):
        signals.signal(number, signals.SIG_IGN)
    poll = select.poll()
    attached = AttachPoint(folder, poll, streams.stdin, once=stdin == b"once", tty=bool(tty))
    boot = _read("/proc/sys/kernel/random/boot_id").strip()
    me = posix.getpid()
    started = f"{me} {start_ticks(me)} {child} {start_ticks(child)} {time.time_ns()} {boot}\n"
    _write_durably(folder + "/started", started.encode())
    posix.write(1, b"started %d\n" % child)
    null = posix.open("/dev/null", posix.O_RDWR)
    for descriptor in (0, 1, 2):
        posix.dup2(null, descriptor)
    status = _keep(child, poll, streams.outputs, log, attached)
    code = posix.WEXITSTATUS(status) if posix.WIFEXITED(status) else 0
    number = posix.WTERMSIG(status) if posix.WIFSIGNALED(status) else 0
    _write_durably(folder + "/exit", f"{code} {number} {time.time_ns()}\n".encode())


def _become(
    executable: bytes,
    argv: list[bytes],
    environment: list[bytes],
    cwd: bytes,
    memory: int,
    nice: int,
    streams: "Streams",
    failure: int,
) -> None:
    """Turn this process into the container's; report why not through `failure`, which closes on success."""
    step = b"start"
    try:
        posix.setsid()
        step = b"working folder " + cwd
        posix.chdir(cwd)
        for number, descriptor in enumerate(streams.theirs()):
            posix.dup2(descriptor, number)
        if nice:
            posix.nice(min(nice, PRIO_STEP_MAX))
        if memory:
            from resource import RLIMIT_AS, setrlimit

            setrlimit(RLIMIT_AS, (memory, memory))
        for number in (signals.SIGPIPE, signals.SIGXFSZ):
            signals.signal(number, signals.SIG_DFL)
        step = executable
        posix.execve(executable, argv, dict(pair.split(b"=", 1) for pair in environment if b"=" in pair))
    except (OSError, ValueError) as error:
        posix.write(failure, step + b": " + str(getattr(error, "strerror", error)).encode())
    posix._exit(127)  # noqa: SLF001


def _keep(child: int, poll: "select.poll", outputs: dict[int, bytes], log: "Log", attached: "AttachPoint") -> int:
    """Write the log until the child ends; end what it leaves behind in its session; return its wait status."""
    process = posix.pidfd_open(child)
    for descriptor in (process, *outputs):
        posix.set_blocking(descriptor, False)
        poll.register(descriptor, select.POLLIN)
    running = True
    while running:
        for descriptor, _ in poll.poll():
            if descriptor == process:
                running = False
            elif descriptor in outputs:
                if not _copy(descriptor, outputs[descriptor], log, attached):
                    poll.unregister(descriptor)
            else:
                attached.handle(descriptor)
    _, status = posix.waitpid(child, 0)
    _kill_session(child)
    for descriptor, name in outputs.items():
        while _copy(descriptor, name, log, attached):
            pass
        log.finish(name)
    return status


def _copy(descriptor: int, stream: bytes, log: "Log", attached: "AttachPoint") -> bool:
    """Move what there is to the log and those attached, and tell whether more may come at once or later."""
    try:
        data = posix.read(descriptor, READ_BYTES)
    except BlockingIOError:
        return False
    except OSError:
        return False
    if data:
        log.write(stream, data)
        attached.send(b"o" if stream == b"stdout" else b"e", data)
    return bool(data)


def _kill_session(leader: int) -> None:
    """Kill every process of the session that the container led: a container ends with its first process."""
    for name in posix.listdir("/proc"):
        if name.isdigit() and session_of(int(name)) == leader:
            try:
                posix.kill(int(name), signals.SIGKILL)
            except OSError:
                continue


def start_ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 if there is none."""
    return _stat_number(pid, 19)


def session_of(pid: int) -> int:
    """Return the session of a process; 0 if there is none."""
    return _stat_number(pid, 3)


def _stat_number(pid: int, index: int) -> int:
    """Return a number from /proc/PID/stat, counted from the state on; a zombie counts as gone."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return 0
    fields = text[text.rindex(")") + 2 :].split()
    return 0 if fields[0] in "ZX" else int(fields[index])


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _write_durably(path: str, content: bytes) -> None:
    """Write a file so that it is whole or absent, also after a power failure."""
    with open(path + ".new", "wb") as file:
        file.write(content)
        file.flush()
        posix.fsync(file.fileno())
    posix.rename(path + ".new", path)
    folder = posix.open(path.rpartition("/")[0], posix.O_RDONLY)
    posix.fsync(folder)
    posix.close(folder)


class Streams:
    """Both ends of the container's standard streams. `stdin` is -1 where the container reads nothing of ours."""

    def __init__(self, stdin: bytes, *, tty: bool) -> None:
        self._terminal = b""
        self._theirs: tuple[int, ...] = ()
        if tty:
            ours, theirs = posix.openpty()
            self._terminal = posix.ttyname(theirs).encode()
            self._theirs = (theirs,)
            # A descriptor of its own: the terminal is polled for reading and for writing apart.
            self.stdin, self.outputs = posix.dup(ours), {ours: b"stdout"}
            for descriptor in (ours, theirs, self.stdin):
                posix.set_inheritable(descriptor, False)  # noqa: FBT003 - its only form
        else:
            inputs = posix.pipe() if stdin != b"none" else (posix.open("/dev/null", posix.O_RDONLY), -1)
            outputs, errors = posix.pipe(), posix.pipe()
            self._theirs = (inputs[0], outputs[1], errors[1])
            self.stdin, self.outputs = inputs[1], {outputs[0]: b"stdout", errors[0]: b"stderr"}
        if self.stdin >= 0:
            posix.set_blocking(self.stdin, False)

    def theirs(self) -> tuple[int, ...]:
        """Return the container's standard input, output and error; call in the session that is to own a terminal."""
        if self._terminal:
            # The first terminal that the leader of a session opens becomes the session's own.
            return (posix.open(self._terminal, posix.O_RDWR),) * 3
        return self._theirs

    def close_theirs(self) -> None:
        for descriptor in self._theirs:
            posix.close(descriptor)


class Log:
    """A log file in the CRI's format, `TIME STREAM TAG LINE`, renamed to .1, .2, … when it has grown too large."""

    def __init__(self, path: str, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._partial: dict[bytes, bytes] = {}
        self._second = 0
        self._prefix = ""
        self._open()

    def write(self, stream: bytes, data: bytes) -> None:
        """Append whole lines and keep the last incomplete one; very long lines go out in parts, tagged P."""
        *lines, partial = (self._partial.get(stream, b"") + data).split(b"\n")
        now = self._now()
        entries = [self._entry(now, stream, line) for line in lines]
        while len(partial) >= LINE_BYTES_MAX:
            entries.append(b"%s %s P %s\n" % (now, stream, partial[:LINE_BYTES_MAX]))
            partial = partial[LINE_BYTES_MAX:]
        self._partial[stream] = partial
        self._append(b"".join(entries))

    def finish(self, stream: bytes) -> None:
        """Write what stands after the last line's end."""
        partial = self._partial.pop(stream, b"")
        if partial:
            self._append(self._entry(self._now(), stream, partial))

    def _entry(self, now: bytes, stream: bytes, line: bytes) -> bytes:
        parts = []
        while len(line) > LINE_BYTES_MAX:
            parts.append(b"%s %s P %s\n" % (now, stream, line[:LINE_BYTES_MAX]))
            line = line[LINE_BYTES_MAX:]
        parts.append(b"%s %s F %s\n" % (now, stream, line))
        return b"".join(parts)

    def _now(self) -> bytes:
        second, nanosecond = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{nanosecond:09d}Z".encode()

    def _append(self, data: bytes) -> None:
        if not data:
            return
        if self._size and self._size + len(data) > self._bytes_max:
            self._rotate()
        try:
            while data:
                written = posix.write(self._file, data)
                self._size += written
                data = data[written:]
        except OSError:
            # A full disk must not stop the container; what can't be written is lost.
            return

    def _rotate(self) -> None:
        posix.close(self._file)
        for number in range(ROTATED_FILES_MAX - 1, 0, -1):
            _rename(f"{self._path}.{number}", f"{self._path}.{number + 1}")
        _rename(self._path, self._path + ".1")
        self._open()

    def _open(self) -> None:
        self._file = posix.open(self._path, posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND, 0o600)
        self._size = posix.fstat(self._file).st_size


def _rename(source: str, target: str) -> None:
    try:
        posix.rename(source, target)
    except OSError:
        return


if __name__ == "__main__":
    main()
