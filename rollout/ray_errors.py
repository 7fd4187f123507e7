"""What Ray's errors say, cause first. Reads their text and attributes, so that it needs no Ray.

explain(error)     "RewardLoadError: no reward 'x'; …", a line with what Ray adds, and the whole traceback
"""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = '  File "'
"""How a line of a traceback begins."""


def explain(error: BaseException) -> str:
    """Return the cause, then what else the error's text says; without terminal colours.

    A traceback stays whole, its last line is the cause once more; of other texts each line stands once.
    """
    text, cause = _text(error), cause_of(error)
    rest = text if _FRAME in text else text.removesuffix(cause).rstrip()
    return f"{cause}\n{rest}" if rest and rest != cause else cause


def cause_of(error: BaseException) -> str:
    """Return why a remote call failed.

    Of an error that a call or a constructor raised, the exception with its whole message, which stands last in Ray's
    text. Of a process that ended, what Ray knows about its end. Of others, their first line.
    """
    text = _text(error)
    lines = text.splitlines()
    frames = [at for at, line in enumerate(lines) if line.startswith(_FRAME)]
    if frames:  # the exception is the first line after the last frame that is not indented
        after = range(frames[-1] + 1, len(lines))
        start = next((at for at in after if lines[at] and not lines[at].startswith(" ")), len(lines) - 1)
        return "\n".join(lines[start:])
    plain = [line for line in lines if not line.startswith("\t")]
    reason = "\n".join(plain[1:]).strip()
    if reason and len(plain) < len(lines):  # "The actor died …", fields with tabs, the reason
        return reason
    return f"{type(error).__name__}: {lines[0]}"


def never_ran(error: BaseException) -> bool:
    """Return True for an actor that was sent to a node which had died: Ray notices that half a minute later."""
    text = _text(error)
    return "its node has died" in text and "never ran" in text


def _text(error: BaseException) -> str:
    return _COLOURS.sub("", str(error)).strip() or type(error).__name__
