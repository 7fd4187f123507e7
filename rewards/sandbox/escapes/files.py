"""Programs that reach for the host's files, devices and kernel settings."""

# ruff: noqa: E501 (programs in other languages keep their own lines)
from __future__ import annotations

from rewards.sandbox.escapes.case import Case, Category

_READ = r"""
import glob
paths = ["@SECRET_FILE@", "/proc/self/root@SECRET_FILE@", "/proc/1/root@SECRET_FILE@", "/proc/1/cwd@SECRET_FILE@",
         "/tmp/" + "../" * 20 + "@SECRET_FILE@", "/proc/self/cwd/" + "../" * 20 + "@SECRET_FILE@",
         "/dev/fd/0/../@SECRET_FILE@", "/proc/@PID@/root@SECRET_FILE@", "/.host@SECRET_FILE@"]
for path in paths:
    attempt("read " + path[:30], lambda: open(path).read())
os.symlink("@SECRET_FILE@", "/tmp/link" if os.getcwd() == "/tmp" else "link")
attempt("read through a link", lambda: open("link").read())
attempt("hard link", lambda: (os.link("@SECRET_FILE@", "hard"), open("hard").read()))
attempt("list the folder", lambda: os.listdir(os.path.dirname("@SECRET_FILE@")))
tried()
"""

_SYSTEM = r"""
def names(path):
    # What is there beyond the way to the interpreter itself.
    found = [name for name in os.listdir(path) if not sys.base_prefix.startswith(os.path.join(path, name))]
    if not found:
        raise OSError("nothing in it")
    return found
for path in ["/etc/shadow", "/etc/passwd", "/etc/hostname", "/etc/machine-id", "/etc/ssh", "/root", "/home", "/var/log",
             "/var/lib", "/srv", "/boot", "/run", "/opt", "/mnt", "/media", "/sys", "/.host", *{"@CWD@", "@PROJECT@"}]:
    if os.path.isfile(path):
        attempt("read " + path, lambda: open(path).read())
    else:
        attempt("list " + path, lambda: names(path))
tried()
"""

_WRITE = r"""
target, folder = "@OPEN_FILE@", "@OPEN_FOLDER@"
attempt("append", lambda: open(target, "a").write("x"))
attempt("truncate", lambda: os.truncate(target, 0))
attempt("overwrite", lambda: os.open(target, os.O_WRONLY | os.O_CREAT))
attempt("chmod", lambda: os.chmod(target, 0o4777))
attempt("chown", lambda: os.chown(target, os.getuid(), os.getgid()))
attempt("utime", lambda: os.utime(target, (1, 1)))
attempt("setxattr", lambda: os.setxattr(target, "user.evil", b"1"))
attempt("rename away", lambda: os.rename(target, "stolen"))
attempt("rename over", lambda: (open("mine", "w").write("x"), os.rename("mine", target)))
attempt("unlink", lambda: os.unlink(target))
attempt("create", lambda: open(folder + "/planted", "w"))
attempt("mkdir", lambda: os.mkdir(folder + "/planted.d"))
attempt("symlink", lambda: os.symlink("/etc/shadow", folder + "/planted.l"))
attempt("fifo", lambda: os.mkfifo(folder + "/planted.p"))
attempt("link in", lambda: (open("mine", "w").write("x"), os.link("mine", folder + "/planted.h")))
attempt("lock", lambda: __import__("fcntl").flock(open(target), 2))
tried()
"""

_TOOLCHAIN = r"""
import json, glob
for path in [os.__file__, json.__file__, json.__cached__ or json.__file__, sys.executable, "/usr/bin/env", "/bin/sh",
             "/usr/lib/os-release", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/passwd"]:
    attempt("open for writing " + path, lambda: os.open(path, os.O_WRONLY))
    attempt("delete " + path, lambda: os.unlink(path))
    attempt("chmod " + path, lambda: os.chmod(path, 0o777))
for folder in ["/", "/usr", "/usr/bin", "/usr/lib", "/bin", "/lib", "/etc", "/dev", "/proc", "/var/tmp", "/run/lock",
               os.path.dirname(os.__file__), os.path.dirname(json.__file__) + "/__pycache__"]:
    attempt("create in " + folder, lambda: open(folder + "/evil.pth", "w"))
    attempt("unnamed file in " + folder, lambda: os.open(folder, os.O_TMPFILE | os.O_WRONLY))
tried()
"""

