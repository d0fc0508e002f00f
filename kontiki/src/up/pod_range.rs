//! Addresses for the pods of a real node: a /24 that no other `up` on this machine uses at the same time.

use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::Failure;

/// A range, and the claim to it: a name of the machine's network that is free again when this process ends.
pub(super) struct PodRange {
    pub(super) cidr: String,
    _claim: UnixListener,
}

/// Pieces of `10.244.0.0/16`, by their third number. The first is left to nodes that joined a cluster.
const PIECES: std::ops::RangeInclusive<u8> = 1..=255;

impl PodRange {
    /// The range the directory's node had before; otherwise the first free one.
    pub(super) fn reserve(port_base: u16, before: Option<&str>) -> Result<Self, Failure> {
        if let Some(cidr) = before {
            return Self::claim(cidr).ok_or_else(|| {
                format!("the pod addresses {cidr} of this directory are in use by another kontiki up: end that first")
                    .into()
            });
        }
        let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        let free = candidates(port_base).filter(|network| !is_routed(&routes, *network));
        let claimed = free.into_iter().find_map(|network| Self::claim(&format!("{network}/24")));
        claimed.ok_or_else(|| "no /24 of 10.244.0.0/16 is free for pods on this machine".into())
    }

    fn claim(cidr: &str) -> Option<Self> {
        let address = SocketAddr::from_abstract_name(format!("kontiki-pods-{cidr}")).ok()?;
        let claim = UnixListener::bind_addr(&address).ok()?;
        Some(Self { cidr: cidr.to_owned(), _claim: claim })
    }
}

/// All pieces, beginning with one that other port bases rarely begin with.
fn candidates(port_base: u16) -> impl Iterator<Item = Ipv4Addr> {
    let count = u16::from(*PIECES.end() - *PIECES.start()) + 1;
    let piece = move |step: u16| u8::try_from((port_base % count + step) % count).unwrap_or(0) + PIECES.start();
    (0..count).map(move |step| Ipv4Addr::new(10, 244, piece(step), 0))
}

/// Whether the machine has a way to this /24 or to a part of it, other than the default route.
fn is_routed(table: &str, network: Ipv4Addr) -> bool {
    let number = |field: &str| u32::from_str_radix(field, 16).ok().map(u32::swap_bytes);
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        let (Some(destination), Some(mask)) = (fields.nth(1).and_then(number), fields.nth(5).and_then(number)) else {
            return false;
        };
        let common = mask & 0xffff_ff00;
        mask != 0 && destination & common == u32::from(network) & common
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_bases_begin_with_different_ranges_and_reach_all() {
        let first = |port_base| candidates(port_base).next().expect("one");
        let firsts: std::collections::BTreeSet<_> = [6443, 7443, 12_000, 12_010, 21_443].map(first).into();
        assert_eq!(firsts.len(), 5, "{firsts:?}");
        let all: std::collections::BTreeSet<_> = candidates(6443).collect();
        assert_eq!(all.len(), 255);
        assert!(!all.contains(&Ipv4Addr::new(10, 244, 0, 0)));
    }

    #[test]
    fn ranges_with_a_route_are_taken() {
        // The default, 10.244.7.0/24, 10.99.0.0/16 and one host, as the kernel writes them.
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            br0\t0007F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            br1\t0000630A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            br2\t0509F40A\t00000000\t0001\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n";
        for (network, taken) in [
            (Ipv4Addr::new(10, 244, 7, 0), true),
            (Ipv4Addr::new(10, 244, 8, 0), false),
            (Ipv4Addr::new(10, 244, 9, 0), true),
            (Ipv4Addr::new(10, 99, 1, 0), true),
        ] {
            assert_eq!(is_routed(table, network), taken, "{network}");
        }
    }

    #[test]
    fn nobody_claims_what_is_claimed() {
        let cidr = format!("10.244.1.0/24-test-{}", std::process::id());
        let held = PodRange::reserve(1, Some(&cidr)).expect("free");
        let error = PodRange::reserve(1, Some(&cidr)).err().expect("taken").to_string();
        assert!(error.contains(&held.cidr), "{error}");
        drop(held);
        assert!(PodRange::reserve(1, Some(&cidr)).is_ok(), "free again");
    }
}
