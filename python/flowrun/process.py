"""Which process this is, without asking the system each time: a forked child is told that it is another."""
import os


class _This:
    pid = os.getpid()


def _forked() -> None:
    _This.pid = os.getpid()


os.register_at_fork(after_in_child=_forked)
THIS = _This
