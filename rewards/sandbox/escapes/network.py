"""Programs that talk to the host, or to anything beyond it, by every family of sockets."""

# ruff: noqa: E501 (programs in other languages keep their own lines)
from __future__ import annotations

from rewards.sandbox.escapes.case import FAILS, Case, Category

_TCP = r"""
import socket
for family, host, port in ((socket.AF_INET, "127.0.0.1", @TCP@), (socket.AF_INET6, "::1", @TCP6@),
                           (socket.AF_INET6, "::ffff:127.0.0.1", @TCP@), (socket.AF_INET, "0.0.0.0", @TCP@),
                           (socket.AF_INET, "10.0.2.2", 80), (socket.AF_INET, "169.254.169.254", 80)):
    def connect():
        with socket.socket(family, socket.SOCK_STREAM) as channel:
            channel.settimeout(1)
            channel.connect((host, port))
            channel.sendall(b"@NONCE@")
            return host
    attempt("connect to %s" % host, connect)
def fast_open():
    with socket.socket() as channel:
        return channel.sendto(b"@NONCE@", 0x20000000, ("127.0.0.1", @TCP@))
attempt("TCP fast open", fast_open)
tried()
"""
_UDP = r"""
import socket
for family, host, port in ((socket.AF_INET, "127.0.0.1", @UDP@), (socket.AF_INET, "255.255.255.255", @UDP@),
                           (socket.AF_INET6, "::ffff:127.0.0.1", @UDP@), (socket.AF_INET, "224.0.0.1", @UDP@)):
    def send():
        with socket.socket(family, socket.SOCK_DGRAM) as channel:
            return channel.sendto(b"@NONCE@", (host, port))
    attempt("send to %s" % host, send)
attempt("look a name up", lambda: socket.getaddrinfo("example.com", 80))
attempt("look localhost up", lambda: socket.create_connection(("localhost", @TCP@), 1))
attempt("interfaces", lambda: [name for _, name in socket.if_nameindex() if name != "lo"] or 1 / 0)
tried()
"""
_UNIX = r"""
import socket
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    for name in ("@UNIX@", "\0@ABSTRACT@", "/run/docker.sock", "/run/dbus/system_bus_socket", "/dev/log",
                 "/run/systemd/private", "/tmp/.X11-unix/X0"):
        def connect():
            with socket.socket(socket.AF_UNIX, kind) as channel:
                channel.connect(name)
                channel.send(b"@NONCE@")
                return name
        attempt("connect to " + repr(name)[:20], connect)
def unnamed():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return ours.sendto(b"@NONCE@", "@UNIX@")
attempt("send from a pair", unnamed)
def abstract():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return ours.sendto(b"@NONCE@", "\0@ABSTRACT@.dgram")
attempt("send from a pair to an abstract name", abstract)
attempt("serve", lambda: socket.socket(socket.AF_UNIX).bind("\0@ABSTRACT@.mine"))
tried()
"""
_FAMILIES = r"""
import socket
for family in range(1, 48):
    for kind in (1, 2, 3, 4, 5, 10):
        for protocol in (0, 1, 2, 15, 16):
            try:
                made = socket.socket(family, kind, protocol)
            except OSError:
                continue
            print("ESCAPED family", family, kind, protocol)
            made.close()
for family in range(2, 48):
    try:
        socket.socketpair(family, 1)
    except OSError:
        continue
    print("ESCAPED pair of family", family)
tried()
"""
_SERVE = r"""
import socket
for host in ("0.0.0.0", "127.0.0.1"):
    def serve():
        channel = socket.socket()
        channel.bind((host, 0))
        channel.listen()
        return channel.getsockname()
    attempt("serve on " + host, serve)
import urllib.request, http.client
attempt("http", lambda: urllib.request.urlopen("http://127.0.0.1:@TCP@/@NONCE@", timeout=1).read())
async def aio():
    return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", @TCP@), 1)
import asyncio
attempt("asyncio", lambda: asyncio.run(aio()))
tried()
"""
_C_NETWORK = r"""
#include <linux/netlink.h>
int main(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(@TCP@), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    long s = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    attempt("connect", s < 0 ? -1 : syscall(SYS_connect, s, &to, sizeof to));
    to.sin_port = htons(@UDP@);
    s = syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
    attempt("sendto", s < 0 ? -1 : syscall(SYS_sendto, s, "@NONCE@", 9, 0, &to, sizeof to));
    attempt("high bits of the family", syscall(SYS_socket, 0x100000002UL, SOCK_STREAM, 0));
    attempt("raw", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    attempt("ping", socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
    attempt("packet", socket(AF_PACKET, SOCK_RAW, htons(3)));
    attempt("netlink", socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    attempt("uevents", socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT));
    attempt("vsock", socket(40, SOCK_STREAM, 0));
    attempt("alg", socket(38, SOCK_SEQPACKET, 0));
    attempt("bluetooth", socket(31, SOCK_RAW, 1));
    attempt("tipc", socket(30, SOCK_DGRAM, 0));
    attempt("xdp", socket(44, SOCK_RAW, 0));
    attempt("smc", socket(43, SOCK_STREAM, 0));
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0) {
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        strcpy(name.sun_path + 1, "@ABSTRACT@.dgram");
        attempt("from a pair", sendto(pair[0], "@NONCE@", 9, 0, (void *)&name, 3 + strlen(name.sun_path + 1)));
        attempt("bind one of a pair", bind(pair[0], (void *)&name, sizeof name));
        attempt("connect one of a pair", connect(pair[1], (void *)&name, 3 + strlen(name.sun_path + 1)));
        strcpy(name.sun_path, "@UNIX@");
        struct iovec part = {"@NONCE@", 9};
        struct msghdr message = {.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &part, .msg_iovlen = 1};
        attempt("sendmsg from a pair", sendmsg(pair[0], &message, 0));
    }
    tried();
}
"""
_INT80 = r"""
/* The 32-bit table: socketcall(SYS_SOCKET), past a filter that checks numbers alone. */
int main(void) {
    unsigned *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    long got = -1;
    low[0] = AF_INET; low[1] = SOCK_STREAM; low[2] = 0;
    tried();
    __asm__ volatile("int $0x80" : "=a"(got) : "a"(102), "b"(1), "c"(low) : "memory");
    attempt("socketcall of 32 bits", (int)got >= 0 ? got : -1);
    return 1;
}
"""
_X32 = r"""
int main(void) {
    for (long call = 41; call < 44; call++) attempt("x32", syscall(0x40000000 | call, AF_INET, SOCK_STREAM, 0));
    attempt("x32 ptrace", syscall(0x40000000 | 521, PTRACE_ATTACH, getppid(), 0, 0));
    attempt("x32 process_vm_readv", syscall(0x40000000 | 539, getppid(), 0, 0, 0, 0, 0));
    attempt("x32 unshare", syscall(0x40000000 | 272, 0x10000000));
    attempt("negative", syscall(-1));
    tried();
}
"""
_BASH_NETWORK = r"""
attempt "tcp" eval 'exec 5<>/dev/tcp/127.0.0.1/@TCP@ && echo @NONCE@ >&5'
attempt "udp" eval 'echo @NONCE@ > /dev/udp/127.0.0.1/@UDP@'
for tool in curl wget nc ncat telnet ssh ping socat openssl; do
    command -v $tool > /dev/null || continue
    case $tool in
        curl) attempt curl timeout 2 curl -s telnet://127.0.0.1:@TCP@ ;;
        wget) attempt wget timeout 2 wget -q -t 1 -T 1 http://127.0.0.1:@TCP@/ ;;
        ssh) attempt ssh timeout 2 ssh -o BatchMode=yes -p @TCP@ 127.0.0.1 true ;;
        ping) attempt ping timeout 2 ping -c 1 127.0.0.1 ;;
        openssl) attempt openssl timeout 2 openssl s_client -connect 127.0.0.1:@TCP@ ;;
        *) attempt $tool timeout 2 $tool 127.0.0.1 @TCP@ ;;
    esac
done
attempt "a name" eval 'getent hosts example.com | grep .'
attempt "interfaces" eval 'ls /sys/class/net | grep -v -x lo'
echo tried
"""
_NODE_NETWORK = r"""
const net = require("net"), dgram = require("dgram"), http = require("http"), dns = require("dns");
let open = 0;
setTimeout(() => { console.log("tried"); process.exit(0); }, 3000);
function watch(what, thing) {
    open++;
    const end = (word, error) => { console.log(word, what, error ? error.code || error.message : ""); if (--open == 0) { console.log("tried"); process.exit(0); } };
    let once = false;
    thing((error) => { if (!once) { once = true; end(error ? "refused" : "ESCAPED", error); } });
}
watch("tcp", (done) => net.connect(@TCP@, "127.0.0.1", () => done()).on("error", done));
watch("tcp6", (done) => net.connect(@TCP6@, "::1", () => done()).on("error", done));
watch("unix", (done) => net.connect("@UNIX@", () => done()).on("error", done));
watch("abstract", (done) => net.connect("\0@ABSTRACT@", () => done()).on("error", done));
watch("serve", (done) => net.createServer().on("error", done).listen(0, "127.0.0.1", () => done()));
watch("http", (done) => http.get("http://127.0.0.1:@TCP@/@NONCE@", () => done()).on("error", done));
watch("name", (done) => dns.lookup("example.com", (error) => done(error)));
watch("udp", (done) => { try { const s = dgram.createSocket("udp4"); s.on("error", done); s.send("@NONCE@", @UDP@, "127.0.0.1", (e) => done(e)); } catch (e) { done(e); } });
"""
_JAVA_NETWORK = r"""
import java.net.*;
import java.nio.channels.*;
public class Main {
    interface Action { void run() throws Throwable; }
    static void attempt(String what, Action action) {
        try { action.run(); System.out.println("ESCAPED " + what); }
        catch (Throwable error) { System.out.println("refused " + what + " " + error); }
    }
    public static void main(String[] arguments) {
        byte[] text = "@NONCE@".getBytes();
        attempt("tcp", () -> new Socket("127.0.0.1", @TCP@).getOutputStream().write(text));
        attempt("tcp6", () -> new Socket("::1", @TCP6@).getOutputStream().write(text));
        attempt("channel", () -> SocketChannel.open(new InetSocketAddress("127.0.0.1", @TCP@)));
        attempt("unix", () -> SocketChannel.open(UnixDomainSocketAddress.of("@UNIX@")));
        attempt("udp", () -> new DatagramSocket().send(new DatagramPacket(text, text.length, InetAddress.getByName("127.0.0.1"), @UDP@)));
        attempt("serve", () -> new ServerSocket(0));
        attempt("http", () -> {
            URLConnection page = new URL("http://127.0.0.1:@TCP@/").openConnection();
            page.setConnectTimeout(1000); page.setReadTimeout(1000);
            page.getInputStream().read();
        });
        attempt("name", () -> InetAddress.getByName("example.com"));
        System.out.println("tried");
    }
}
"""
_RUST_NETWORK = r"""
use std::io::Write;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
fn attempt<T, E: std::fmt::Debug>(what: &str, got: Result<T, E>) {
    match got { Ok(_) => println!("ESCAPED {}", what), Err(error) => println!("refused {} {:?}", what, error) }
}
fn main() {
    attempt("tcp", TcpStream::connect("127.0.0.1:@TCP@").and_then(|mut s| s.write_all(b"@NONCE@")));
    attempt("tcp6", TcpStream::connect("[::1]:@TCP6@"));
    attempt("udp", UdpSocket::bind("0.0.0.0:0").and_then(|s| s.send_to(b"@NONCE@", "127.0.0.1:@UDP@")));
    attempt("unix", UnixStream::connect("@UNIX@"));
    attempt("unix datagram", UnixDatagram::unbound().and_then(|s| s.send_to(b"@NONCE@", "@UNIX@")));
    attempt("pair", UnixDatagram::pair().and_then(|(s, _)| s.send_to(b"@NONCE@", "@UNIX@")));
    attempt("serve", TcpListener::bind("127.0.0.1:0"));
    attempt("name", ("example.com", 80).to_socket_addrs());
    println!("tried");
}
"""

NETWORK = Category(
    "network",
    (
        Case("tcp", "python", _TCP),
        Case("udp and names", "python", _UDP),
        Case("unix sockets, by path and abstract", "python", _UNIX),
        Case("every family", "python", _FAMILIES),
        Case("serve, http, asyncio", "python", _SERVE),
        Case("c: by system call; netlink, packet, vsock …", "c", _C_NETWORK),
        Case("c: 32-bit system calls", "c", _INT80, FAILS, machine="x86_64"),
        Case("c: x32 system calls", "c", _X32, machine="x86_64"),
        Case("shell: /dev/tcp and tools", "bash", _BASH_NETWORK),
        Case("node: network", "javascript", _NODE_NETWORK),
        Case("java: network", "java", _JAVA_NETWORK),
        Case("rust: network", "rust", _RUST_NETWORK),
    ),
)
