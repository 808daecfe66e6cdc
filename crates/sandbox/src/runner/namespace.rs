//! Gives a container its own network, mounts and processes; runs on the container's own thread.
//!
//! What a thread changes for itself here ends with it and its children: nothing is left mounted.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::invocation::Invocation;
use super::relay::Server;
use super::rootfs::{make_folders, write_fresh};
use crate::process::{bound_command, find_in_path};

/// The container's address in its own network. Not loopback: a server that listens on 127.0.0.1
/// only cannot be reached from outside on the clouds, so it cannot be here.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 172, 2);

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Where the parts of a container's file system lie on the host.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    /// The unpacked image, never written to.
    pub(super) image: PathBuf,
    /// The container's own folder, made and empty.
    pub(super) own: PathBuf,
}

/// Whether namespaces work here; otherwise what the machine refused.
pub(super) fn probe() -> Result<(), String> {
    let probing = std::thread::spawn(|| {
        enter().map_err(|error| format!("a network and a mount namespace: {error}"))?;
        let mut command = unshare_command()?;
        command.args(["--mount-proc", "--", "true"]);
        own_processes().map_err(|error| format!("a process namespace: {error}"))?;
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("`unshare`: {error}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    });
    probing
        .join()
        .unwrap_or_else(|_| Err("the probe failed".into()))
}

/// Moves the calling thread into a fresh network and mount namespace, with its network up.
pub(super) fn enter() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    // Otherwise our mounts would show on the host.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    network_up()
}

/// Makes the calling thread's next child the first process of a namespace: when that one ends,
/// every process in it does. The thread can start no other threads afterwards.
pub(super) fn own_processes() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWPID)?)
}

/// Listens in the namespace on behalf of servers of the host.
pub(super) fn listen_for_host(
    ports: &[u16],
    open: &BTreeSet<SocketAddr>,
) -> Vec<(TcpListener, Server)> {
    let loopback = ports.iter().flat_map(|port| {
        // `localhost` is either family, whichever the resolver names first.
        let v6 = std::net::Ipv6Addr::LOCALHOST;
        [
            (
                SocketAddr::from((Ipv4Addr::LOCALHOST, *port)),
                Server::Loopback(*port),
            ),
            (SocketAddr::from((v6, *port)), Server::Loopback(*port)),
        ]
    });
    let exact = open.iter().map(|server| (*server, Server::At(*server)));
    // A machine without IPv6 lacks the second.
    let listeners = loopback.chain(exact).filter_map(|(address, server)| {
        let listener = TcpListener::bind(address).ok()?;
        listener.set_nonblocking(true).ok()?;
        Some((listener, server))
    });
    listeners.collect()
}

/// Lays out the container's files and makes the command that starts it there.
pub(super) fn prepare(folders: &Folders, invocation: &Invocation) -> io::Result<Command> {
    let root = mount_root(folders)?;
    // A container may write here although its image has none.
    let tmp = make_folders(&root, Path::new("/tmp"))?;
    std::fs::set_permissions(&tmp, PermissionsExt::from_mode(0o1777))?;
    make_folders(&root, &invocation.working_dir)?;
    make_folders(&root, Path::new("/proc"))?;
    let etc = make_folders(&root, Path::new("/etc"))?;
    let hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost\n";
    write_fresh(&etc.join("hosts"), hosts.as_bytes())?;
    // The machine's own name servers cannot be reached from inside.
    write_fresh(&etc.join("resolv.conf"), b"")?;
    mount_devices(&make_folders(&root, Path::new("/dev"))?)?;
    let mut command = unshare_command().map_err(io::Error::other)?;
    let option = |name: &str, path: &Path| {
        let mut option = std::ffi::OsString::from(name);
        option.push(path);
        option
    };
    command
        .arg(option("--root=", &root))
        .arg(option("--wd=", &invocation.working_dir))
        .arg("--mount-proc")
        .arg(format!("--setgid={}", invocation.gid))
        .arg(format!("--setuid={}", invocation.uid))
        .arg("--")
        .args(&invocation.argv);
    Ok(command)
}

/// `unshare`, which mounts the container's own `/proc`, changes root, folder and user, and then
/// becomes the container's command.
fn unshare_command() -> Result<Command, String> {
    let unshare = find_in_path("unshare").ok_or("`unshare` is not installed")?;
    Ok(bound_command(&unshare))
}

