"""The command that ansible-runner starts in place of ansible-playbook: it asks the zygote to fork one, gives it its own terminal
and ends as that one ends. Run as `python -I -S client.py SOCKET REQUEST`, and small, because one waits beside every playbook."""

import _socket  # the C half alone: importing `socket` would double the start-up of this process
import array
import sys

NO_ANSWER = 250

with_zygote = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
try:
    with_zygote.connect(sys.argv[1])
    with_zygote.sendmsg([sys.argv[2].encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    answer = with_zygote.recv(16)
except OSError as problem:
    print(f"the process that playbooks are forked from does not answer: {problem.strerror}")
    sys.exit(NO_ANSWER)
sys.exit(int(answer) if answer else NO_ANSWER)
