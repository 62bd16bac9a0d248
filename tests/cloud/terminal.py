#!/usr/bin/env python3
"""Runs a program on a terminal of its own and answers a question that it asks there; prints all that the terminal
shows, and ends as the program does."""

import os
import pty
import sys


def main(question: str, answer: str, *argv: str) -> int:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(argv[0], argv)
    shown, is_answered = b"", False
    while True:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # nobody has it open any more
            break
        if not more:
            break
        shown += more
        if not is_answered and question.encode() in shown:
            os.write(terminal, answer.encode() + b"\n")
            is_answered = True
    sys.stdout.buffer.write(shown)
    sys.stdout.flush()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
