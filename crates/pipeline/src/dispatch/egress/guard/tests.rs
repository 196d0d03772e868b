use super::*;

fn check(guard: &Guard, text: &str) -> Result<(), Denial> {
    guard.check(text.parse().unwrap(), None, &[])
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn special_addresses_are_refused_with_their_rule() {
    for (text, rule) in [
        ("0.0.0.0", "this host"),
        ("0.1.2.3", "this host"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "carrier"),
        ("100.127.255.255", "carrier"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.1.1", "link-local"),
        ("169.254.169.254", "metadata"),
        ("169.254.170.2", "metadata"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.1", "protocols"),
        ("192.0.0.192", "metadata"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4"),
        ("192.168.1.1", "private"),
        ("198.18.0.1", "benchmarks"),
        ("198.19.255.255", "benchmarks"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("168.63.129.16", "metadata"),
        ("100.100.100.200", "metadata"),
        ("::", "this host"),
        ("::1", "loopback"),
        ("::127.0.0.1", "compatible"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::ffff:0:127.0.0.1", "translated"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::a00:1", "private"),
        ("64:ff9b::a9fe:a9fe", "metadata"),
        ("64:ff9b:1::1", "translator"),
        ("100::1", "2000::/3"),
        ("fc00::1", "unique local"),
        ("fd12:3456::1", "unique local"),
        ("fd00:ec2::254", "metadata"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("2001::1", "Teredo"),
        ("2001:10::1", "ORCHID"),
        ("2001:20::1", "ORCHID"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::", "6to4"),
        ("3fff::1", "documentation"),
        ("4000::1", "2000::/3"),
        ("2a00::5efe:7f00:1", "ISATAP"),
        ("2a00::200:5efe:7f00:1", "ISATAP"),
    ] {
        let denial = check(&Guard::default(), text).unwrap_err();
        assert!(denial.rule.contains(rule), "{text}: {denial}");
        assert!(denial.to_string().contains("allowed_networks"), "{denial}");
    }
}

#[test]
fn global_addresses_pass() {
    for text in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.0.1",
        "172.32.0.1",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "2001:200::1",
        "3ffe::1",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
    ] {
        assert_eq!(check(&Guard::default(), text), Ok(()), "{text}");
    }
}

#[test]
fn the_operators_networks_pass_and_nothing_beside_them() {
    let guard = Guard::new(networks(&["127.0.0.0/8", "fd12::/16"]), Vec::new());

    for text in ["127.9.9.9", "::ffff:127.0.0.1", "fd12::1", "64:ff9b::7f00:1"] {
        assert_eq!(check(&guard, text), Ok(()), "{text}");
    }
    for text in ["10.0.0.1", "fd13::1", "::1", "2002:7f00:1::"] {
        assert!(check(&guard, text).is_err(), "{text}");
    }
}

#[test]
fn metadata_passes_only_by_its_very_address() {
    let wide = Guard::new(networks(&["0.0.0.0/0", "::/0"]), Vec::new());
    let listed = Guard::new(networks(&["169.254.169.254/32", "fd00:ec2::254/128"]), Vec::new());

    for text in
        ["169.254.169.254", "168.63.129.16", "fd00:ec2::254", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::"]
    {
        assert!(check(&wide, text).unwrap_err().is_metadata, "{text}");
    }
    // The layout of a prefix of 48 bits, too.
    assert!(check(&wide, "64:ff9b:1:a9fe:a9:fe00::").unwrap_err().is_metadata);
    assert_eq!(check(&wide, "64:ff9b:1::101:101"), Ok(()));
    for text in ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"] {
        assert_eq!(check(&listed, text), Ok(()), "{text}");
    }
    assert!(check(&listed, "169.254.170.2").is_err());
}

#[test]
fn a_project_opens_hosts_within_what_the_operator_lets_it() {
    let guard = Guard::new(Vec::new(), networks(&["10.0.0.0/8", "169.254.0.0/16"]));
    let opened = ["crm.internal".to_owned(), "10.1.1.1".to_owned(), "169.254.169.254".to_owned()];
    let check = |address: &str, name| guard.check(address.parse().unwrap(), name, &opened);

    assert_eq!(check("10.2.2.2", Some("crm.internal")), Ok(()));
    assert_eq!(check("10.2.2.2", Some("CRM.internal")), Ok(()));
    assert_eq!(check("10.1.1.1", None), Ok(()));
    assert_eq!(check("::ffff:10.1.1.1", None), Ok(()));
    // Not the host it opened, not a network it may open, and never metadata.
    assert!(check("10.2.2.2", Some("other.internal")).is_err() && check("10.2.2.2", None).is_err());
    assert!(check("192.168.0.1", Some("crm.internal")).is_err());
    assert!(check("169.254.169.254", None).unwrap_err().is_metadata);
    assert!(check("169.254.169.254", Some("crm.internal")).is_err());
    // Without leave of the operator it opens nothing.
    let strict = Guard::default();
    assert!(strict.effective(&opened).is_empty());
    assert!(strict.check("10.1.1.1".parse().unwrap(), Some("crm.internal"), &opened).is_err());
}
