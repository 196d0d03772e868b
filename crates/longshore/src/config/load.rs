//! Reads the layers, names every fault, and remembers where each value came from.
//!
//! Invariants: nothing here reads the process's environment or arguments (they are [`Inputs`]); what it returns
//! has been validated; no fault shows a secret.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::fault::{Fault, Faults};
use super::nearest::suggestion;
use super::{Config, secret_file, validate};

/// The built-in defaults, which are the reference documentation too.
pub(crate) const DEFAULTS: &str = include_str!("defaults.toml");

/// The prefix of environment variables. Two underscores: a Kubernetes Service named `longshore` makes variables
/// that begin with `LONGSHORE_`, and those must not be taken for settings.
pub(crate) const ENV_PREFIX: &str = "LONGSHORE__";

/// What the layers are read from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    /// The configuration's file.
    pub(crate) file: Option<PathBuf>,
    /// The process's environment.
    pub(crate) env: Vec<(String, String)>,
    /// Settings of the command line.
    pub(crate) flags: Vec<Flag>,
}

/// One setting of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    /// As people wrote it: `--set http.bind`.
    pub(crate) origin: String,
    /// `http.bind`
    pub(crate) key: String,
    /// As text.
    pub(crate) value: String,
}

/// A valid configuration and the origin of each value by key.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) origins: BTreeMap<String, String>,
}

/// One layer: values that share an origin.
#[derive(Clone, Debug)]
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Reads and validates a configuration.
///
/// # Errors
/// Every fault that could be found at once.
pub(crate) fn load(inputs: &Inputs) -> Result<Loaded, Faults> {
    let mut faults = Vec::new();
    let defaults = Layer { origin: "default".to_owned(), values: toml(DEFAULTS).map_err(in_defaults)? };
    let schema = schema(&defaults)?;

    let mut layers = Vec::new();
    layers.extend(file_layer(inputs, &mut faults));
    layers.extend(environment_layers(inputs, &schema));
    layers.extend(inputs.flags.iter().map(|flag| one_value(&flag.origin, &flag.key, &flag.value, &schema)));
    for layer in &mut layers {
        remove_unknown(layer, &schema, &mut faults);
    }
    add_database_url(inputs, &mut layers);

    let (mut config, figment) = extract(&defaults, layers, &mut faults)?;
    let mut origins: BTreeMap<String, String> = schema
        .keys()
        .map(String::as_str)
        .chain(["sources"])
        .filter_map(|key| Some((key.to_owned(), figment.find_metadata(key)?.name.to_string())))
        .collect();
    read_secrets(&mut config, &origins, &mut faults);
    read_previous_keys(&mut config, &mut origins, &mut faults);
    faults.extend(validate::faults(&config).into_iter().map(|fault| {
        let origin = origins.get(&fault.path).cloned();
        fault.said_by(origin)
    }));
    if faults.is_empty() { Ok(Loaded { config, origins }) } else { Err(Faults(faults)) }
}

/// Every known key with its default, `null` when it has none. Derived from [`Config`] itself.
type Schema = BTreeMap<String, serde_json::Value>;

fn schema(defaults: &Layer) -> Result<Schema, Faults> {
    let config: Config = Figment::from(defaults.clone()).extract().map_err(in_defaults)?;
    let sections = serde_json::to_value(config).map_err(in_defaults)?;
    let mut schema = Schema::new();
    for (section, keys) in sections.as_object().into_iter().flatten() {
        for (key, default) in keys.as_object().into_iter().flatten() {
            schema.insert(format!("{section}.{key}"), default.clone());
        }
    }
    Ok(schema)
}

/// The program itself is at fault; a test loads the defaults.
#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn in_defaults(error: impl ToString) -> Faults {
    Faults::one("", format!("the built-in defaults are broken: {}", error.to_string()))
}

fn toml(text: &str) -> Result<Dict, String> {
    let profiles = Toml::string(text).data().map_err(|error| error.to_string().trim().to_owned())?;
    Ok(profiles.get(&Profile::Default).cloned().unwrap_or_default())
}

