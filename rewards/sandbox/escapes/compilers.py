"""Programs that attack while they are compiled, or bring out a program that cannot be started."""

# ruff: noqa: E501 (programs in other languages keep their own lines)
from __future__ import annotations

from dataclasses import replace

from rewards.sandbox.escapes.case import BROKEN, ROOMY, Case, Category, one_of
from rewards.sandbox.types import MIB, Outcome

_SLOW = replace(ROOMY, compile_wall_s=2.0)
_BOMB = one_of("compile_error", "ok", "runtime_error", "time_limit", "memory_limit")
"""A compiler may get through it, or give up by itself; what counts is that it ends."""

_INCLUDE = r"""
#include "@SECRET_FILE@"
#include "/etc/shadow"
#include "/etc/passwd"
#include "/proc/1/environ"
#include "/proc/self/environ"
int main(void) { return 0; }
"""
_INCBIN = r"""
__asm__(".section .rodata\nsecret: .incbin \"@SECRET_FILE@\"\n.byte 0\n.previous");
extern const char secret[];
int main(void) { puts(secret); return 0; }
"""
_EMBED = r"""
#pragma GCC dependency "@SECRET_FILE@"
#if __has_include("@SECRET_FILE@")
#error ESCAPED sees the secret
#endif
#if __has_embed("@SECRET_FILE@")
#error ESCAPED can embed the secret
#endif
const char secret[] = {
#embed "@SECRET_FILE@"
, 0};
int main(void) { puts(secret); return 0; }
"""
_ENDLESS = """#include "/dev/zero"\n"""
_RANDOM = (
    """#include "/dev/urandom"\n#include "/dev/stdin"\n#include "/dev/tty"\n#include "/proc/self/mem"\n"""
)
_RECURSIVE = """#include __FILE__\n#include __FILE__\nint main(void) { return 0; }\n"""
_MACROS = "\n".join(
    ["#define A0 x+x+x+x+x+x+x+x+x+x"]
    + [f"#define A{n} {'+'.join([f'A{n - 1}'] * 10)}" for n in range(1, 10)]
    + ["int main(void) { int x = 1; return A9; }"]
)
_HUGE = "static char all[1UL << 33] = {1};\nint main(void) { return all[5]; }\n"
_LARGE = "static char all[100 << 20] = {1};\nint main(void) { return all[5]; }\n"
_BIG_BSS = "char all[1UL << 45];\nint main(void) { return all[5]; }\n"
_LOADER = r"""
__asm__(".section .interp,\"a\"\n.string \"/nonexistent/loader\"\n.previous");
int main(void) { return 0; }
"""
_ERRORS = "int main(void) {\n" + "  undeclared(+;\n" * 20000 + "}\n"
_TEMPLATES = r"""
template <int a, int b> struct Deep { static const long value = Deep<a - 1, b>::value + Deep<a, b - 1>::value; };
template <int b> struct Deep<0, b> { static const long value = b; };
template <int a> struct Deep<a, 0> { static const long value = a; };
template <class T> struct Twice { Twice<Twice<T>> *next; static const long value = Twice<Twice<T>>::value; };
int main() { return Deep<400, 400>::value + Twice<int>::value; }
"""
_CONSTEXPR = r"""
constexpr long spin(long n) { long sum = 0; for (long i = 0; i < n; i++) for (long j = 0; j < n; j++) sum += i ^ j; return sum; }
static_assert(spin(1000000) != 0);
int main() { }
"""
_PLUGIN = r"""
#pragma GCC optimize("-fplugin=/tmp/evil.so")
#pragma GCC target("arch=native")
#pragma comment(linker, "/evil")
__attribute__((constructor)) static void before(void) { write(1, "before main\n", 12); }
int main(void) { attempt("read", open("@SECRET_FILE@", O_RDONLY)); tried(); return 0; }
"""
_RUST_INCLUDE = r"""
const A: &str = include_str!("@SECRET_FILE@");
const B: &[u8] = include_bytes!("/etc/shadow");
include!("@SECRET_FILE@");
#[path = "@SECRET_FILE@"] mod secret;
fn main() { println!("{} {:?} {:?}", A, B, option_env!("@ENV_NAME@")); }
"""
_RUST_ENV = r"""
fn main() {
    println!("{:?} {:?} {:?}", option_env!("@ENV_NAME@"), option_env!("HOME"), option_env!("CARGO_HOME"));
    println!("tried");
}
"""
_RUST_ENDLESS = """const A: &[u8] = include_bytes!("/dev/zero");\nfn main() { println!("{}", A.len()); }\n"""
_RUST_MACRO = r"""
macro_rules! grow { ($($t:tt)*) => { grow!($($t)* $($t)* x) } }
const fn spin() -> u64 { let mut n = 0u64; loop { n += 1; if n == 0 { return n; } } }
const N: u64 = spin();
fn main() { println!("{}", N); grow!(x); }
"""
_JAVA_LONG = (
    "public class Main {\n"
    + "".join(f'  static String s{n} = "{"x" * 60000}";\n' for n in range(4))
    + '  public static void main(String[] a) { System.out.println("tried"); }\n'
    + "".join(
        f"  static <A, B> Object f{n}(java.util.function.Function<A, java.util.function.Function<B, A>> f) "
        "{ return f; }\n"
        for n in range(300)
    )
    + "}\n"
)
_JAVA_NESTED = (
    "public class Main { public static void main(String[] a) { int x = "
    + "(" * 9000
    + "1"
    + ")" * 9000
    + "; } }"
)
_JAVA_MANY = (
    'public class Main { public static void main(String[] a) { System.out.println("tried"); } }\n'
    + "".join(f"class \u00c4\u4e2d{n:0120d} {{ }}\n" for n in range(400))
)
_JAVA_ELSEWHERE = (
    'package a.b;\npublic class Main { public static void main(String[] a) { System.out.println("x"); } }'
)
_GO = 'package main\nimport _ "embed"\n//go:embed @SECRET_FILE@\nvar secret string\nfunc main() { println(secret) }\n'