_PROC_SYS = r"""
import glob
for path in ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname",
             "/proc/sys/kernel/ns_last_pid", "/proc/sys/vm/drop_caches", "/proc/sys/net/ipv4/ip_forward",
             "/proc/sys/fs/protected_symlinks", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity",
             "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups", "/proc/acpi/wakeup"]:
    attempt("write " + path, lambda: os.write(os.open(path, os.O_WRONLY), b"1"))
for path in ["/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/slabinfo",
             "/proc/vmallocinfo", "/proc/iomem"]:
    def read():
        data = os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 200)
        if path in ("/proc/keys", "/proc/key-users", "/proc/iomem") and (not data or b"00000000-00000000" in data):
            raise OSError("nothing in it")
        return data
    attempt("read " + path, read)
def spare():
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")
    if int(open("/proc/self/oom_score_adj").read()) >= 0:
        raise OSError("not set")
attempt("never be killed for memory", spare)
for path in glob.glob("/sys/fs/cgroup/**/cgroup.procs", recursive=True)[:20]:
    attempt("join " + path, lambda: open(path, "w").write("0"))
attempt("write below /sys", lambda: open("/sys/kernel/mm/transparent_hugepage/enabled", "w").write("never"))
tried()
"""

_DEVICES = r"""
import stat
for path in ["/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/nvme0n1", "/dev/dm-0",
             "/dev/loop0", "/dev/loop-control", "/dev/fuse", "/dev/kvm", "/dev/tty", "/dev/tty0", "/dev/console",
             "/dev/ptmx", "/dev/net/tun", "/dev/userfaultfd", "/dev/vsock", "/dev/mapper/control", "/dev/input/event0",
             "/dev/dri/card0", "/dev/nvidia0", "/dev/snd/seq", "/dev/vhost-net", "/dev/hpet", "/dev/rtc0"]:
    attempt("open " + path, lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK))
for name, device in (("mem", (1, 1)), ("kmsg", (1, 11)), ("vda", (253, 0)), ("sda", (8, 0))):
    attempt("make " + name, lambda: os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(*device)))
attempt("make a block device", lambda: os.mknod("disk", 0o666 | stat.S_IFBLK, os.makedev(8, 0)))
attempt("push a key into the terminal", lambda: __import__("fcntl").ioctl(0, 0x5412, b"x"))
tried()
"""

_STAT = r"""
attempt("size of a host file", lambda: os.stat("@SECRET_FILE@").st_size)
attempt("go to a folder of the host", lambda: os.chdir("@OPEN_FOLDER@"))
tried()
"""

_HANDLES = r"""
int main(void) {
    struct { struct file_handle head; unsigned char rest[128]; } handle = {.head = {.handle_bytes = 128}};
    int mount_id;
    attempt("a handle of the secret", name_to_handle_at(AT_FDCWD, "@SECRET_FILE@", &handle.head, &mount_id, 0));
    /* inode 2 is the root of most file systems: Docker's "shocker" */
    handle.head.handle_bytes = 8; handle.head.handle_type = 1;
    memcpy(handle.rest, "\2\0\0\0\0\0\0\0", 8);
    const char *roots[] = {"/", "/usr", "/tmp", "/proc", "."};
    for (unsigned i = 0; i < 5; i++) {
        int at = open(roots[i], O_RDONLY);
        attempt("open by handle", open_by_handle_at(at, &handle.head, O_RDONLY));
    }
    char text[200] = {0};
    int fd = open("@SECRET_FILE@", O_RDONLY);
    attempt("open", fd);
    if (fd >= 0 && read(fd, text, 199) > 0) puts(text);
    struct { uint64_t flags, mode, resolve; } how = {O_RDONLY, 0, 0};
    fd = syscall(SYS_openat2, AT_FDCWD, "/proc/self/root/../../../../@SECRET_FILE@", &how, sizeof how);
    attempt("openat2", fd);
    if (fd >= 0 && read(fd, text, 199) > 0) puts(text);
    attempt("swapon", syscall(SYS_swapon, "@OPEN_FILE@", 0));
    attempt("acct", syscall(SYS_acct, "@OPEN_FILE@"));
    attempt("unlinkat", unlinkat(AT_FDCWD, "@OPEN_FILE@", 0));
    attempt("renameat2", syscall(SYS_renameat2, AT_FDCWD, "@OPEN_FILE@", AT_FDCWD, "./mine", 0));
    tried();
}
"""

_BASH = r"""
attempt "read the secret" cat @SECRET_FILE@
attempt "read by redirection" eval 'text=$(<@SECRET_FILE@); echo "$text"; [ -n "$text" ]'
attempt "source it" source @SECRET_FILE@
attempt "shadow" cat /etc/shadow
attempt "keys" eval 'cat /root/.ssh/* /home/*/.ssh/* /root/.aws/* /root/.bash_history'
attempt "write" eval 'echo x >> @OPEN_FILE@'
attempt "plant" eval 'echo x > @OPEN_FOLDER@/planted'
attempt "move" mv @OPEN_FILE@ .
attempt "remove" rm @OPEN_FOLDER@/kept
attempt "tar" tar cf all.tar @SECRET_FILE@
attempt "find" eval 'find / -name "*@NONCE@*" 2>/dev/null | grep .'
attempt "copy a device" dd if=/dev/vda of=disk bs=512 count=1
attempt "crontab" eval 'echo "* * * * * true" > /var/spool/cron/crontabs/root'
echo tried
"""

