use super::*;

/// Spellings that somebody may try, and the part that is refused.
const BYPASSES: [(&str, &str); 66] = [
    ("https://127.0.0.1/", "host"),
    ("https://2130706433/", "host"),
    ("https://0x7f000001/", "host"),
    ("https://0x7f.1/", "host"),
    ("https://0X7F.0.0.1/", "host"),
    ("https://0177.0.0.1/", "host"),
    ("https://017700000001/", "host"),
    ("https://127.1/", "host"),
    ("https://127.0.1/", "host"),
    ("https://127.0.0.1./", "host"),
    ("https://0/", "host"),
    ("https://0.0.0.0/", "host"),
    ("https://00000127.0.0.1/", "host"),
    ("https://1.1/", "host"),
    ("https://16843009/", "host"),
    ("https://１２７.0.0.1/", "host"),
    ("https://127。0。0。1/", "host"),
    ("https://①②⑦.⓪.⓪.①/", "host"),
    ("https://%31%32%37.0.0.1/", "host"),
    ("https://127.0.0.%31/", "host"),
    ("https://local%68ost/", "host"),
    ("https://localhost/", "host"),
    ("https://LOCALHOST/", "host"),
    ("https://localhost./", "host"),
    ("https://a.localhost/", "host"),
    ("https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "host"),
    ("https://loc\u{ad}alhost/", "host"),
    ("https://[::1]/", "host"),
    ("https://[::]/", "host"),
    ("https://[0:0:0:0:0:0:0:1]/", "host"),
    ("https://[::ffff:127.0.0.1]/", "host"),
    ("https://[::ffff:7f00:1]/", "host"),
    ("https://[::127.0.0.1]/", "host"),
    ("https://[64:ff9b::7f00:1]/", "host"),
    ("https://[fd00:ec2::254]/", "host"),
    ("https://[fe80::1%25eth0]/", "host"),
    ("https://[fe80::1]/", "host"),
    ("https://169.254.169.254/latest/meta-data/", "host"),
    ("https://2852039166/", "host"),
    ("https://0xa9fea9fe/", "host"),
    ("https://0251.0376.0251.0376/", "host"),
    ("https://metadata.google.internal/computeMetadata/v1/", "host"),
    ("https://METADATA.google.internal/", "host"),
    ("https://metadata.google.internal./", "host"),
    ("https://168.63.129.16/", "host"),
    ("https://100.100.100.200/", "host"),
    ("https://10.0.0.1/", "host"),
    ("https://192.168.0.1:8443/", "host"),
    ("https://1.2.3.4.5/", "syntax"),
    ("https://example.com@127.0.0.1/", "userinfo"),
    ("https://127.0.0.1@example.com/", "userinfo"),
    ("https://user:password@example.com/", "userinfo"),
    ("https://@example.com/", "userinfo"),
    ("https://example.com\\@127.0.0.1/", "characters"),
    ("https:\\\\127.0.0.1/", "characters"),
    ("https://exam\tple.com/", "characters"),
    ("https://example.com/\r\nHost: x", "characters"),
    (" https://example.com/", "characters"),
    ("https://example.com/#@127.0.0.1", "fragment"),
    ("https:127.0.0.1", "scheme"),
    ("https:/127.0.0.1/", "scheme"),
    ("https:///127.0.0.1/", "host"),
    ("http://example.com/", "scheme"),
    ("file:///etc/passwd", "scheme"),
    ("gopher://example.com:25/", "scheme"),
    ("https://example.com:0/", "port"),
];

fn part(rules: &EgressRules, text: &str) -> Result<String, &'static str> {
    let parsed = rules.parse(text, &EgressSettings::default());
    parsed.map(String::from).map_err(|error| error.part)
}

#[test]
fn ways_around_the_guard_are_refused_by_the_part_that_is_wrong() {
    for (text, refused) in BYPASSES {
        assert_eq!(part(&EgressRules::default(), text), Err(refused), "{text}");
    }
}

#[test]
fn odd_spellings_are_refused_even_of_addresses_that_are_allowed() {
    let rules = EgressRules {
        guard: Guard::new(vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()], Vec::new()),
        allow_http: true,
        ..EgressRules::default()
    };

    for text in [
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://１２７.0.0.1/",
        "http://127.1/",
    ] {
        assert_eq!(part(&rules, text), Err("host"), "{text}");
    }
    for text in
        ["http://127.0.0.1:80/", "http://localhost/", "https://[::1]/", "https://a.localhost:8443/b?c=d"]
    {
        assert!(part(&rules, text).is_ok(), "{text}");
    }
}

#[test]
fn honest_urls_pass_and_are_normalised() {
    let rules = EgressRules::default();
    for (text, normal) in [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM/Path?q=%20#".trim_end_matches('#'), "https://example.com/Path?q=%20"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("https://example.com:8443/a@b", "https://example.com:8443/a@b"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://under_score.example/", "https://under_score.example/"),
        ("https://1.1.1.1/", "https://1.1.1.1/"),
        ("https://[2606:4700::1111]:8443/", "https://[2606:4700::1111]:8443/"),
    ] {
        assert_eq!(part(&rules, text).as_deref(), Ok(normal), "{text}");
    }
}

#[test]
fn lengths_have_their_bounds() {
    let rules = EgressRules::default();
    let url = |length: usize| format!("https://example.com/{}", "a".repeat(length - 20));
    let host = |label: usize| format!("https://{}.example/", "a".repeat(label));

    assert!(part(&rules, &url(LONGEST)).is_ok());
    assert_eq!(part(&rules, &url(LONGEST + 1)), Err("length"));
    assert!(part(&rules, &host(LONGEST_LABEL)).is_ok());
    assert!(part(&rules, &host(LONGEST_LABEL + 1)).is_err());
}

#[test]
fn ports_and_plain_http_are_the_operators_and_the_projects() {
    let rules = EgressRules { allowed_ports: vec![443, 8443], ..EgressRules::default() };
    let project = |allow_http| EgressSettings { allow_http, ..EgressSettings::default() };
    let parse = |rules: &EgressRules, text: &str, allow| rules.parse(text, &project(allow)).map(|_| ());

    assert!(part(&rules, "https://a.example/").is_ok() && part(&rules, "https://a.example:8443/").is_ok());
    assert_eq!(part(&rules, "https://a.example:22/"), Err("port"));
    let open = EgressRules { allow_http: true, ..EgressRules::default() };
    assert!(parse(&open, "http://a.example/", None).is_ok());
    assert!(parse(&open, "http://a.example/", Some(false)).is_err());
    assert!(parse(&EgressRules::default(), "http://a.example/", Some(true)).is_ok());
    assert!(parse(&EgressRules::default(), "http://a.example/", None).is_err());
}

#[test]
fn a_projects_hosts_must_be_hosts_it_may_open() {
    let rules = EgressRules {
        guard: Guard::new(Vec::new(), vec!["10.0.0.0/8".parse().unwrap()]),
        ..EgressRules::default()
    };
    let hosts = ["crm.internal", "10.0.0.1", "192.168.0.1", "10.0.0.0/8", "*.internal", ""];
    let settings = EgressSettings {
        allowed_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ..EgressSettings::default()
    };

    let faults: Vec<_> = rules.check_project(&settings).into_iter().map(|(field, _)| field).collect();

    assert_eq!(faults, [2, 3, 4, 5].map(|index| format!("allowed_hosts[{index}]")));
    assert!(rules.parse("https://10.0.0.1/", &settings).is_ok());
    assert!(rules.parse("https://10.0.0.2/", &settings).is_err());
}
