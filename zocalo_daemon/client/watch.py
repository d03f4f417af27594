"""Showing something anew each second, on a screen of its own."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = 1.0  # seconds
# xterm's control sequences: the alternate screen with the cursor saved, and the cursor hidden
_ENTER, _LEAVE = "\033[?1049h\033[?25l", "\033[?25h\033[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\033[H", "\033[K", "\033[J"


def watch(show: Callable[[int | None], str], plain: bool) -> int:
    """Show until Ctrl-C, which ends this with KeyboardInterrupt.

    Args:
        show: from the columns of the terminal to the text.
        plain: write one text after the other, without commands to a terminal.
    """
    plain = plain or not sys.stdout.isatty()
    if not plain:
        sys.stdout.write(_ENTER)
    try:
        while True:
            _draw(show, plain)
            time.sleep(INTERVAL)
    finally:
        if not plain:
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()


def _draw(show: Callable[[int | None], str], plain: bool) -> None:
    if plain:
        sys.stdout.write(show(None))
    else:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
        lines = show(columns or 80).splitlines()[: (rows or 24) - 1]  # some terminals do not know
        body = "".join(f"{line}{_REST_OF_LINE}\n" for line in lines)
        sys.stdout.write(f"{_HOME}{body}{_REST_OF_SCREEN}")
    sys.stdout.flush()