_SETUID = r"""
ids=$(id -u)
for program in $(find /usr/bin /usr/sbin /bin /usr/lib -xdev -perm /6000 -type f 2>/dev/null | head -30); do
    case $program in
        */su) attempt "$program" eval "echo | $program -c 'id -u' < /dev/null | grep -x 0" ;;
        */sudo) attempt "$program" "$program" -n id ;;
        */mount) attempt "$program" "$program" -t tmpfs none /tmp ;;
        */pkexec) attempt "$program" "$program" id ;;
    esac
done
cp /bin/bash own && chmod 4777 own
attempt "a shell of its own with the setuid bit" eval './own -p -c "test $(id -u) != '"$ids"'"'
attempt "unshare to root" unshare -Ur id -u
attempt "setpriv" setpriv --reuid 0 id
attempt "chroot" chroot / id
attempt "newuidmap" newuidmap $$ 0 0 1
grep -E "^(NoNewPrivs:.0|CapEff:.*[1-9a-f]|CapPrm:.*[1-9a-f])" /proc/self/status | sed 's/^/ESCAPED /'
echo tried
"""

_JAVASCRIPT = r"""
const fs = require("fs");
function attempt(what, action) {
    try { console.log("ESCAPED", what, String(action()).slice(0, 400)); }
    catch (error) { console.log("refused", what, error.code || String(error).slice(0, 100)); }
}
attempt("read", () => fs.readFileSync("@SECRET_FILE@", "utf8"));
attempt("read a link", () => { fs.symlinkSync("@SECRET_FILE@", "l"); return fs.readFileSync("l", "utf8"); });
attempt("list", () => fs.readdirSync("@OPEN_FOLDER@"));
attempt("append", () => fs.appendFileSync("@OPEN_FILE@", "x"));
attempt("plant", () => fs.writeFileSync("@OPEN_FOLDER@/planted", "x"));
attempt("rename", () => fs.renameSync("@OPEN_FILE@", "stolen"));
attempt("chmod", () => fs.chmodSync("@OPEN_FILE@", 0));
attempt("remove all", () => fs.rmSync("@OPEN_FOLDER@/kept"));
attempt("shadow", () => fs.readFileSync("/etc/shadow"));
attempt("copy", () => fs.cpSync("@SECRET_FILE@", "copied"));
attempt("addon", () => process.binding("spawn_sync") && fs.readFileSync("/root/.ssh/id_rsa"));
console.log("tried");
"""

_JAVA = r"""
import java.io.*;
import java.nio.file.*;
public class Main {
    interface Action { Object run() throws Throwable; }
    static void attempt(String what, Action action) {
        try { System.out.println("ESCAPED " + what + " " + action.run()); }
        catch (Throwable error) { System.out.println("refused " + what + " " + error); }
    }
    public static void main(String[] arguments) {
        attempt("read", () -> new String(Files.readAllBytes(Paths.get("@SECRET_FILE@"))));
        attempt("read as a class path", () -> new java.net.URL("file:@SECRET_FILE@").openStream().read());
        attempt("random access", () -> new RandomAccessFile("@OPEN_FILE@", "rw").length());
        attempt("append", () -> Files.write(Paths.get("@OPEN_FILE@"), new byte[1], StandardOpenOption.APPEND));
        attempt("move", () -> Files.move(Paths.get("@OPEN_FILE@"), Paths.get("stolen")));
        attempt("plant", () -> Files.createFile(Paths.get("@OPEN_FOLDER@/planted")));
        attempt("delete", () -> Files.deleteIfExists(Paths.get("@OPEN_FOLDER@/kept")) ? "done" : Files.size(Paths.get("@OPEN_FOLDER@")));
        attempt("list", () -> Files.list(Paths.get("@OPEN_FOLDER@")).count());
        attempt("exec cat", () -> {
            Process cat = new ProcessBuilder("cat", "@SECRET_FILE@").start();
            String text = new String(cat.getInputStream().readAllBytes());
            if (text.isEmpty()) throw new IOException("nothing");
            return text;
        });
        System.out.println("tried");
    }
}
"""

