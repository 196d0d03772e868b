use longshore_core::Secret;
use longshore_pipeline::dispatch::egress::EgressRules;
use longshore_store::admin::{ApiKeySpec, Change, Kind, Managed, ManagedEndpoint, ManagedProject};

use super::plan::{Plan, Supply, What, plan};
use super::read::read;
use super::show::show;
use super::wanted::{WantedProject, wanted};

const EXAMPLE: &str = include_str!("../../../../examples/resources.yaml");

const SMALL: &str = "
projects:
  - name: shop
    endpoints:
      - {name: a, url: https://a.example.com/, secret: s-one}
    subscriptions:
      - {name: all, endpoint: a}
    api_keys:
      - {name: k, key: 0123456789abcdef0123456789abcdef}
";

fn parse(text: &str) -> Vec<WantedProject> {
    wanted(read(text, "test").unwrap(), EgressRules::default()).unwrap()
}

/// Every fault of a text that is well-formed.
fn faults(text: &str) -> Vec<String> {
    wanted(read(text, "test").unwrap(), EgressRules::default())
        .unwrap_err()
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Counts instead of drawing; hashes by copying.
#[derive(Default)]
struct Counted(u128);

impl Supply for Counted {
    fn id(&mut self) -> u128 {
        self.0 += 1;
        self.0
    }

    fn endpoint_secret(&mut self) -> Secret<String> {
        Secret::new("generated-secret".to_owned())
    }

    fn api_key(&mut self) -> Secret<String> {
        Secret::new("generated-key".to_owned())
    }

    fn hash(&self, key: &str) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

fn planned(wanted: &[WantedProject], stored: &[Option<ManagedProject>], prune: bool) -> Plan {
    plan(wanted, stored, prune, &mut Counted(1_000)).unwrap()
}

/// What is stored after the changes were written to nothing.
fn stored(changes: &[Change]) -> ManagedProject {
    let mut stored = None;
    for change in changes {
        if let Change::PutProject(project) = change {
            stored = Some(ManagedProject {
                project: (**project).clone(),
                endpoints: Vec::new(),
                subscriptions: Vec::new(),
                sources: Vec::new(),
                api_keys: Vec::new(),
            });
            continue;
        }
        let stored = stored.as_mut().unwrap();
        match change.clone() {
            Change::PutEndpoint(_, endpoint) => {
                let Managed { id, spec } = *endpoint;
                stored.endpoints.push(ManagedEndpoint { id, spec, secrets: Vec::new() });
            }
            Change::ReplaceSecrets(_, id, secrets) => {
                stored.endpoints.iter_mut().find(|endpoint| endpoint.id == id).unwrap().secrets = secrets;
            }
            Change::PutSubscription(_, subscription) => stored.subscriptions.push(subscription),
            Change::PutSource(_, source) => stored.sources.push(source),
            Change::PutApiKey(_, key) => stored.api_keys.push(key),
            other => panic!("{other:?} of something that is not there"),
        }
    }
    stored.unwrap()
}

fn fields(plan: &Plan) -> Vec<(String, Vec<String>)> {
    let lines = plan.lines.iter().map(|line| match &line.what {
        What::Change(differs) => {
            (line.resource.clone(), differs.iter().map(|(name, ..)| name.clone()).collect())
        }
        other => (format!("{other:?} {}", line.resource), Vec::new()),
    });
    lines.collect()
}

#[test]
fn the_example_creates_everything_and_then_nothing() {
    let wanted = parse(EXAMPLE);

    let first = planned(&wanted, &[None], false);
    let second = planned(&wanted, &[Some(stored(&first.changes))], true);

    assert_eq!(first.lines.len(), 8);
    assert!(first.lines.iter().all(|line| line.what == What::Create), "{:?}", first.lines);
    assert!(second.changes.is_empty() && second.lines.is_empty(), "{:?}", second.lines);
    assert_eq!(show(&second, false), "no changes");
}

#[test]
fn a_plan_shows_no_secret() {
    let first = planned(&parse(EXAMPLE), &[None], false);
    let mut changed = stored(&first.changes);
    changed.endpoints.iter_mut().for_each(|endpoint| endpoint.secrets.clear());
    changed.endpoints.iter_mut().for_each(|endpoint| endpoint.spec.credentials = Default::default());
    let settings = serde_json::json!({"urls": ["amqp://guest:other@localhost:5672/"], "queue": "orders"});
    changed.sources[0].spec.settings = Secret::new(settings);
    let second = planned(&parse(EXAMPLE), &[Some(changed)], false);

    let text = show(&first, false) + &show(&second, false) + &format!("{first:?} {second:?}");

    for secret in ["an-old-secret", "whsec_", "Bearer", "swordfish", "CO.0123", "guest:", "generated-key"] {
        assert!(!text.contains(secret), "`{secret}` in {text}");
    }
    assert!(show(&second, false).contains("secrets: (changed)"), "{}", show(&second, false));
    assert!(show(&second, false).contains("credentials: (changed)"), "{}", show(&second, false));
}

#[test]
fn only_what_differs_is_changed() {
    let before = stored(&planned(&parse(SMALL), &[None], false).changes);
    let text = SMALL
        .replace("https://a.example.com/", "https://b.example.com/")
        .replace("s-one", "s-two")
        .replace("endpoint: a}", "endpoint: a, event_types: [order.*]}")
        .replace("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");

    let plan = planned(&parse(&text), &[Some(before)], false);

    let expected = [
        ("endpoint `shop/a`", vec!["url", "secrets"]),
        ("subscription `shop/all`", vec!["event_types"]),
        ("API key `shop/k`", vec!["key"]),
    ];
    let expected: Vec<(String, Vec<String>)> = expected
        .into_iter()
        .map(|(resource, names)| (resource.to_owned(), names.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(fields(&plan), expected);
    assert!(show(&plan, false).contains(r#"url: "https://a.example.com/" → "https://b.example.com/""#));
    assert!(show(&plan, true).ends_with("0 would be created, 3 would be changed, 0 would be deleted"));
}

#[test]
fn what_the_file_lacks_is_left_alone_unless_pruned() {
    let before = stored(&planned(&parse(SMALL), &[None], false).changes);
    let file = parse("projects: [{name: shop}]");

    let kept = planned(&file, &[Some(before.clone())], false);
    let pruned = planned(&file, &[Some(before)], true);

    assert!(kept.changes.is_empty());
    assert!(kept.lines.iter().all(|line| line.what == What::LeaveAlone));
    assert_eq!(kept.lines.len(), 3);
    let deleted = pruned.changes.iter().filter_map(|change| match change {
        Change::Delete(_, kind, name) => Some((*kind, name.as_str())),
        _ => None,
    });
    let deleted: Vec<_> = deleted.collect();
    assert_eq!(deleted, [(Kind::Subscription, "all"), (Kind::ApiKey, "k"), (Kind::Endpoint, "a")]);
}

#[test]
fn absent_keys_and_secrets_are_generated_once() {
    let file = parse(
        "projects: [{name: p, api_keys: [{name: k}], endpoints: [{name: e, url: 'https://e.example.com'}]}]",
    );

    let first = planned(&file, &[None], false);
    let second = planned(&file, &[Some(stored(&first.changes))], false);

    let generated: Vec<_> = first.generated.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(generated, ["secret of endpoint `p/e`", "API key `p/k`"]);
    assert!(second.changes.is_empty() && second.generated.is_empty());
}

#[test]
fn an_id_cannot_change_and_cannot_be_taken() {
    let before = stored(&planned(&parse(SMALL), &[None], false).changes);
    let id = before.endpoints[0].id;

    let changed = SMALL.replace("{name: a,", "{name: a, id: 01JD0000000000000000000SHP,");
    let taken =
        SMALL.replace("{name: a,", &format!("{{name: b, id: {id},")).replace("endpoint: a", "endpoint: b");

    for text in [changed, taken] {
        let error =
            plan(&parse(&text), &[Some(before.clone())], false, &mut Counted(1)).unwrap_err().to_string();
        assert!(error.contains("its id"), "{error}");
    }
}

#[test]
fn an_unknown_key_has_its_line_and_the_nearest() {
    let error = |text: &str| read(text, "r.yaml").unwrap_err().to_string();

    let unknown = error("projects:\n  - name: p\n    endpoints:\n      - {name: e, ulr: x}\n");
    assert!(unknown.contains("`r.yaml`, line 4") && unknown.contains("did you mean `url`?"), "{unknown}");
    let setting = error("projects:\n  - name: p\n    settings: {filter_semantic: strict}\n");
    assert!(setting.contains("line 3") && setting.contains("did you mean `filter_semantics`?"), "{setting}");
    let secret =
        error("projects:\n  - name: p\n    endpoints:\n      - {name: e, url: x, secrets: [{secert: x}]}\n");
    assert!(secret.contains("did you mean `secret`?"), "{secret}");
    let missing = error("projects:\n  - id: 01JD0000000000000000000SHP\n");
    assert!(missing.contains("`name` is missing"), "{missing}");
    let retry =
        error("projects:\n  - name: p\n    settings: {retry: {type: linear, delay: 10s, attempts: 0}}\n");
    assert!(retry.contains("attempts"), "{retry}");
}

#[test]
fn every_fault_is_named_with_its_path() {
    let faults = faults(
        "
projects:
  - name: p
    endpoints:
      - {name: e, url: 'http://plain.example.com', http_timeout: 1ms, max_concurrency: 0}
      - {name: e, url: nowhere, secret: a, secrets: [b]}
      - {name: f, url: 'https://me:pw@f.example.com', secret: whsec_short, authentication: {}}
    subscriptions:
      - {name: s, endpoint: g, event_types: ['a*b']}
      - {name: t, endpoint: e, filters: [{event_type: x}, {event_type: x}]}
    sources:
      - {name: q, kind: rabbit, workers: 65}
    api_keys:
      - {name: k, key: short, expires_at: tomorrow}
  - name: p
",
    );

    let paths: Vec<&str> = faults.iter().map(|fault| fault.split('`').nth(1).unwrap()).collect();
    assert_eq!(
        paths,
        [
            "projects[0].endpoints[0].url",
            "projects[0].endpoints[0].http_timeout",
            "projects[0].endpoints[0].max_concurrency",
            "projects[0].endpoints[1].name",
            "projects[0].endpoints[1].url",
            "projects[0].endpoints[1].secret",
            "projects[0].endpoints[2].url",
            "projects[0].endpoints[2].secret",
            "projects[0].endpoints[2].authentication",
            "projects[0].subscriptions[0].endpoint",
            "projects[0].subscriptions[0].event_types[0]",
            "projects[0].subscriptions[1].filters[1].event_type",
            "projects[0].sources[0].workers",
            "projects[0].sources[0].rabbit",
            "projects[0].api_keys[0].expires_at",
            "projects[0].api_keys[0].key",
            "projects[1].name",
        ],
        "{faults:#?}"
    );
    assert!(!faults.join("").contains("me:pw"));
}

#[test]
fn plain_http_is_for_those_who_allow_it() {
    let text = "projects: [{name: p, endpoints: [{name: e, url: 'http://hook.example.com/'}]}]";

    assert!(faults(text)[0].contains("security.allow_http_endpoints"));
    assert!(
        wanted(read(text, "test").unwrap(), EgressRules { allow_http: true, ..EgressRules::default() })
            .is_ok()
    );
}

#[test]
fn what_would_not_be_sent_is_refused_where_it_is_declared() {
    let faults = faults(
        "
projects:
  - name: p
    settings: {egress: {allowed_hosts: [crm.internal, 10.0.0.1]}}
    credentials: {proxy: 'ftp://me:hunter2@proxy.example.com'}
    endpoints:
      - {name: a, url: 'https://0x7f.1/'}
      - {name: b, url: 'https://169.254.169.254/latest/'}
      - {name: c, url: 'https://c.example.com/', ca: 'hunter2'}
      - {name: d, url: 'https://d.example.com/', client_certificate: {certificate: x, key: hunter2}}
      - name: e
        url: https://e.example.com/
        authentication:
          oauth2: {url: 'https://localhost/', client_id: us, signing_key: hunter2, signing_algorithm: RS256}
      - name: f
        url: https://f.example.com/
        authentication:
          oauth2: {url: 'https://id.example.com/', client_id: us, signing_key: hunter2, signing_algorithm: HS256}
",
    );

    for (path, word) in [
        ("settings.egress.allowed_hosts[1]", "project_networks"),
        ("credentials.proxy", "socks5"),
        ("endpoints[0].url", "odd spelling of 127.0.0.1"),
        ("endpoints[1].url", "metadata"),
        ("endpoints[2].ca", "BEGIN CERTIFICATE"),
        ("endpoints[3].client_certificate", "certificate"),
        ("endpoints[4].authentication.oauth2.url", "loopback"),
        ("endpoints[5].authentication.oauth2.signing_key", "JWK"),
    ] {
        let place = format!("`projects[0].{path}`: ");
        let found = faults.iter().find(|fault| fault.starts_with(&place));
        assert!(found.is_some_and(|fault| fault.contains(word)), "{path}: {faults:#?}");
    }
    assert_eq!(faults.len(), 8, "{faults:#?}");
    assert!(!faults.join("").contains("hunter2"));
}

#[test]
fn api_keys_are_known_by_their_hash_only() {
    let plan = planned(&parse(SMALL), &[None], false);

    let keys = plan.changes.iter().filter_map(|change| match change {
        Change::PutApiKey(_, key) => Some(&key.spec),
        _ => None,
    });
    let keys: Vec<&ApiKeySpec> = keys.collect();
    assert_eq!(keys[0].hash, b"0123456789abcdef0123456789abcdef");
}