def _short(outcome: Outcome) -> str | None:
    longest = max(len(outcome.stdout), len(outcome.stderr))
    return None if longest <= MIB // 4 else f"{longest} bytes of compiler output came through"


def _bomb(name: str, language: str, source: str) -> Case:
    return Case(name, language, source, _BOMB, _SLOW, tries=False, check=_short, danger="host")


COMPILERS = Category(
    "compilers",
    (
        Case("c: include secrets", "c", _INCLUDE, BROKEN, tries=False),
        Case("c: .incbin a secret", "c", _INCBIN, BROKEN, tries=False),
        Case("c: embed a secret", "c", _EMBED, BROKEN, tries=False, gaps=("landlock",)),
        _bomb("c: include /dev/zero", "c", _ENDLESS),
        _bomb("c: include devices", "c", _RANDOM),
        _bomb("c: include itself", "c", _RECURSIVE),
        _bomb("c: ten to the tenth by macros", "c", _MACROS),
        _bomb("c: an 8 GiB program", "c", _HUGE),
        _bomb("c: a 100 MiB program", "c", _LARGE),
        _bomb("c: 20,000 errors", "c", _ERRORS),
        Case(
            "c: a program too large to start",
            "c",
            _BIG_BSS,
            one_of("runtime_error", "compile_error", "memory_limit"),
            tries=False,
        ),
        Case(
            "c: a program without a loader",
            "c",
            _LOADER,
            one_of("ok", "runtime_error", "compile_error"),
            tries=False,
        ),
        Case("c: plug-ins and constructors", "c", _PLUGIN, one_of("ok", "compile_error"), tries=False),
        _bomb("c++: templates", "cpp", _TEMPLATES),
        _bomb("c++: constexpr", "cpp", _CONSTEXPR),
        Case("rust: include secrets", "rust", _RUST_INCLUDE, BROKEN, tries=False),
        Case("rust: environment of the compiler", "rust", _RUST_ENV),
        _bomb("rust: include /dev/zero", "rust", _RUST_ENDLESS),
        _bomb("rust: macros and constants", "rust", _RUST_MACRO),
        _bomb("java: long constants and generics", "java", _JAVA_LONG),
        _bomb("java: nested 9,000 deep", "java", _JAVA_NESTED),
        _bomb("java: 400 classes", "java", _JAVA_MANY),
        Case(
            "java: a class that is elsewhere",
            "java",
            _JAVA_ELSEWHERE,
            one_of("compile_error", "runtime_error"),
            tries=False,
        ),
        Case("go: embed a secret", "go", _GO, BROKEN, tries=False),
    ),
)
