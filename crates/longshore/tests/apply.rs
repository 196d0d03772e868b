//! `migrate` and `apply` as people run them: the program against a real Postgres.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test binary uses a part")]
mod support;

use support::{Database, Output, longshore};

const RESOURCES: &str = "
projects:
  - name: shop
    id: 01JD0000000000000000000SHP
    endpoints:
      - name: a
        url: https://a.example.com/
        secrets: [s-one, {secret: s-zero, expires_at: 2030-01-01T00:00:00Z}]
        authentication: {basic: {username: me, password: swordfish}}
      - {name: b, url: https://b.example.com/}
    subscriptions:
      - {name: all, endpoint: a}
      - name: some
        endpoint: b
        event_types: [order.*]
        filter: {body: {total: {$gte: 100}}}
        retry: {type: linear, delay: 10s, attempts: 3}
    sources:
      - {name: orders, kind: rabbitmq, rabbitmq: {urls: ['amqp://me:hunter2@broker/'], queue: q}}
    api_keys:
      - {name: k}
";

fn apply(database: &Database, resources: &str, flags: &[&str]) -> Output {
    let file = support::file(resources);
    // No broker is asked: the one of these resources does not exist.
    let mut args = vec!["apply", "--no-connect", "-f", file.path().to_str().unwrap()];
    args.extend(flags);
    longshore(database, &args)
}

#[tokio::test]
async fn every_example_is_understood() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let example = |name: &str| format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));

    for name in ["demo.yaml", "resources.yaml", "rabbitmq/resources.yaml"] {
        let plain = "security.allow_http_endpoints=true";
        let dry = longshore(&database, &["apply", "--dry-run", "-f", &example(name), "--set", plain]);
        assert_eq!(dry.code, 0, "{name}: {dry:?}");
    }

    let secret = support::file(support::MASTER_KEY);
    let url = support::file(&database.url());
    let text = std::fs::read_to_string(example("longshore.toml")).unwrap();
    let local = text
        .replace("/run/secrets/longshore-master-key", secret.path().to_str().unwrap())
        .replace("/run/secrets/longshore-database-url", url.path().to_str().unwrap());
    assert_ne!(text, local);
    let config = support::file(&local);
    // Without the environment of the other runs: a setting and its twin, both given, are a fault.
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_longshore"));
    let checked =
        check.args(["config", "check", "--config"]).arg(config.path()).env_clear().output().unwrap();
    assert_eq!(String::from_utf8_lossy(&checked.stdout), "ok\n", "{checked:?}");
}

#[tokio::test]
async fn applying_is_idempotent_shows_changes_and_prunes() {
    let database = Database::create().await;
    assert_eq!(apply(&database, RESOURCES, &[]).code, 1, "a pending schema is a failure");
    assert_eq!(longshore(&database, &["migrate", "status"]).code, 1);
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    assert_eq!(longshore(&database, &["migrate", "status"]).code, 0);

    let dry = apply(&database, RESOURCES, &["--dry-run"]);
    assert!(dry.stdout.contains("+ project `shop` (01JD0000000000000000000SHP)"), "{dry:?}");
    assert!(!dry.stdout.contains("shown only now"), "{dry:?}");
    let first = apply(&database, RESOURCES, &[]);
    assert!(first.stdout.contains("\n7 created, 0 changed, 0 deleted\n"), "{first:?}");
    assert!(first.stdout.contains("generated API key `shop/k`, shown only now: CO."), "{first:?}");
    assert!(
        first.stdout.contains("generated secret of endpoint `shop/b`, shown only now: whsec_"),
        "{first:?}"
    );
    let second = apply(&database, RESOURCES, &["--prune"]);
    assert_eq!((second.stdout.trim(), second.code), ("no changes", 0), "{second:?}");

    let changed =
        RESOURCES.replace("https://a.", "https://c.").replace("s-one", "s-two").replace("hunter2", "hunter3");
    let third = apply(&database, &changed, &[]);
    let lines: Vec<&str> = third.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "~ endpoint `shop/a`",
            "    url: \"https://a.example.com/\" → \"https://c.example.com/\"",
            "    secrets: (changed)",
            "~ source `shop/orders`",
            "    credentials: (changed)",
            "0 created, 2 changed, 0 deleted",
        ]
    );
    assert_eq!(apply(&database, &changed, &[]).stdout.trim(), "no changes");

    let empty = "projects: [{name: shop}]";
    let kept = apply(&database, empty, &[]);
    assert!(kept.stdout.contains("subscription `shop/all` is not in the file and is left alone"), "{kept:?}");
    let pruned = apply(&database, empty, &["--prune"]);
    assert!(pruned.stdout.ends_with("0 created, 0 changed, 6 deleted\n"), "{pruned:?}");
    assert_eq!(apply(&database, empty, &["--prune"]).stdout.trim(), "no changes");
}

#[tokio::test]
async fn what_is_applied_is_what_processes_load() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    apply(&database, RESOURCES, &[]);

    let config = database.store().await.load_config().await.unwrap();

    let project = "01JD0000000000000000000SHP".parse().unwrap();
    assert_eq!(config.snapshot.project(project).unwrap().name, "shop");
    assert_eq!(config.sources.len(), 1);
    assert_eq!(config.sources[0].config.expose(), r#"{"queue":"q","urls":["amqp://me:hunter2@broker/"]}"#);
    assert_eq!(config.api_keys.len(), 1);
}

#[tokio::test]
async fn a_clash_names_the_resource_and_changes_nothing() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let key = "key: 0123456789abcdef0123456789abcdef";
    apply(&database, &format!("projects: [{{name: one, api_keys: [{{name: k, {key}}}]}}]"), &[]);

    let clash = apply(&database, &format!("projects: [{{name: two, api_keys: [{{name: l, {key}}}]}}]"), &[]);

    assert_eq!(clash.code, 1);
    assert!(clash.stderr.contains("API key `l`: the same key is stored"), "{clash:?}");
    let config = database.store().await.load_config().await.unwrap();
    assert_eq!(config.api_keys.len(), 1);
}

#[tokio::test]
async fn faults_of_a_file_and_of_the_configuration_exit_with_2() {
    let database = Database::create().await;
    let fault = apply(&database, "projects: [{nme: x}]", &[]);
    assert_eq!(fault.code, 2);
    assert!(fault.stderr.contains("did you mean `name`?"), "{fault:?}");

    let unknown = longshore(&database, &["config", "check", "--set", "http.bnd=x"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("did you mean `http.bind`?"), "{unknown:?}");
    let checked = longshore(&database, &["config", "check", "--connect"]);
    assert_eq!(checked.code, 1);
    assert!(checked.stderr.contains("longshore migrate up"), "{checked:?}");
    longshore(&database, &["migrate", "up"]);
    assert_eq!(longshore(&database, &["config", "check", "--connect"]).stdout, "database: ok\nok\n");
}
