"""Gives a command its controlling terminal, then becomes that command.

Run as `python -I -S -E terminal.py PROGRAM ARGV...` in a session of its own, with the terminal as standard input. Done
in a program rather than between fork and exec, where a process of many threads must not run Python.
"""

import fcntl
import os
import signal
import sys
import termios

if __name__ == "__main__":
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # The interpreter ignores these, and what is ignored stays so in the command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[2:])  # noqa: S606 - no shell is wanted
