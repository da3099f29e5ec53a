"""Lines that are longer than the terminal is wide: broken between words, and never within a command."""

from __future__ import annotations

import re
import textwrap

_PROGRAMS = "mlflow-provision|sudo|ssh|ssh-keygen|aws|chmod|rm|less|cat|apt-get"
# A command at the end of a text. It is never broken over two lines, so that it can be copied.
COMMAND = re.compile(rf"(?:(.*: )|^)((?:{_PROGRAMS}) .*)$")
_BEGINNING = re.compile(r" *(?:\* )?(?:\S[^:]{0,14}?  +(?=\S))?")  # indent, bullet, label


def folded(line: str, width: int) -> list[str]:
    """The line in parts of at most `width` characters, each below the beginning of the text: a label stands alone."""
    if len(line) <= width:
        return [line]
    found = _BEGINNING.match(line)
    beginning = found[0] if found else ""
    if len(beginning) > width // 2:
        beginning = ""
    text = line[len(beginning) :]
    command = COMMAND.match(text)
    said, typed = (command[1] or "", command[2]) if command else (text, "")
    glued = beginning.replace(" ", "\0") + said + typed.replace(" ", "\0")
    return wrapped(glued, width, " " * len(beginning))


def wrapped(line: str, width: int, indent: str) -> list[str]:
    """Lines of whole words, all but the first behind the indent; a width of 0 wraps nothing."""
    if not width:
        return [line]
    lines = textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [part.replace("\0", " ") for part in lines] or [""]
