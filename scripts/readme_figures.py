"""Check the figures in README.md and two pages of docs/ against the result files, or put the right ones in.

    python scripts/readme_figures.py            # lists every figure that differs; exit status 1 if one does
    python scripts/readme_figures.py --write    # writes the figures of the result files into the pages

A claim is a piece of a page's text with a slot, "{}", for each figure. The words stay in the page: a claim whose words
are no longer there is an error, so that no figure escapes by a change of its sentence.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
R1_STAGES = ("Base", "R1-Zero", "Dev1", "Dev2", "Dev3", "R1")
R1_ROWS = {
    "pass@1": "pass1",
    "thought in the language of the question": "language",
    "general requests, by a judge that no policy sees": "general",
    "unsafe requests refused": "safe",
}


@dataclass(frozen=True)
class Claim:
    """Text of a page with a slot for each figure, and the figures that the result files give."""

    page: str
    text: str
    values: tuple[str, ...]

    def pattern(self) -> re.Pattern[str]:
        """The text with any white space between words, and a group for each slot."""
        words = [re.escape(word).replace(r"\{\}", r"(\d[\d,]*(?:\.\d+)?)") for word in self.text.split()]
        return re.compile(r"\s+".join(words))

    def find(self, page: str) -> re.Match[str]:
        """Where the claim stands in the text of its page; ValueError unless it stands there once."""
        found = list(self.pattern().finditer(page))
        if len(found) != 1:
            raise ValueError(f"found {len(found)} times, expected once: {self.text}")
        if len(found[0].groups()) != len(self.values):
            raise ValueError(f"{len(self.values)} figures for {len(found[0].groups())} slots: {self.text}")
        return found[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the figures into the pages")
    write = parser.parse_args().write
    differing = 0
    for page, claims in by_page(claims_of_results(RESULTS)).items():
        path = ROOT / page
        text = path.read_text("utf-8")
        wrong = list(differences(text, claims))
        differing += len(wrong)
        print("".join(f"{page}: {line}\n" for line in wrong), end="")
        if write and wrong:
            path.write_text(corrected(text, claims), encoding="utf-8")
    return int(bool(differing) and not write)


def by_page(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    """The claims of each page."""
    pages: dict[str, list[Claim]] = {}
    for claim in claims:
        pages.setdefault(claim.page, []).append(claim)
    return pages


def differences(page: str, claims: Sequence[Claim]) -> Iterator[str]:
    """A line for each figure of a page that is not what the result files give."""
    for claim in claims:
        try:
            match = claim.find(page)
        except ValueError as error:
            yield str(error)
            continue
        for found, value in zip(match.groups(), claim.values, strict=True):
            if found != value:
                line = page.count("\n", 0, match.start()) + 1
                yield f"line {line}: {found} should be {value}, in: {' '.join(match[0].split())}"


def corrected(page: str, claims: Sequence[Claim]) -> str:
    """The text of a page with every figure as the result files give it."""
    for claim in claims:
        match = claim.find(page)
        for index in range(len(claim.values), 0, -1):
            start, end = match.span(index)
            page = page[:start] + claim.values[index - 1] + page[end:]
    return page


# -- the claims -------------------------------------------------------------------------------------------------------


def claims_of_results(results: Path) -> list[Claim]:
    """All claims, with the figures of the result files in `results`."""

    def read(name: str) -> Any:  # JSON
        return json.loads((results / f"{name}.json").read_text("utf-8"))

    return [
        *demo_claims(read("demo_seeds")),
        *smollm2_claims(read("smollm2_arithmetic")),
        *long_claims(read("r1_zero_tiny_long"), read("r1_tiny")),
        *r1_claims(read("r1_tiny")),
        *r1_page_claims(read("r1_tiny")),
    ]


def demo_claims(result: Any) -> Iterator[Claim]:
    """README: the table of `grpo demo` over seeds, one row a run."""
    runs = result["runs"]
    for run in runs:
        values = (
            f"{run['base_pass1']:.3f}", f"{run['final_pass1']:.3f}",
            f"{run['base_format']:.3f}", f"{run['final_format']:.3f}",
            f"{run['base_length']:.1f}", f"{run['final_length']:.1f}", f"{run['minutes']:.1f}",
        )  # fmt: skip
        yield Claim(
            "README.md", f"| {run['seed']} | {{}} → {{}} | {{}} → {{}} | {{}} → {{}} | {{}} |", values
        )
    minutes = f"{sum(run['minutes'] for run in runs) / len(runs):.0f}"
    yield Claim("README.md", "in miniature: {} minutes on 2 CPU cores", (minutes,))
    yield Claim("README.md", "| demo | 2 cores, 8 GiB, {} minutes |", (minutes,))
    sizes = (str(runs[0]["eval_problems"]), str(runs[0]["eval_samples"]))
    text = "{} problems that share no two operations with anything trained on, {} samples each"
    yield Claim("README.md", text, sizes)


def smollm2_claims(result: Any) -> Iterator[Claim]:
    """docs/results.md: the paragraph on SmolLM2's arithmetic."""
    evals = {entry["step"]: entry for entry in result["evals"]}
    last = result["summary"]["steps"]
    intervals = [
        f"{evals[step][key]:.3f}" for step in (0, 30, last) for key in ("pass1", "ci_low", "ci_high")
    ]
    sizes = [str(evals[0]["n_problems"]), str(evals[0]["k"])]
    text = (
        "(reasoning-gym `chain_sum`, {} held-out problems × {} samples) went from {} [{}, {}] to {} [{}, {}] in 30 "
        "updates and to {} [{}, {}] in {} ({} minutes on the same two cores;"
    )
    minutes = f"{result['summary']['minutes']:.0f}"
    yield Claim("docs/results.md", text, (*sizes, *intervals, str(last), minutes))
    kept = list(zip(result["samples_before"], result["samples_after"], strict=True))
    counts: list[str] = [str(len(kept))]
    for sign in ("+", "-"):
        rows = [pair for pair in kept if sign in pair[0]["prompt"].rpartition("problem:")[2]]
        counts += [str(sum(row["score"] == 1.0 for row in column)) for column in zip(*rows, strict=True)]
        counts += [str(len(rows))]
    text = (
        "Of the {} completions that the file shows, right ones went from {} to {} of {} sums and from {} to {} of {} "
        "differences"
    )
    yield Claim("docs/results.md", text, tuple(counts))