fn file_layer(inputs: &Inputs, faults: &mut Vec<Fault>) -> Option<Layer> {
    let path = inputs.file.as_ref()?;
    let origin = format!("file `{}`", path.display());
    let values = fs::read_to_string(path)
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(|text| toml(&text));
    match values {
        Ok(values) => Some(Layer { origin, values }),
        Err(problem) => {
            faults.push(Fault::new("", problem).said_by(Some(origin)));
            None
        }
    }
}

fn environment_layers(inputs: &Inputs, schema: &Schema) -> Vec<Layer> {
    let named = |(name, value): &(String, String)| {
        let key = name.strip_prefix(ENV_PREFIX)?.to_ascii_lowercase().replace("__", ".");
        Some(one_value(&format!("environment variable `{name}`"), &key, value, schema))
    };
    inputs.env.iter().filter_map(named).collect()
}

/// A layer of a single value that came as text. Its type is that of the key's default.
fn one_value(origin: &str, key: &str, text: &str, schema: &Schema) -> Layer {
    let parsed = || -> Value { text.parse().unwrap_or_else(|error| match error {}) };
    let value = match schema.get(key) {
        Some(serde_json::Value::Array(_)) if !text.trim_start().starts_with('[') => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items
                .map(|item| item.parse().unwrap_or_else(|error| match error {}))
                .collect::<Vec<Value>>()
                .into()
        }
        Some(serde_json::Value::Number(_) | serde_json::Value::Bool(_) | serde_json::Value::Array(_)) => {
            parsed()
        }
        _ => Value::from(text),
    };
    let nested = key.rsplit('.').fold(value, |value, part| Dict::from([(part.to_owned(), value)]).into());
    Layer { origin: origin.to_owned(), values: nested.into_dict().unwrap_or_default() }
}

/// Takes unknown keys out of a layer and names each with the nearest known one.
fn remove_unknown(layer: &mut Layer, schema: &Schema, faults: &mut Vec<Fault>) {
    let is_section = |name: &str| schema.keys().any(|key| key.split('.').next() == Some(name));
    let origin = Some(layer.origin.clone());
    let mut unknown = |key: String| {
        let known = schema.keys().map(String::as_str).chain(["sources"]);
        let problem = format!("unknown key{}", suggestion(&key, known));
        faults.push(Fault::new(key, problem).said_by(origin.clone()));
        false
    };
    layer.values.retain(|section, keys| match keys {
        _ if section == "sources" => true,
        Value::Dict(_, keys) if !keys.is_empty() || is_section(section) => {
            keys.retain(|key, value| {
                let path = format!("{section}.{key}");
                match value {
                    Value::Dict(_, inner) if !inner.is_empty() => {
                        let below = inner.keys().next().map(String::as_str).unwrap_or_default();
                        unknown(format!("{path}.{below}"))
                    }
                    _ => schema.contains_key(&path) || unknown(path),
                }
            });
            is_section(section)
        }
        _ if is_section(section) => unknown(format!("{section}.")),
        _ => unknown(section.clone()),
    });
}

/// `DATABASE_URL` counts only when nothing else names the database.
fn add_database_url(inputs: &Inputs, layers: &mut Vec<Layer>) {
    let names_it = |layer: &Layer| {
        let database = layer.values.get("database").and_then(Value::as_dict);
        database.is_some_and(|keys| keys.contains_key("url") || keys.contains_key("url_file"))
    };
    let url = inputs.env.iter().find(|(name, value)| name == "DATABASE_URL" && !value.is_empty());
    if let (Some((_, url)), false) = (url, layers.iter().any(names_it)) {
        let origin = "environment variable `DATABASE_URL`";
        layers.insert(0, one_value(origin, "database.url", url, &Schema::new()));
    }
}

/// Extracts the configuration. Each value that does not fit is named and taken out, until the rest fits.
fn extract(
    defaults: &Layer,
    mut layers: Vec<Layer>,
    faults: &mut Vec<Fault>,
) -> Result<(Config, Figment), Faults> {
    loop {
        // Later layers beat earlier ones key by key; lists are replaced, not joined.
        let merge = |figment: Figment, layer: &Layer| figment.merge(layer.clone());
        let figment = layers.iter().fold(Figment::from(defaults.clone()), merge);
        let error = match figment.extract::<Config>() {
            Ok(config) => return Ok((config, figment)),
            Err(error) => error,
        };
        let fault = unfit(&error, &figment);
        let (section, key) = (error.path.first().cloned(), error.path.get(1).cloned());
        faults.push(fault);
        let before = size(&layers);
        for layer in &mut layers {
            remove(&mut layer.values, section.as_deref(), key.as_deref());
        }
        if size(&layers) == before {
            return Err(Faults(std::mem::take(faults)));
        }
    }
}

