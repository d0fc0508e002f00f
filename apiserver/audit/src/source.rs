//! Where a request came from, by upstream's rules for proxies.

use std::net::IpAddr;

/// An address as Go reads it: leading zeros of IPv4 are allowed, IPv4 in IPv6 is IPv4.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = match text.contains(':') {
        true => text.to_owned(),
        false => {
            let parts = text.split('.').map(|part| match part.trim_start_matches('0') {
                "" if !part.is_empty() => "0",
                short => short,
            });
            parts.collect::<Vec<_>>().join(".")
        }
    };
    plain.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// The valid addresses of `X-Forwarded-For` in order, `X-Real-Ip` unless it is one of them, and the other end of the
/// connection unless it is the last of them. Only that last one is known; the others are what the client says.
pub fn addresses(forwarded_for: &str, real_ip: &str, remote: IpAddr) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = forwarded_for.split(',').filter_map(address).collect();
    if let Some(real) = address(real_ip).filter(|real| !all.contains(real)) {
        all.push(real);
    }
    let remote = remote.to_canonical();
    if all.last() != Some(&remote) {
        all.push(remote);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proxies_say_comes_before_what_is_known() {
        let remote: IpAddr = "10.0.0.9".parse().expect("an address");
        let shown = |forwarded: &str, real: &str| {
            let all: Vec<String> = addresses(forwarded, real, remote).iter().map(IpAddr::to_string).collect();
            all.join(" ")
        };
        for (forwarded, real, want) in [
            ("", "", "10.0.0.9"),
            ("1.2.3.4", "", "1.2.3.4 10.0.0.9"),
            ("1.2.3.4, bad ,5.6.7.8", "1.2.3.4", "1.2.3.4 5.6.7.8 10.0.0.9"),
            ("1.2.3.4", "5.6.7.8", "1.2.3.4 5.6.7.8 10.0.0.9"),
            ("1.2.3.4,10.0.0.9", "", "1.2.3.4 10.0.0.9"),
            ("10.0.0.9,1.2.3.4", "", "10.0.0.9 1.2.3.4 10.0.0.9"),
            ("::ffff:10.0.0.9", "", "10.0.0.9"),
            ("010.000.0.1", "fd00::1", "10.0.0.1 fd00::1 10.0.0.9"),
        ] {
            assert_eq!(shown(forwarded, real), want, "{forwarded:?} {real:?}");
        }
    }
}