def long_claims(result: Any, r1: Any) -> Iterator[Claim]:
    """docs/results.md: the paragraph on r1-zero-tiny-long; its base is that of r1-tiny."""
    base = sum(run["seconds"]["base"] for run in r1["runs"]) / len(r1["runs"]) / 60
    text = "then `grpo rl r1-zero-tiny-long` ({} and {} minutes)"
    yield Claim("docs/results.md", text, (f"{base:.0f}", f"{result['summary']['minutes']:.0f}"))
    evals = {entry["step"]: entry for entry in result["evals"]}
    sevens = [f"{evals[step]['by_group']['k=7']:.2f}" for step in (0, 60)]
    lengths = [f"{evals[step]['length']:.0f}" for step in (0, 60)]
    eights = [entry["by_group"]["k=8"] for step, entry in evals.items() if step > 0]
    text = (
        "In 60 updates held-out chains of 7 go from {} to {} and replies from {} to {} tokens; "
        "chains of 8 stay at {} to {},"
    )
    yield Claim("docs/results.md", text, (*sevens, *lengths, f"{min(eights):.2f}", f"{max(eights):.2f}"))


def r1_claims(result: Any) -> Iterator[Claim]:
    """README: the table of r1-tiny's stages and the sentence on its students, means over seeds."""
    stages, students = result["spread"]["stages"], result["spread"]["students"]
    for label, column in R1_ROWS.items():
        values = tuple(f"{stages[name][column][0]:.2f}" for name in R1_STAGES)
        yield Claim("README.md", f"| {label} |" + " {} |" * len(values), values)
    text = "A tiny Qwen distilled from R1 reaches {}, by RL of its own on as many tokens {}; a tiny Llama {} and {}."
    names = ("Qwen, distilled", "Qwen, RL", "Llama, distilled", "Llama, RL")
    yield Claim("README.md", text, tuple(f"{students[name]['pass1'][0]:.2f}" for name in names))


def r1_page_claims(result: Any) -> Iterator[Claim]:
    """docs/r1_tiny.md: both tables, mean (least–most) over seeds."""
    page = "docs/r1_tiny.md"
    minutes = [run["minutes"] for run in result["runs"]]
    yield Claim(page, "{} to {} minutes each on two cores", (f"{min(minutes):.0f}", f"{max(minutes):.0f}"))
    tables = {
        "stages": ("pass1", "consk", "format", "language", "general", "safe"),
        "students": ("pass1", "consk", "format", "language"),
    }
    for table, columns in tables.items():
        for name, row in result["spread"][table].items():
            values = [f"{number:.2f}" for column in columns for number in row[column]]
            text = f"| {name} |" + " {} ({}–{}) |" * len(columns) + " {} |"
            values.append(f"{row['length'][0]:.0f}")
            if table == "students" and "trained_tokens" in row:
                text += " {} |"
                values.append(f"{row['trained_tokens'][0]:,.0f}")
            yield Claim(page, text, tuple(values))


if __name__ == "__main__":
    sys.exit(main())
