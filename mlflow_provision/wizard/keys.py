"""The keys of a question, besides those that questionary knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlflow_provision.wizard.asking import Back, Choice

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from questionary.prompts.common import InquirerControl

PAGE = 10  # choices that PageUp and PageDown step over


def leaving() -> KeyBindings:
    """The keys that leave any question: Esc, Ctrl-C, and the end of input."""
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()
    for key, leave in (("escape", Back), ("c-c", KeyboardInterrupt), ("<sigint>", KeyboardInterrupt)):

        def exit_with(event: KeyPressEvent, leave: type[BaseException] = leave) -> None:
            event.app.exit(exception=leave)

        keys.add(key)(exit_with)

    @keys.add("c-d")
    def end(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.delete()
        else:
            event.app.exit(exception=EOFError)

    return keys


def filling(default: str) -> tuple[KeyBindings, list[str]]:
    """Tab makes the default a text to change, down to nothing; and what an empty line means meanwhile."""
    from prompt_toolkit.key_binding import KeyBindings

    keys, offer = KeyBindings(), [default]

    @keys.add("tab")
    def fill(event: KeyPressEvent) -> None:
        if not event.current_buffer.text:
            event.current_buffer.insert_text(offer[0])
            offer[0] = ""

    return keys, offer


def paging(control: InquirerControl, choices: Sequence[Choice]) -> KeyBindings:
    """PageUp, PageDown, Home and End, for long lists; to the nearest choice that can be chosen."""
    from prompt_toolkit.key_binding import KeyBindings

    last = len(choices) - 1
    usable = [number for number, choice in enumerate(choices) if not choice.why_not]
    keys = KeyBindings()
    for key, move in (("pageup", -PAGE), ("pagedown", PAGE), ("home", -last), ("end", last)):

        def step(event: KeyPressEvent, move: int = move) -> None:
            wanted = min(max(control.pointed_at + move, 0), last)
            control.pointed_at = min(usable, key=lambda number: abs(number - wanted))

        keys.add(key)(step)
    return keys
