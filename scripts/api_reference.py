"""Build the API reference from the docstrings with pdoc: `make docs`. Any warning fails the build.

    python scripts/api_reference.py build/api grpo rewards rollout policies data_recipes

pdoc imports each module and warns of what it cannot import, of annotations it cannot resolve and of docstrings it
cannot render. Modules warn through Python's `warnings`, so a warning of theirs at import fails the build as well;
IGNORED holds those of other projects. No search index: it would be 20 MB that needs Node.js to be fast.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

IGNORED = (DeprecationWarning, FutureWarning, PendingDeprecationWarning, ImportWarning)
"""Kinds of warnings that libraries raise about themselves at import; the tests judge ours."""


def main() -> int:
    # vLLM asks `uname` and the like for the machine while it is imported; pdoc would suppress that with a warning.
    os.environ["PDOC_ALLOW_EXEC"] = "1"
    import pdoc

    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    target, *modules = sys.argv[1:]
    pdoc.render.configure(docformat="markdown", search=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kind in IGNORED:
            warnings.simplefilter("ignore", kind)
        pdoc.pdoc(*modules, output_directory=Path(target))
    for warning in caught:
        print(
            f"{warning.filename}:{warning.lineno}: {warning.category.__name__}: {warning.message}",
            file=sys.stderr,
        )
    pages = sum(1 for _ in Path(target).rglob("*.html"))
    print(f"{pages} pages in {target}, {len(caught)} warnings")
    return int(bool(caught))


if __name__ == "__main__":
    sys.exit(main())
