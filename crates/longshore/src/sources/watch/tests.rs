use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;

struct Mounted {
    dir: TempDir,
    watch: Watch,
}

impl Mounted {
    fn new(queue: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let watch = Watch::new(Inputs { file: Some(dir.path().join("longshore.toml")), ..Inputs::default() });
        let this = Self { dir, watch };
        this.write("password", "one");
        this.declare(queue);
        this
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn declare(&self, queue: &str) {
        let password = self.dir.path().join("password");
        let text = format!(
            "[[sources]]\nname = 'orders'\nproject = 'shop'\nkind = 'rabbitmq'\nrabbitmq = {{ host = 'h', queue = \
             '{queue}', auth = {{ user = 'u', password_file = '{}' }} }}\n",
            password.display()
        );
        self.write("longshore.toml", &text);
    }

    /// The settings after a look that found a change.
    fn look(&mut self) -> Option<serde_json::Value> {
        let sources = self.watch.look()?;
        Some(sources[0].broker.as_ref().unwrap().settings().clone())
    }
}

fn settings(queue: &str, password: &str) -> serde_json::Value {
    json!({"host": "h", "queue": queue, "auth": {"user": "u", "password": password}})
}

#[test]
fn a_change_of_the_file_or_of_a_secret_it_names_is_seen_once() {
    let mut mounted = Mounted::new("q");
    assert_eq!(mounted.look(), Some(settings("q", "one")));
    assert_eq!(mounted.look(), None);

    mounted.write("password", "two");
    assert_eq!(mounted.look(), Some(settings("q", "two")));
    assert_eq!(mounted.look(), None);

    mounted.declare("other");
    assert_eq!(mounted.look(), Some(settings("other", "two")));
    assert_eq!(mounted.look(), None);
}

#[test]
fn what_is_broken_changes_nothing_until_it_is_right() {
    let mut mounted = Mounted::new("q");
    mounted.look().unwrap();

    mounted.write("password", "");
    assert_eq!(mounted.look(), None);
    mounted.write("longshore.toml", "[[sources]]\nname = ");
    assert_eq!(mounted.look(), None);
    assert_eq!(mounted.look(), None);

    // The secret comes after the file that names it.
    mounted.declare("other");
    assert_eq!(mounted.look(), None);
    mounted.write("password", "two");
    assert_eq!(mounted.look(), Some(settings("other", "two")));
}

#[cfg(unix)]
#[test]
fn a_link_that_is_swapped_is_a_change() {
    use std::os::unix::fs::symlink;

    let mut mounted = Mounted::new("q");
    mounted.look().unwrap();
    mounted.write("new", "two");
    let path = |name: &str| mounted.dir.path().join(name);

    symlink(path("new"), path("link")).unwrap();
    fs::rename(path("link"), path("password")).unwrap();

    assert_eq!(mounted.look(), Some(settings("q", "two")));
}
