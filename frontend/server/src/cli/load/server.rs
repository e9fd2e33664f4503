//! What the server under load costs, where it runs on this machine: the CPU time of the processes
//! that hold the listening socket, and of all that descend from them.
//!
//! A front end starts its deployed containers itself, so that they are counted; those that someone
//! else started are not. Nothing is known of a server on another machine, in another network
//! namespace, or of another user.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// `USER_HZ`, which `/proc` counts in.
const TICKS_PER_SECOND: u64 = 100;
/// The state of a listening socket in `/proc/net/tcp`.
const LISTENS: &str = "0A";
/// They hold the socket of a server that runs elsewhere.
const FORWARDERS: [&str; 2] = ["docker-proxy", "rootlesskit"];

/// A server on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// The processes that listen, but for those whose parents do.
    roots: Vec<u32>,
}

/// A line of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    name: String,
    parent: u32,
    /// User and system time, its own and that of children it has waited for.
    ticks: u64,
}

impl Server {
    /// Who listens at `address`; `None` where that cannot be told.
    pub(super) fn at(address: SocketAddr) -> Option<Server> {
        UdpSocket::bind((address.ip(), 0)).ok()?; // else it is no address of this machine
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
        let lines = tables.iter().flatten().flat_map(|table| table.lines());
        let sockets: Vec<_> = lines.filter_map(|line| listener(line, address)).collect();
        let holds = |pid: &u32| sockets.iter().any(|socket| holds(*pid, socket));
        let held = pids().filter(holds);
        let held: HashMap<_, _> = held.filter_map(|pid| Some((pid, process(pid)?))).collect();
        let is_forwarder = |one: &Process| FORWARDERS.contains(&one.name.as_str());
        if held.is_empty() || held.values().any(is_forwarder) {
            return None;
        }
        // Workers that have the socket from their parent come and go.
        let tops = held
            .iter()
            .filter(|(_, one)| !held.contains_key(&one.parent));
        let roots = tops.map(|(pid, _)| *pid).collect();
        Some(Server { roots })
    }

    /// The CPU time that it has used up to now; `None` if it is gone.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let all = pids().filter_map(|pid| Some((pid, process(pid)?)));
        let ticks = tree_ticks(&all.collect(), &self.roots, std::process::id())?;
        Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }
}

/// The ticks of `roots` and their descendants, without those of `except` and its own.
fn tree_ticks(all: &HashMap<u32, Process>, roots: &[u32], except: u32) -> Option<u64> {
    let is_there = roots.iter().all(|root| all.contains_key(root));
    let belongs = |mut pid: u32| {
        // Parents of parents end at 0; a table that was read while it changed may not.
        for _ in 0..all.len() {
            if pid == except {
                return false;
            }
            if roots.contains(&pid) {
                return true;
            }
            let Some(process) = all.get(&pid) else {
                return false;
            };
            pid = process.parent;
        }
        false
    };
    let of_tree = all.iter().filter(|(pid, _)| belongs(**pid));
    is_there.then(|| of_tree.map(|(_, process)| process.ticks).sum())
}

