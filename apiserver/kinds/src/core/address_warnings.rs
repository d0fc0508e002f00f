//! Warnings of addresses and blocks that are understood, but not written as they should be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::at::At;
use crate::formats;

pub(crate) fn of_ip(at: &At<'_>) -> Option<String> {
    let text = at.str();
    let ip = formats::parse_ip(text)?;
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => None,
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => {
            let canonical = v6.to_string();
            let say = || {
                let path = at.path();
                format!("{path}: IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})")
            };
            (canonical != text).then(say)
        }
        _ => Some(format!("{}: non-standard IP address {text:?} is invalid: use \"{ip}\"", at.path())),
    }
}

pub(crate) fn of_cidr(at: &At<'_>) -> Vec<String> {
    let text = at.str();
    let Some((ip, length)) = formats::parse_cidr(text) else { return Vec::new() };
    let (path, network) = (at.path(), network(ip, length));
    let mut warnings = Vec::new();
    if network != ip {
        let width = if ip.is_ipv4() { 32 } else { 128 };
        warnings.push(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be \"{network}/{length}\" or \
             \"{ip}/{width}\"?)"
        ));
    }
    let (address, digits) = text.split_once('/').unwrap_or((text, ""));
    let padded = digits.len() > 1 && digits.starts_with('0');
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) if !padded => {}
        Ok(IpAddr::V6(v6)) if !padded && v6.to_ipv4_mapped().is_none() => {
            let canonical = format!("{v6}/{length}");
            if warnings.is_empty() && canonical != text {
                warnings.push(format!(
                    "{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({canonical:?})"
                ));
            }
        }
        _ => warnings.push(format!("{path}: non-standard CIDR value {text:?} is invalid: use \"{network}/{length}\"")),
    }
    warnings
}

/// The first address of a block.
fn network(ip: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use api_machinery::Value;

    use super::*;

    #[test]
    fn forms() {
        let ip = |text: &str| of_ip(&At::named(&Value::from(text), "a"));
        for fine in ["10.0.0.1", "fd00::1", "no address"] {
            assert_eq!(ip(fine), None, "{fine}");
        }
        assert_eq!(
            ip("FD00::1").as_deref(),
            Some(r#"a: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")"#)
        );
        assert_eq!(
            ip("010.0.0.1").as_deref(),
            Some(r#"a: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1""#)
        );
        let cidr = |text: &str| of_cidr(&At::named(&Value::from(text), "a"));
        for fine in ["10.0.0.0/8", "fd00::/64", "no block", "0.0.0.0/0"] {
            assert_eq!(cidr(fine), [""; 0], "{fine}");
        }
        assert_eq!(
            cidr("10.0.0.1/24"),
            [r#"a: CIDR value "10.0.0.1/24" is ambiguous in this context (should be "10.0.0.0/24" or "10.0.0.1/32"?)"#]
        );
        assert_eq!(cidr("10.0.0.0/08"), [r#"a: non-standard CIDR value "10.0.0.0/08" is invalid: use "10.0.0.0/8""#]);
        assert_eq!(
            cidr("FD00::/64"),
            [r#"a: IPv6 CIDR value "FD00::/64" should be in RFC 5952 canonical format ("fd00::/64")"#]
        );
    }
}
