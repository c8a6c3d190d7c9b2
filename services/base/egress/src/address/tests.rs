use super::*;

/// The ranges as the requirement lists them, apart from the code's table.
const LISTED: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0.0.0.0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// First and last address as whole numbers, by arithmetic of its own.
fn range(net: &str) -> (bool, u128, u128) {
    let (address, prefix) = net.split_once('/').unwrap();
    let prefix: u32 = prefix.parse().unwrap();
    match address.parse().unwrap() {
        IpAddr::V4(v4) => {
            let first = u128::from(v4.to_bits());
            (true, first, first + (1 << (32 - prefix)) - 1)
        }
        IpAddr::V6(v6) => {
            let first = v6.to_bits();
            (false, first, first + ((1_u128 << (128 - prefix)) - 1))
        }
    }
}

fn listed(v4: bool, number: u128) -> bool {
    let in_range = |net: &str| {
        let (of_v4, first, last) = range(net);
        of_v4 == v4 && (first..=last).contains(&number)
    };
    let global = v4 || (0x2..0x4).contains(&(number >> 124));
    !global || LISTED.iter().any(|net| in_range(net))
}

fn address(v4: bool, number: u128) -> IpAddr {
    match v4 {
        true => Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into(),
        false => Ipv6Addr::from_bits(number).into(),
    }
}

/// T106: every edge of every range, and the address on either side of it.
#[test]
fn refuses_each_range_from_its_first_to_its_last_address() {
    let (mut inside, mut outside) = (0, 0);
    for net in LISTED {
        let (v4, first, last) = range(net);
        let highest = if v4 { u128::from(u32::MAX) } else { u128::MAX };
        for number in [first, first + (last - first) / 2, last] {
            let address = address(v4, number);
            assert!(refusal(address).is_some(), "{address} of {net}");
            inside += 1;
        }
        let below = first.checked_sub(1);
        let above = last.checked_add(1).filter(|number| *number <= highest);
        for number in [below, above].into_iter().flatten() {
            let address = address(v4, number);
            let refused = refusal(address).is_some();
            assert_eq!(refused, listed(v4, number), "{address} beside {net}");
            outside += usize::from(!refused);
        }
    }
    assert_eq!(inside, 3 * LISTED.len());
    assert!(outside >= 25, "only {outside} neighbours are reachable");
}

#[test]
fn the_table_has_a_row_per_listed_range() {
    let rows: Vec<Net> = REFUSED.iter().map(|(net, _)| *net).collect();
    let wanted: Vec<Net> = LISTED.iter().map(|net| net.parse().unwrap()).collect();
    assert_eq!(rows, wanted);
}

/// The honest twin of T106.
#[test]
fn public_addresses_are_reachable() {
    for public in [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.215.14",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a00:1450:4001:80b::200e",
    ] {
        assert_eq!(refusal(public.parse().unwrap()), None, "{public}");
    }
}

#[test]
fn networks_have_no_bits_below_the_prefix() {
    for text in ["10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/32", "::/0", "fc00::/7"] {
        let net: Net = text.parse().unwrap();
        assert_eq!(net.to_string(), text);
    }
    for bad in [
        "10.0.0.1/8",
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/+8",
        "10.0.0.0/",
        "fd00::/7",
        "::/129",
        "010.0.0.0/8",
    ] {
        assert_eq!(bad.parse::<Net>(), Err(NetError), "{bad}");
    }
}

#[test]
fn the_widest_network_holds_its_family_only() {
    let all: Net = "0.0.0.0/0".parse().unwrap();
    assert!(all.contains("255.255.255.255".parse().unwrap()));
    assert!(!all.contains("::1".parse().unwrap()));
}