fn size(layers: &[Layer]) -> usize {
    let keys = |value: &Value| value.as_dict().map_or(1, Dict::len);
    layers.iter().map(|layer| layer.values.values().map(|value| 1 + keys(value)).sum::<usize>()).sum()
}

fn remove(values: &mut Dict, section: Option<&str>, key: Option<&str>) {
    match (section.and_then(|section| values.get_mut(section)), key) {
        (Some(Value::Dict(_, keys)), Some(key)) => drop(keys.remove(key)),
        (Some(_), _) => drop(section.and_then(|section| values.remove(section))),
        (None, _) => {}
    }
}

/// What a value that does not fit is told. figment's own text would repeat key and origin.
fn unfit(error: &figment::Error, figment: &Figment) -> Fault {
    use figment::error::Kind;

    let mut path = String::new();
    for part in &error.path {
        match part.parse::<usize>() {
            Ok(index) => path.push_str(&format!("[{index}]")),
            Err(_) if path.is_empty() => path.push_str(part),
            Err(_) => path.push_str(&format!(".{part}")),
        }
    }
    let is_secret = ["database.url", "security.master_key", "smtp.password"].contains(&path.as_str())
        || path.starts_with("security.previous_master_keys");
    let problem = match &error.kind {
        Kind::UnknownField(name, known) => {
            format!("unknown key `{name}`{}", suggestion(name, known.iter().copied()))
        }
        Kind::MissingField(name) => format!("`{name}` is missing"),
        _ if is_secret => "expected text".to_owned(),
        kind => kind.to_string(),
    };
    let top: Vec<&str> = error.path.iter().map(String::as_str).take(2).collect();
    let key = if top.first() == Some(&"sources") { "sources".to_owned() } else { top.join(".") };
    Fault::new(path, problem).said_by(figment.find_metadata(&key).map(|metadata| metadata.name.to_string()))
}

fn read_secrets(config: &mut Config, origins: &BTreeMap<String, String>, faults: &mut Vec<Fault>) {
    let pairs = [
        ("database.url", &mut config.database.url, &config.database.url_file),
        ("security.master_key", &mut config.security.master_key, &config.security.master_key_file),
        ("smtp.password", &mut config.smtp.password, &config.smtp.password_file),
    ];
    for (key, value, file) in pairs {
        let Some(path) = file else { continue };
        let twin = format!("{key}_file");
        let origin = origins.get(&twin).cloned();
        if value.is_some() {
            let inline = origins.get(key).map_or("", String::as_str);
            let problem = format!("`{key}` is given as well, by {inline}; keep one");
            faults.push(Fault::new(twin, problem).said_by(origin));
            continue;
        }
        match secret_file::read_secret_file(path) {
            Ok(secret) => *value = Some(secret),
            Err(problem) => faults.push(Fault::new(twin, problem).said_by(origin)),
        }
    }
}

/// As [`read_secrets`], of a list.
fn read_previous_keys(config: &mut Config, origins: &mut BTreeMap<String, String>, faults: &mut Vec<Fault>) {
    let (key, twin) = ("security.previous_master_keys", "security.previous_master_keys_files");
    let security = &mut config.security;
    let origin = origins.get(twin).cloned();
    if security.previous_master_keys_files.is_empty() {
        return;
    }
    if !security.previous_master_keys.is_empty() {
        let inline = origins.get(key).map_or("", String::as_str);
        let problem = format!("`{key}` is given as well, by {inline}; keep one");
        faults.push(Fault::new(twin, problem).said_by(origin));
        return;
    }
    for (index, path) in security.previous_master_keys_files.iter().enumerate() {
        match secret_file::read_secret_file(path) {
            Ok(secret) => security.previous_master_keys.push(secret),
            Err(problem) => {
                faults.push(Fault::new(format!("{twin}[{index}]"), problem).said_by(origin.clone()));
            }
        }
    }
    if let Some(origin) = origin {
        origins.insert(key.to_owned(), origin);
    }
}

#[cfg(test)]
mod tests;
