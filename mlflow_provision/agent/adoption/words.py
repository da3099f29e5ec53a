"""Shell text taken apart into commands and words, as far as a start script needs it. Nothing is ever executed."""

from __future__ import annotations

import re
from typing import Callable, List

Expand = Callable[[str], str]  # what stands between `${` and `}`, or `$(` and `)` with its parenthesis → its value
Command = List[str]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)([A-Za-z_][A-Za-z0-9_]*)\1")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
DECLARING = ("export", "declare", "typeset", "local", "readonly")
_LONGEST = 1 << 20  # characters; no start script is longer


class Splitter:
    """Reads one text. `expand` is asked for every variable when its command is reached, so order matters."""

    def __init__(self, text: str, expand: Expand, run: Callable[[Command], None], home: str = "") -> None:
        self._text = text[:_LONGEST].replace("\r\n", "\n").replace("\\\n", "")
        self._expand = expand
        self._run = run
        self._home = home
        self._at = 0
        self._command: list[str] = []
        self._word: list[str] | None = None  # None: between two words
        self._skip_word = False  # the next one names a file of a redirection
        self._heredocs: list[str] = []
        self._array: list[str] | None = None

    def split(self) -> None:
        """Hand every simple command to `run`, in order."""
        while self._at < len(self._text):
            self._step(self._text[self._at])
        self._end_command()

    def _step(self, char: str) -> None:
        if char in " \t":
            self._end_word()
            self._at += 1
        elif char == "\n":
            self._newline()
        elif char == "#" and self._word is None:
            self._at = self._until("\n")
        elif char == "'":
            end = self._text.find("'", self._at + 1)
            end = len(self._text) if end < 0 else end
            self._add(self._text[self._at + 1 : end])
            self._at = end + 1
        elif char == '"':
            self._double_quoted()
        elif char == "\\":
            self._add(self._text[self._at + 1 : self._at + 2])
            self._at += 2
        elif char in "$`":
            self._unquoted(self._value())
        elif char in "<>":
            self._redirection(char)
        elif char in ";&|()":
            self._operator(char)
        elif char == "~" and self._word is None and self._text[self._at + 1 : self._at + 2] in ("/", "", " ", "\n"):
            self._add(self._home)
            self._at += 1
        else:
            self._add(char)
            self._at += 1

    def _newline(self) -> None:
        self._end_word()
        if self._array is None:
            self._end_command()
        self._at += 1
        for end in self._heredocs:
            found = re.compile(rf"^\t*{re.escape(end)}$", re.MULTILINE).search(self._text, self._at)
            self._at = min(found.end() + 1, len(self._text)) if found else len(self._text)
        self._heredocs = []

    def _double_quoted(self) -> None:
        self._add("")
        self._at += 1
        while self._at < len(self._text) and self._text[self._at] != '"':
            char = self._text[self._at]
            if char in "$`":
                first, *more = self._value().split("\0")  # "${ARRAY[@]}" is a word for each of its values
                self._add(first)
                for value in more:
                    self._end_word()
                    self._add(value)
            elif char == "\\" and self._text[self._at + 1 : self._at + 2] in ('"', "\\", "$", "`"):
                self._add(self._text[self._at + 1])
                self._at += 2
            else:
                self._add(char)
                self._at += 1
        self._at += 1

    def _value(self) -> str:
        """The value of what starts with `$` or a backtick here; the position moves behind it."""
        text, start = self._text, self._at + 1
        if text[self._at] == "`":
            end = text.find("`", start)
            end = len(text) if end < 0 else end
            self._at = end + 1
            return self._expand("(" + text[start:end] + ")")
        if text[start : start + 1] in ("{", "("):
            end = self._closing(start)
            inside = text[start + 1 : end]
            self._at = end + 1
            return self._expand(inside if text[start] == "{" else f"({inside})")
        name = _NAME.match(text, start)
        self._at = name.end() if name else start
        return self._expand(name[0]) if name else "$"

    def _closing(self, start: int) -> int:
        opened, closing = self._text[start], {"{": "}", "(": ")"}[self._text[start]]
        depth = 0
        for at in range(start, len(self._text)):
            depth += {opened: 1, closing: -1}.get(self._text[at], 0)
            if depth == 0:
                return at
        return len(self._text)

    def _unquoted(self, value: str) -> None:
        """An unquoted value falls apart at its blanks: ARGS="--host ::1"; mlflow server $ARGS."""
        pieces = re.split(r"[\s\0]+", value)
        for number, piece in enumerate(pieces):
            if number:
                self._end_word()
            if piece:
                self._add(piece)

    def _redirection(self, char: str) -> None:
        heredoc = _HEREDOC.match(self._text, self._at)
        if heredoc and not self._text.startswith("<<<", self._at):
            self._heredocs.append(heredoc[2])
            self._at = heredoc.end()
            return
        if self._word is not None and "".join(self._word).isdigit():
            self._word = None  # the 2 of 2>
        self._end_word()
        while self._at < len(self._text) and self._text[self._at] in "<>&|":
            self._at += 1
        self._skip_word = True

    def _operator(self, char: str) -> None:
        if char == "&" and self._text[self._at + 1 : self._at + 2] == ">":
            self._at += 1
            self._redirection(">")
            return
        word = None if self._word is None else "".join(self._word)
        if char == "(" and word is not None and _ASSIGNMENT.fullmatch(word):
            self._array, self._word = [word], None
        elif char == ")" and self._array is not None:
            self._end_word()
            name, *values = self._array
            self._array = None
            self._take(name + "\0".join(["", *values]))
        else:
            self._end_command()
        self._at += 1

    def _add(self, text: str) -> None:
        self._word = [*(self._word or []), text]

    def _end_word(self) -> None:
        if self._word is None:
            return
        word, self._word = "".join(self._word), None
        if self._skip_word:
            self._skip_word = False
        elif self._array is not None:
            self._array.append(word)
        else:
            self._take(word)

    def _take(self, word: str) -> None:
        """A word of the command. A variable counts for the words right behind it: A=1 B=$A; export C=$B D=$C."""
        if _ASSIGNMENT.match(word) and (not self._command or self._command[0] in DECLARING):
            self._run([*self._command, word])
        else:
            self._command.append(word)

    def _end_command(self) -> None:
        self._end_word()
        self._skip_word = False
        command, self._command = self._command, []
        if command:
            self._run(command)

    def _until(self, end: str) -> int:
        found = self._text.find(end, self._at)
        return len(self._text) if found < 0 else found
