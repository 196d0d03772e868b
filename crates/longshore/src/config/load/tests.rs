use std::io::Write;

use tempfile::NamedTempFile;

use super::*;
use crate::config::print::print;
use crate::config::{LogFormat, Role};

const MASTER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn inputs(toml: Option<&NamedTempFile>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Inputs {
    Inputs {
        file: toml.map(|file| file.path().to_owned()),
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        flags: flags
            .iter()
            .map(|(key, value)| Flag {
                origin: format!("flag `--set {key}`"),
                key: (*key).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
    }
}

fn faults(inputs: &Inputs) -> Vec<String> {
    load(inputs).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn the_defaults_load_and_hold_every_key() {
    let loaded = load(&Inputs::default()).unwrap();

    assert_eq!(loaded.config.http.bind.port(), 8080);
    assert_eq!(loaded.config.dispatch.response_bytes.bytes(), 51_200);
    assert_eq!(loaded.config.log.format, LogFormat::Auto);
    let defaults = Layer { origin: String::new(), values: toml(DEFAULTS).unwrap() };
    for (key, default) in schema(&defaults).unwrap() {
        let last = key.rsplit('.').next().unwrap();
        let written = if default.is_null() { format!("# {last} =") } else { format!("\n{last} =") };
        assert!(DEFAULTS.contains(&written), "`{key}` is not in defaults.toml");
    }
}

#[test]
fn each_layer_beats_the_one_before() {
    let toml = file(
        "[http]\nbind = '127.0.0.1:1'\nbatch_items = 1\n[ingest]\nbatch_events = 1\n[dispatch]\npoll = '1s'",
    );
    let env = [("LONGSHORE__HTTP__BATCH_ITEMS", "2"), ("LONGSHORE__INGEST__BATCH_EVENTS", "2")];

    let loaded = load(&inputs(Some(&toml), &env, &[("ingest.batch_events", "3")])).unwrap();

    let config = &loaded.config;
    assert_eq!(config.http.bind.to_string(), "127.0.0.1:1");
    assert_eq!(config.http.batch_items.get(), 2);
    assert_eq!(config.ingest.batch_events.get(), 3);
    assert_eq!(loaded.origins["http.bind"], format!("file `{}`", toml.path().display()));
    assert_eq!(loaded.origins["http.batch_items"], "environment variable `LONGSHORE__HTTP__BATCH_ITEMS`");
    assert_eq!(loaded.origins["ingest.batch_events"], "flag `--set ingest.batch_events`");
    assert_eq!(loaded.origins["http.request_deadline"], "default");
}

#[test]
fn text_becomes_the_type_of_its_key() {
    let env = [
        ("LONGSHORE__SECURITY__ALLOWED_NETWORKS", "127.0.0.0/8, 10.0.0.0/8"),
        ("LONGSHORE__SECURITY__ALLOWED_PORTS", "[443, 8443]"),
        ("LONGSHORE__SECURITY__ALLOW_HTTP_ENDPOINTS", "true"),
        ("LONGSHORE__DISPATCH__USER_AGENT", "007"),
        ("LONGSHORE__RUNTIME__ROLE", "data"),
    ];

    let config = load(&inputs(None, &env, &[])).unwrap().config;

    assert_eq!(config.security.allowed_networks.len(), 2);
    assert_eq!(config.security.allowed_ports, [443, 8443]);
    assert!(config.security.allow_http_endpoints);
    assert_eq!(config.dispatch.user_agent, "007");
    assert_eq!(config.runtime.role, Role::Data);
}

#[test]
fn every_unknown_key_is_named_with_its_origin_and_the_nearest() {
    let toml = file("[http]\nbnd = 'x'\n[zebra]\nstripes = 1\n");

    let faults = faults(&inputs(Some(&toml), &[("LONGSHORE__BIND", "x")], &[("http.bind.x", "1")]));

    let path = toml.path().display();
    assert_eq!(
        faults,
        [
            format!("`http.bnd` (file `{path}`): unknown key; did you mean `http.bind`?"),
            format!("`zebra.stripes` (file `{path}`): unknown key"),
            "`bind` (environment variable `LONGSHORE__BIND`): unknown key; did you mean `http.bind`?"
                .to_owned(),
            "`http.bind.x` (flag `--set http.bind.x`): unknown key; did you mean `http.bind`?".to_owned(),
        ]
    );
}

#[test]
fn every_value_that_does_not_fit_is_named() {
    let toml = file(
        "[http]\nbind = 'nowhere'\nbatch_items = 0\n[shutdown]\ndrain = '25 parsecs'\n[ops]\nbind = true\n",
    );

    let faults = faults(&inputs(Some(&toml), &[("LONGSHORE__DATABASE__LEASE", "1ms")], &[])).join("\n");

    for expected in
        ["`http.bind` (file", "`http.batch_items` (file", "`shutdown.drain` (file", "`ops.bind` (file"]
    {
        assert!(faults.contains(expected), "{expected} in {faults}");
    }
    assert!(faults.contains("`25 parsecs` is not a duration"), "{faults}");
    assert!(faults.contains("`database.lease` (environment variable"), "{faults}");
}

#[test]
fn a_section_is_not_a_value_and_toml_errors_have_a_line() {
    assert!(faults(&inputs(None, &[], &[("http", "x")]))[0].contains("unknown key"));
    let toml = file("[http]\nbind = \n");
    assert!(faults(&inputs(Some(&toml), &[], &[]))[0].contains("line 2"));
    let missing = Inputs { file: Some("/nonexistent/longshore.toml".into()), ..Inputs::default() };
    assert!(faults(&missing)[0].contains("/nonexistent/longshore.toml"));
}

#[test]
fn secrets_come_from_files_and_never_twice() {
    let key = file(&format!("{MASTER_KEY}\n"));
    let path = key.path().to_str().unwrap();
    let env = [("LONGSHORE__SECURITY__MASTER_KEY_FILE", path)];

    let config = load(&inputs(None, &env, &[])).unwrap().config;
    assert_eq!(config.security.master_key.unwrap().expose(), MASTER_KEY);

    let twice = inputs(None, &env, &[("security.master_key", MASTER_KEY)]);
    assert_eq!(
        faults(&twice),
        ["`security.master_key_file` (environment variable `LONGSHORE__SECURITY__MASTER_KEY_FILE`): \
          `security.master_key` is given as well, by flag `--set security.master_key`; keep one"]
    );
}

#[test]
fn database_url_of_the_environment_is_the_last_resort() {
    let last = ("DATABASE_URL", "postgres://last/resort");
    let url = |inputs: &Inputs| load(inputs).unwrap().config.database.url.unwrap().expose().clone();

    assert_eq!(url(&inputs(None, &[last], &[])), "postgres://last/resort");
    assert_eq!(
        url(&inputs(None, &[last, ("LONGSHORE__DATABASE__URL", "postgres://a/b")], &[])),
        "postgres://a/b"
    );
    let from_file = file("postgres://from/file");
    let env = [last, ("LONGSHORE__DATABASE__URL_FILE", from_file.path().to_str().unwrap())];
    assert_eq!(url(&inputs(None, &env, &[])), "postgres://from/file");
}

#[test]
fn a_printed_configuration_has_origins_and_no_secrets() {
    let toml = file(
        "[[sources]]\nname = 'orders'\nproject = 'shop'\nkind = 'rabbitmq'\n\
         rabbitmq = { urls = ['amqp://me:hunter2@broker/'], queue = 'q' }\n\
         [[sources]]\nname = 'refunds'\nproject = 'shop'\nkind = 'rabbitmq'\n\
         rabbitmq = { host = 'b', auth = { user = 'me', password = 'hunter2' }, queue = 'q' }\n",
    );
    let env = [
        ("DATABASE_URL", "postgres://me:hunter2@db/longshore"),
        ("LONGSHORE__SECURITY__MASTER_KEY", MASTER_KEY),
    ];
    let loaded = load(&inputs(Some(&toml), &env, &[])).unwrap();

    let printed = print(&loaded);

    let debug = format!("{:?}", loaded.config);
    for secret in ["hunter2", MASTER_KEY] {
        assert!(!printed.contains(secret), "{printed}");
        assert!(!debug.contains(secret), "{debug}");
    }
    let line = |start: &str| printed.lines().find(|line| line.starts_with(start)).unwrap();
    assert!(line("url =").starts_with("url = \"[redacted]\" "));
    assert!(line("url =").ends_with("# environment variable `DATABASE_URL`"));
    assert!(line("poll =").starts_with("poll = \"200ms\" ") && line("poll =").ends_with("# default"));
    assert!(line("# master_key_file").ends_with("# not set"));
    assert!(line("rabbitmq =").contains("amqp://[redacted]@broker/"));
    assert!(Toml::string(&printed).data().is_ok(), "{printed}");
}

#[test]
fn sources_are_strict() {
    let source = "[[sources]]\nname = 'a'\nproject = 'p'\nkind = 'rabbitmq'\n";
    let unknown = file(&format!("{source}wrkers = 1\n"));
    assert!(faults(&inputs(Some(&unknown), &[], &[]))[0].contains("did you mean `workers`?"));

    let table = "rabbitmq = { queue = 'q' }\n";
    let twice = file(&format!("{source}{table}{source}workers = 65\n"));
    let faults = faults(&inputs(Some(&twice), &[], &[])).join("\n");
    assert!(faults.contains("`sources[1].name`: the project has another source `a`"), "{faults}");
    assert!(faults.contains("`sources[1].workers`: expected 1 to 64"), "{faults}");
    assert!(faults.contains("`sources[1].rabbitmq`: a source of kind `rabbitmq` needs"), "{faults}");
}

#[test]
fn previous_master_keys_come_inline_or_from_files_and_never_print() {
    let second = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    let (first_file, second_file) = (file(&format!("{MASTER_KEY}\n")), file(second));
    let paths = format!("{},{}", first_file.path().display(), second_file.path().display());
    let master = ("LONGSHORE__SECURITY__MASTER_KEY", "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=");
    let inline = format!("{MASTER_KEY},{second}");
    let inline = ("LONGSHORE__SECURITY__PREVIOUS_MASTER_KEYS", inline.as_str());
    let files = ("LONGSHORE__SECURITY__PREVIOUS_MASTER_KEYS_FILES", paths.as_str());

    for given in [inline, files] {
        let loaded = load(&inputs(None, &[master, given], &[])).unwrap();
        let keys = loaded.config.security.keys().unwrap().unwrap();
        assert_eq!(keys.previous().count(), 2);
        let printed = print(&loaded);
        let line = printed.lines().find(|line| line.starts_with("previous_master_keys = ")).unwrap();
        assert!(
            line.contains(r#"["[redacted]", "[redacted]"]"#) && line.ends_with(&format!("`{}`", given.0)),
            "{line}"
        );
        assert!(!printed.contains(second) && !format!("{:?}", loaded.config).contains(second));
    }
    assert_eq!(
        faults(&inputs(None, &[master, inline, files], &[])),
        ["`security.previous_master_keys_files` (environment variable \
             `LONGSHORE__SECURITY__PREVIOUS_MASTER_KEYS_FILES`): `security.previous_master_keys` is given as well, by \
             environment variable `LONGSHORE__SECURITY__PREVIOUS_MASTER_KEYS`; keep one"]
    );
}

#[test]
fn a_previous_master_key_that_is_none_is_named_and_not_shown() {
    let key = "LONGSHORE__SECURITY__PREVIOUS_MASTER_KEYS";
    let faults =
        faults(&inputs(None, &[("LONGSHORE__SECURITY__MASTER_KEY", MASTER_KEY), (key, "swordfish")], &[]));

    let [fault] = faults.as_slice() else { panic!("{faults:?}") };
    assert!(fault.starts_with("`security.previous_master_keys[0]`") && fault.contains("32 bytes"), "{fault}");
    assert!(!fault.contains("swordfish"));
    let toml = file("[security]\nprevious_master_keys = ['x', 7]");
    let faults = self::faults(&inputs(Some(&toml), &[], &[]));
    assert!(faults.iter().all(|fault| !fault.contains('7')), "{faults:?}");
}