/// The image with a writable layer of the container's own.
fn mount_root(folders: &Folders) -> io::Result<PathBuf> {
    let part = |name: &str| -> io::Result<PathBuf> {
        let part = folders.own.join(name);
        std::fs::create_dir_all(&part)?;
        Ok(part)
    };
    let (root, upper, work) = (part("root")?, part("upper")?, part("work")?);
    let lower = &folders.image;
    let options = [
        ("lowerdir", lower),
        ("upperdir", &upper),
        ("workdir", &work),
    ];
    let options = options.map(|(name, path)| format!("{name}={}", path.display()));
    let options = options.join(",");
    let none = MsFlags::empty();
    if mount(
        Some("overlay"),
        &root,
        Some("overlay"),
        none,
        Some(&*options),
    )
    .is_ok()
    {
        return Ok(root);
    }
    // An overlay on an overlay, as within a container, is refused: copy.
    let copy = Command::new("cp")
        .args(["-a", "--reflink=auto", "--"])
        .arg(folders.image.join("."))
        .arg(&root)
        .output()?;
    match copy.status.success() {
        true => Ok(root),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&copy.stderr).into_owned(),
        )),
    }
}

fn mount_devices(dev: &Path) -> io::Result<()> {
    let memory = |at: &Path, mode: &str| {
        let flags = MsFlags::MS_NOSUID;
        mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(mode))
    };
    memory(dev, "mode=755")?;
    for name in DEVICES {
        let node = dev.join(name);
        let host = Path::new("/dev").join(name);
        std::fs::write(&node, "")?;
        let bind = MsFlags::MS_BIND;
        mount(Some(&host), &node, None::<&str>, bind, None::<&str>)?;
    }
    let shared = dev.join("shm");
    std::fs::create_dir(&shared)?;
    memory(&shared, "mode=1777")?;
    symlink("/proc/self/fd", dev.join("fd"))?;
    symlink("/proc/self/fd/0", dev.join("stdin"))?;
    symlink("/proc/self/fd/1", dev.join("stdout"))?;
    symlink("/proc/self/fd/2", dev.join("stderr"))
}

/// A new namespace's only interface is loopback, and it is down.
const LOOPBACK: u32 = 1;

/// Brings loopback up and gives it [`ADDRESS`].
fn network_up() -> io::Result<()> {
    const NEW_LINK: u16 = 16;
    const NEW_ADDRESS: u16 = 20;
    const CREATE: u16 = 0x400;
    const UP: u32 = 1;
    // struct ifinfomsg: family, padding, type, index, flags, which flags change.
    let mut link = vec![0; 4];
    link.extend([LOOPBACK, UP, UP].map(u32::to_ne_bytes).concat());
    netlink(NEW_LINK, 0, &link)?;
    // struct ifaddrmsg: family, prefix, flags, scope, index; then IFA_LOCAL and IFA_ADDRESS.
    let mut address = vec![AddressFamily::Inet as u8, 32, 0, 0];
    address.extend(LOOPBACK.to_ne_bytes());
    for attribute in [2_u16, 1] {
        address.extend(8_u16.to_ne_bytes());
        address.extend(attribute.to_ne_bytes());
        address.extend(ADDRESS.octets());
    }
    netlink(NEW_ADDRESS, CREATE, &address)
}

/// One acknowledged request to the kernel's routing tables.
fn netlink(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const HEADER: usize = 16;
    let raw = SockType::Raw;
    let route = SockProtocol::NetlinkRoute;
    let socket = socket(AddressFamily::Netlink, raw, SockFlag::SOCK_CLOEXEC, route)?;
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((flags | REQUEST_AND_ACK).to_ne_bytes());
    // Sequence number and sender: there is one request, and one asker.
    message.extend([0; 8]);
    message.extend(body);
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
    let mut reply = [0; 512];
    let count = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    // struct nlmsgerr: the error number, negated, follows the header.
    let code = reply[..count].get(HEADER..HEADER + 4);
    let code: [u8; 4] = code.and_then(|it| it.try_into().ok()).unwrap_or([0xff; 4]);
    match i32::from_ne_bytes(code) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    }
}
