"""Compile and run every language that is on this host; what compilers may and may not."""

from __future__ import annotations

import pytest

from rewards.sandbox.types import LANGUAGES, Limits

REVERSE = {
    "python": "print(input()[::-1])",
    "bash": "rev",
    "c": """
#include <stdio.h>
#include <string.h>
int main(void) { char b[99]; scanf("%98s", b); for (int i = strlen(b); i--;) putchar(b[i]); puts(""); }""",
    "cpp": """
#include <algorithm>
#include <iostream>
int main() { std::string s; std::cin >> s; std::ranges::reverse(s); std::cout << s << std::endl; }""",
    "javascript": 'console.log(require("fs").readFileSync(0, "utf8").trim().split("").reverse().join(""))',
    "java": """
import java.util.*;
public class Main {
    public static void main(String[] a) {
        String s = new Scanner(System.in).nextLine();
        System.out.println(new StringBuilder(s).reverse());
    }
}
class Other { }""",
    "rust": """
use std::io::*;
fn main() {
    let mut s = String::new();
    stdin().read_line(&mut s).unwrap();
    println!("{}", s.trim().chars().rev().collect::<String>());
}""",
    "go": """
package main
import ("bufio"; "fmt"; "os")
func main() {
    line, _ := bufio.NewReader(os.Stdin).ReadString('\\n')
    for i := len(line) - 2; i >= 0; i-- { fmt.Printf("%c", line[i]) }
    fmt.Println()
}""",
}
BROKEN = {
    "c": "int main(void) { return x; }",
    "cpp": "int main() { return std::none; }",
    "java": "public class Main { void x() { return 1; } }",
    "rust": 'fn main() { let x: u8 = ""; }',
    "go": "package main\nfunc main() { x }",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_is_compiled_once_and_run_for_every_input(sandbox, need, language):
    need(language)
    outcomes = sandbox.run_many(language, REVERSE[language], [b"abc\n", b"x\n", b"hello\n"])
    assert [outcome.verdict for outcome in outcomes] == ["ok"] * 3, outcomes
    assert [outcome.stdout for outcome in outcomes] == [b"cba\n", b"x\n", b"olleh\n"]


@pytest.mark.parametrize("tier", ["namespaces, no cgroup", "landlock"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_tier_runs_every_language(opened, need, tier, language):
    need(language)
    outcome = opened.get(tier).run(language, REVERSE[language], b"abc\n")
    assert (outcome.verdict, outcome.stdout) == ("ok", b"cba\n"), outcome


@pytest.mark.parametrize("language", BROKEN)
def test_what_does_not_compile_is_a_compile_error_for_every_input(sandbox, need, language):
    need(language)
    outcomes = sandbox.run_many(language, BROKEN[language], [b"", b""])
    assert [outcome.verdict for outcome in outcomes] == ["compile_error"] * 2
    assert b"main" in (outcomes[0].stderr + outcomes[0].stdout).lower()
    assert outcomes[0].exit_code != 0


@pytest.mark.parametrize("language", ["python", "c"])
@pytest.mark.parametrize("form", ["crlf", "bom", "no newline", "large", "nul", "latin-1"])
def test_source_of_any_form_is_a_verdict(sandbox, need, language, form):
    need(language)
    line, comment = {
        "python": ("print(1)", "#"),
        "c": ('#include <stdio.h>\nint main(void) { puts("1"); }', "//"),
    }[language]
    source, ok = {
        "crlf": (line.replace("\n", "\r\n").encode() + b"\r\n", {"ok"}),
        "bom": (b"\xef\xbb\xbf" + line.encode(), {"ok"}),
        "no newline": (line.encode(), {"ok"}),
        "large": ((comment + "x" * 98 + "\n").encode() * 20_000 + line.encode(), {"ok"}),
        "nul": (line.encode() + b"\n\0\n", {"ok", "runtime_error", "compile_error"}),
        "latin-1": (line.encode() + f"\n{comment} ".encode() + b"\xe9\n", {"ok", "runtime_error"}),
    }[form]
    outcome = sandbox.run(language, source)
    assert outcome.verdict in ok, outcome
    assert outcome.verdict != "ok" or outcome.stdout == b"1\n"


def test_text_that_is_no_unicode_is_a_verdict(sandbox):
    assert sandbox.run("python", "print('\ud800')").verdict == "runtime_error"
    assert sandbox.run("python", "").verdict == "ok"
    assert (
        sandbox.run("python", "# coding: latin-1\nprint(ascii('\xe9'))".encode("latin-1")).stdout
        == b"'\\xe9'\n"
    )


@pytest.mark.parametrize(
    "source",
    [
        '#include "/dev/zero"\nint main(void) { }',
        '#include "/etc/shadow"\nint main(void) { }',
        '#include "/root/.bashrc"\nint main(void) { }',
        '#include "main.c"\nint main(void) { }',
        'int main(void) { return 1 \n#include "/dev/stdin"\n}',
    ],
)
def test_includes_bring_nothing_in(sandbox, need, source):
    need("c")
    outcome = sandbox.run("c", source, limits=Limits(compile_wall_s=2))
    assert outcome.verdict == "compile_error"
    assert b"root:" not in outcome.stderr


def test_compiling_has_limits_of_its_own(sandbox, need):
    need("cpp")
    bomb = (
        "template<int N> struct A { A<N-1> a; A<N-2> b; };\n"
        + "".join(f"#define X{i} X{i - 1} X{i - 1}\n" for i in range(1, 30)).replace("X0 X0", "int x; int x;")
        + "int main() { X29 }"
    )
    outcome = sandbox.run("cpp", bomb, limits=Limits(compile_wall_s=1, wall_s=60))
    assert outcome.verdict == "compile_error"
    assert "ran longer than 1 s" in outcome.reason or "memory" in outcome.reason
    quick = sandbox.run("cpp", REVERSE["cpp"], b"ab\n", Limits(wall_s=0.5, memory_bytes=32 << 20, tasks=8))
    assert (quick.verdict, quick.stdout) == ("ok", b"ba\n")  # compiling took longer and more than that


def test_huge_programs_are_compile_errors(sandbox, need):
    need("c")
    outcome = sandbox.run("c", "char x[1 << 28] = {1};\nint main(void) { return x[5]; }")
    assert outcome.verdict == "compile_error"


def test_compiled_programs_meet_the_programs_limits(sandbox, need):
    need("c")
    hog = "#include <stdlib.h>\n#include <string.h>\nint main(void) { for (;;) memset(malloc(1 << 20), 1, 1 << 20); }"
    assert sandbox.run("c", hog, limits=Limits(memory_bytes=64 << 20)).verdict == "memory_limit"
    assert sandbox.run("c", "int main(void) { for (;;); }", limits=Limits(wall_s=0.3)).verdict == "time_limit"
    assert sandbox.run("c", "int main(void) { return *(volatile int *)0; }").exit_code == 139
    fork = "#include <unistd.h>\nint main(void) { for (;;) fork(); }"
    assert sandbox.run("c", fork, limits=Limits(tasks=16)).verdict == "process_limit"


def test_java_needs_no_public_class_and_gets_no_other_name(sandbox, need):
    need("java")
    hello = 'static void main(String[] a) { System.out.println("x"); } }'
    assert sandbox.run("java", f"class Main {{ public {hello}").stdout == b"x\n"
    assert sandbox.run("java", f"public class Solution {{ public {hello}").verdict == "compile_error"


def test_python_is_a_script_of_its_own(sandbox):
    source = (
        "import sys, os\n"
        "assert __name__ == '__main__' and sys.argv == [__file__] and sys.path[0] == os.path.dirname(__file__)\n"
        "import __main__; assert vars(__main__) is globals()\n"
        "assert not [name for name in sys.modules if name.startswith('rewards')]\n"
        "assert not any('site-packages' in path for path in sys.path)\n"
        "try: raise ValueError('shown')\nexcept ValueError: import traceback; traceback.print_exc()\n"
        "import pickle, multiprocessing as m\n"
        "class C: pass\n"
        "assert type(pickle.loads(pickle.dumps(C()))) is C\n"
        "def f(x): return x * x\n"
        "with m.Pool(2) as p: print(p.map(f, [1, 2, 3]))\n"
        "exit(0)"
    )
    outcome = sandbox.run("python", source)
    assert (outcome.verdict, outcome.stdout) == ("ok", b"[1, 4, 9]\n"), outcome
    assert b"ValueError: shown" in outcome.stderr
    trace = sandbox.run("python", "def f():\n    1 / 0\nf()").stderr
    assert b"rewards" not in trace
    assert b"line 2, in f" in trace


@pytest.mark.parametrize(
    "source",
    [
        "const char i[3] __attribute__((section(\".interp\"))) = {'a', 'b', 'c'};\nint main(void) { }",
        'const char i[9999] __attribute__((section(".interp"))) = {1};\nint main(void) { }',
        'int main(void) { return 0; }\n__asm__(".globl _start\\n_start: .byte 0x0f, 0x0b");',
    ],
)
def test_a_program_that_cannot_be_started_is_its_own_fault(any_tier, need, source):
    need("c")
    outcome = any_tier.run("c", source)
    assert outcome.verdict in ("runtime_error", "compile_error"), outcome


def test_a_talkative_compiler_is_no_error_and_its_words_are_cut(sandbox, need):
    need("c")
    warnings = "".join(f"char *f{i}(void) {{ return {i + 1}; }}\n" for i in range(400))
    limits = Limits(output_bytes=1000)
    assert sandbox.run("c", warnings + "int main(void) { }", limits=limits).verdict == "ok"
    outcome = sandbox.run("c", warnings + "int main(void) { return x; }", limits=limits)
    assert outcome.verdict == "compile_error"
    assert len(outcome.stderr) == 1000
