"""Runs a command on a terminal of its own and answers its questions.

Arguments: question, answer, question, answer, ..., `--`, the command. A question is answered when it
appears; what the command writes is passed on.
"""

import os
import pty
import sys

end = sys.argv.index("--")
waiting = list(zip(sys.argv[1:end:2], sys.argv[2:end:2]))
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[end + 1], sys.argv[end + 1:])
seen = b""
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    sys.stdout.buffer.write(part)
    sys.stdout.flush()
    seen += part
    if waiting and waiting[0][0].encode() in seen:
        question, answer = waiting.pop(0)
        seen = b""
        os.write(terminal, answer.encode() + b"\n")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if not waiting else 99)
