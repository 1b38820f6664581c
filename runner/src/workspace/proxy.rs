//! Which proxy a URL goes through: `https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`, in either case, as curl and git read them.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The proxy's URL for a `scheme` and `host`, or `None` for a direct connection.
#[must_use]
pub(crate) fn find_proxy(scheme: &str, host: &str, port: Option<u16>, env: &BTreeMap<String, String>) -> Option<String> {
    let value = |name: &str| env.get(name).or_else(|| env.get(&name.to_ascii_uppercase())).filter(|value| !value.trim().is_empty());
    let proxy = value(&format!("{scheme}_proxy")).or_else(|| value("all_proxy"))?.trim();
    let port = port.unwrap_or(if scheme == "https" { 443 } else { 80 });
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    let excluded = value("no_proxy").is_some_and(|list| list.split([',', ' ']).any(|entry| is_excluded(entry.trim(), &host, port)));
    (!excluded).then(|| if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") })
}

fn is_excluded(entry: &str, host: &str, port: u16) -> bool {
    if entry.is_empty() {
        return false;
    }
    if entry == "*" {
        return true;
    }
    if let (Some((network, bits)), Ok(address)) = (entry.split_once('/'), host.parse::<IpAddr>()) {
        return network.parse().is_ok_and(|network| bits.parse().is_ok_and(|bits| is_in_network(address, network, bits)));
    }
    let entry = entry.to_ascii_lowercase();
    let (name, wanted) = match entry.rsplit_once(':') {
        // More than one colon is an IPv6 address.
        Some((name, digits)) if !name.contains(':') || name.ends_with(']') => (name, digits.parse().ok()),
        _ => (entry.as_str(), None),
    };
    let name = name.trim_start_matches("*.").trim_start_matches('.').trim_start_matches('[').trim_end_matches(']');
    wanted.is_none_or(|wanted: u16| wanted == port)
        && (host == name || (host.parse::<IpAddr>().is_err() && host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))))
}

fn is_in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let shift = |width: u32| width.checked_sub(bits);
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => shift(32).is_some_and(|by| {
            let cut = |ip: std::net::Ipv4Addr| u32::from(ip).checked_shr(by).unwrap_or(0);
            cut(address) == cut(network)
        }),
        (IpAddr::V6(address), IpAddr::V6(network)) => shift(128).is_some_and(|by| {
            let cut = |ip: std::net::Ipv6Addr| u128::from(ip).checked_shr(by).unwrap_or(0);
            cut(address) == cut(network)
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(no_proxy: &str, host: &str, port: Option<u16>) -> bool {
        let env = [("HTTPS_PROXY", "proxy:3128"), ("no_proxy", no_proxy)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        find_proxy("https", host, port, &env.into()).is_some()
    }

    #[test]
    fn no_proxy_is_read_as_curl_reads_it() {
        for (list, host, port) in [
            ("*", "a.org", None),
            ("a.org", "a.org", None),
            ("a.org", "b.a.org", None),
            (".a.org", "b.a.org", None),
            ("*.a.org", "b.a.org", None),
            ("x, A.org", "a.org", None),
            ("a.org:8443", "a.org", Some(8443)),
            ("10.0.0.0/8", "10.1.2.3", None),
            ("127.0.0.1", "127.0.0.1", Some(1)),
            ("::1", "[::1]", None),
            ("fd00::/8", "[fd12::1]", None),
        ] {
            assert!(!proxy(list, host, port), "{list} {host}");
        }
        for (list, host, port) in [
            ("", "a.org", None),
            ("a.org", "ba.org", None),
            ("a.org:1", "a.org", None),
            ("10.0.0.0/8", "11.1.2.3", None),
            ("0.1", "10.0.0.1", None),
        ] {
            assert!(proxy(list, host, port), "{list} {host}");
        }
    }

    #[test]
    fn each_scheme_has_its_proxy_and_all_proxy_is_for_the_rest() {
        let env = [("http_proxy", "http://one:1"), ("ALL_PROXY", "two:2")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(find_proxy("http", "h", None, &env).as_deref(), Some("http://one:1"));
        assert_eq!(find_proxy("https", "h", None, &env).as_deref(), Some("http://two:2"));
        assert_eq!(find_proxy("https", "h", None, &BTreeMap::new()), None);
    }
}