_RUST = r"""
use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
fn attempt<T: std::fmt::Debug, E: std::fmt::Debug>(what: &str, got: Result<T, E>) {
    match got { Ok(found) => println!("ESCAPED {} {:?}", what, found), Err(error) => println!("refused {} {:?}", what, error) }
}
fn main() {
    attempt("read", fs::read_to_string("@SECRET_FILE@"));
    attempt("copy", fs::copy("@SECRET_FILE@", "copied"));
    attempt("write", fs::OpenOptions::new().append(true).open("@OPEN_FILE@"));
    attempt("rename", fs::rename("@OPEN_FILE@", "stolen"));
    attempt("plant", fs::write("@OPEN_FOLDER@/planted", b"x"));
    attempt("symlink", symlink("/etc/shadow", "@OPEN_FOLDER@/planted"));
    attempt("chmod", fs::set_permissions("@OPEN_FILE@", fs::Permissions::from_mode(0o777)));
    attempt("remove", fs::remove_file("@OPEN_FOLDER@/kept"));
    attempt("list", fs::read_dir("@OPEN_FOLDER@").map(|found| found.count()));
    attempt("shadow", fs::read_to_string("/etc/shadow"));
    println!("tried");
}
"""

_CPP = r"""
#include <filesystem>
#include <fstream>
#include <iostream>
namespace fs = std::filesystem;
template <class Action> void attempt(const char *what, Action action) {
    try { if (auto got = action(); !got.empty()) { std::cout << "ESCAPED " << what << " " << got << std::endl; return; } }
    catch (const std::exception &error) { std::cout << "refused " << what << " " << error.what() << std::endl; return; }
    std::cout << "refused " << what << std::endl;
}
int main() {
    attempt("read", [] { std::string line; std::getline(std::ifstream("@SECRET_FILE@") >> std::ws, line); return line; });
    attempt("write", [] { return std::ofstream("@OPEN_FILE@", std::ios::app) << "x" ? std::string("done") : ""; });
    attempt("walk", [] { std::string all; for (auto &entry : fs::recursive_directory_iterator("@OPEN_FOLDER@"))
        all += entry.path().string(); return all; });
    attempt("rename", [] { fs::rename("@OPEN_FILE@", "stolen"); return std::string("done"); });
    attempt("remove", [] { return fs::remove_all("@OPEN_FOLDER@/kept") ? std::string("done") : ""; });
    attempt("plant", [] { fs::create_directory("@OPEN_FOLDER@/planted"); return std::string("done"); });
    attempt("permissions", [] { fs::permissions("@OPEN_FILE@", fs::perms::all); return std::string("done"); });
    std::cout << "tried" << std::endl;
}
"""

_GO = r"""
package main
import ("fmt"; "os"; "syscall")
func attempt(what string, err error, found ...any) {
    if err == nil { fmt.Println("ESCAPED", what, found) } else { fmt.Println("refused", what, err) }
}
func main() {
    text, err := os.ReadFile("@SECRET_FILE@"); attempt("read", err, string(text))
    _, err = os.OpenFile("@OPEN_FILE@", os.O_APPEND|os.O_WRONLY, 0); attempt("append", err)
    attempt("rename", os.Rename("@OPEN_FILE@", "stolen"))
    attempt("plant", os.WriteFile("@OPEN_FOLDER@/planted", []byte("x"), 0o644))
    attempt("remove", os.Remove("@OPEN_FOLDER@/kept"))
    attempt("chmod", os.Chmod("@OPEN_FILE@", 0o777))
    attempt("kill", syscall.Kill(@PID@, syscall.SIGKILL))
    _, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0); attempt("socket", err)
    attempt("mount", syscall.Mount("none", "/tmp", "tmpfs", 0, ""))
    attempt("chroot", syscall.Chroot("/"))
    fmt.Println("tried")
}
"""

FILES = Category(
    "files",
    (
        Case("read a secret by every path", "python", _READ),
        Case("read the system", "python", _SYSTEM),
        Case("change a file that all may change", "python", _WRITE),
        Case("change the toolchain", "python", _TOOLCHAIN, danger="host"),
        Case("kernel settings", "python", _PROC_SYS, danger="host"),
        Case("devices", "python", _DEVICES, danger="host"),
        Case("see that a file is there", "python", _STAT, gaps=("landlock",)),
        Case("files by handle", "c", _HANDLES),
        Case("shell: read, write, plant", "bash", _BASH),
        Case("setuid programs", "bash", _SETUID, danger="host"),
        Case("node: read, write, plant", "javascript", _JAVASCRIPT),
        Case("java: read, write, plant", "java", _JAVA),
        Case("rust: read, write, plant", "rust", _RUST),
        Case("c++: read, write, plant", "cpp", _CPP),
        Case("go: files, signals, sockets, mounts", "go", _GO),
    ),
)