/// The inode of a socket that listens at `address`, from a line of `/proc/net/tcp` or `tcp6`.
fn listener(line: &str, address: SocketAddr) -> Option<&str> {
    let mut fields = line.split_whitespace().skip(1);
    let (ip, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    let is_there = state == LISTENS
        && u16::from_str_radix(port, 16) == Ok(address.port())
        && takes(ip_of(ip)?, address.ip());
    is_there.then(|| fields.nth(5)).flatten()
}

/// Whether what listens at `own` takes connections to `asked`.
fn takes(own: IpAddr, asked: IpAddr) -> bool {
    let is_same_kind = own.is_ipv4() == asked.is_ipv4() || own.is_ipv6();
    own.to_canonical() == asked.to_canonical() || (own.is_unspecified() && is_same_kind)
}

/// An address as the kernel prints it: words in the byte order of the machine.
fn ip_of(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok();
    if text.len() == 8 {
        return Some(IpAddr::from(word(0)?.to_ne_bytes()));
    }
    let mut bytes = [0; 16];
    for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
        four.copy_from_slice(&word(8 * at)?.to_ne_bytes());
    }
    Some(IpAddr::from(bytes))
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether a process has the socket open; `false` if it may not be looked at.
fn holds(pid: u32, inode: &str) -> bool {
    let socket = format!("socket:[{inode}]");
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    let mut targets = descriptors.into_iter().flatten().flatten();
    targets.any(|one| fs::read_link(one.path()).is_ok_and(|target| target.as_os_str() == &*socket))
}

fn process(pid: u32) -> Option<Process> {
    parsed(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parsed(stat: &str) -> Option<Process> {
    // The name may hold anything, parentheses too.
    let (before, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let times = fields.skip(9).take(4).map(|field| field.parse::<u64>());
    Some(Process {
        name: before.split_once('(')?.1.to_owned(),
        parent,
        ticks: times.sum::<Result<_, _>>().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn process_of(parent: u32, ticks: u64) -> Process {
        Process {
            name: String::new(),
            parent,
            ticks,
        }
    }

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "42 (a ) b) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 5 0 99";
        let process = parsed(stat).expect("a process");
        assert_eq!((&*process.name, process.parent), ("a ) b", 7));
        assert_eq!(process.ticks, 100, "of it and of those it has waited for");
        assert_eq!(parsed("42 (a) S x"), None);
    }

    #[test]
    fn the_tree_is_counted_without_who_asks() {
        let all = HashMap::from([
            (1, process_of(0, 1)),
            (10, process_of(1, 2)),
            (11, process_of(10, 4)),
            (12, process_of(11, 8)),
            (13, process_of(11, 16)),
            (14, process_of(13, 32)),
            (20, process_of(1, 64)),
        ]);
        assert_eq!(tree_ticks(&all, &[10], 99), Some(2 + 4 + 8 + 16 + 32));
        assert_eq!(tree_ticks(&all, &[10], 13), Some(2 + 4 + 8));
        assert_eq!(tree_ticks(&all, &[10, 20], 11), Some(2 + 64));
        assert_eq!(tree_ticks(&all, &[10, 21], 99), None, "one is gone");
    }

    #[test]
    fn a_listener_is_told_by_port_address_and_state() {
        let line = |ip: &str, state: &str| {
            format!(
                "   0: {ip}:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 777 1 0"
            )
        };
        let asked = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let loopback = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]));
        let mapped = format!(
            "{:0>16}{:08X}{loopback}",
            "",
            u32::from_ne_bytes([0, 0, 255, 255])
        );
        let any = "0".repeat(32);
        for (ip, state, address, is_there) in [
            (&*loopback, "0A", "127.0.0.1:8080", true),
            (&*loopback, "01", "127.0.0.1:8080", false),
            (&*loopback, "0A", "127.0.0.1:8081", false),
            (&*loopback, "0A", "127.0.0.2:8080", false),
            ("00000000", "0A", "127.0.0.2:8080", true),
            ("00000000", "0A", "[::1]:8080", false),
            (&*mapped, "0A", "127.0.0.1:8080", true),
            (&*any, "0A", "127.0.0.1:8080", true),
            (&*any, "0A", "[::1]:8080", true),
        ] {
            let found = listener(&line(ip, state), asked(address)) == Some("777");
            assert_eq!(found, is_there, "{ip} {state} {address}");
        }
    }

    #[test]
    fn who_listens_on_this_machine_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let found = Server::at(address).expect("this process");
        assert!(found.roots.contains(&std::process::id()));
        assert_eq!(found.cpu(), Some(Duration::ZERO), "without who asks");
        drop(listener);
        assert_eq!(Server::at(address), None);
        assert_eq!(
            Server::at("192.0.2.1:80".parse().expect("an address")),
            None
        );
    }
}
