//! The README is true: every command of it runs, and its config is accepted.

use std::path::Path;
use std::time::Duration;

use tokio::process::Child;

use crate::support::daemon::{PROGRAM, loopback, program};
use crate::support::eventually;
use crate::support::leash::Leash;
use crate::support::port::free_port;
use crate::support::raw::RawRequest;
use crate::tidy;

const PATIENCE: Duration = Duration::from_secs(60);

/// Commands that a test can't run, and what shows that they work all the same.
const ELSEWHERE: [(&str, &str); 3] = [
    ("cargo run", "started below, as the program without arguments"),
    ("cargo install --path . --locked", "builds what the tests run"),
    ("hookonce serve", "started below"),
];

fn readme() -> String {
    std::fs::read_to_string(tidy::root().join("README.md")).unwrap()
}

/// What stands after `$ ` in the console blocks.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    blocks
        .filter_map(|block| block.strip_prefix("console\n"))
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("$ "))
        .map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned())
        .collect()
}

/// The arguments of the program, however the README calls it.
fn arguments(command: &str) -> Option<Vec<&str>> {
    let rest =
        command.strip_prefix("cargo run -- ").or_else(|| command.strip_prefix("hookonce "))?;
    Some(rest.split(' ').collect())
}

/// A daemon in a folder, on ports of its own: another one may have the usual ones.
struct Started {
    child: Child,
    leash: Option<Leash>,
    admin: std::net::SocketAddr,
    listen: [(&'static str, String); 2],
}

impl Started {
    async fn new(dir: &Path, arguments: &[&str], more: &[(&str, &str)]) -> Self {
        let (public, admin) = (loopback(free_port()), loopback(free_port()));
        let listen = [
            ("HOOKONCE__SERVER__LISTEN", public.to_string()),
            ("HOOKONCE__ADMIN__LISTEN", admin.to_string()),
        ];
        let log = std::fs::File::create(dir.join("readme.log")).unwrap();
        let mut command = program(dir, arguments);
        command
            .envs(listen.iter().map(|(name, value)| (*name, value.as_str())))
            // A machine may stall for longer than the usual one.
            .env("HOOKONCE__SERVER__ACK_DEADLINE", "15s")
            .envs(more.iter().copied());
        command.stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let leash = Some(Leash::hold(child.id().unwrap()));
        eventually(PATIENCE, "readiness", || {
            let ended = child.try_wait().unwrap();
            let log = std::fs::read_to_string(dir.join("readme.log")).unwrap();
            async move {
                assert!(ended.is_none(), "it ended with {ended:?}:\n{log}");
                let answer = RawRequest::new("GET", "/readyz").try_send(public).await;
                answer.is_ok_and(|answer| answer.status == 200).then_some(())
            }
        })
        .await;
        Self { child, leash, admin, listen }
    }

    async fn run(&self, dir: &Path, command: &str, more: &[(&str, &str)]) -> String {
        let arguments =
            arguments(command).unwrap_or_else(|| panic!("no test knows how to run: {command}"));
        let mut program = program(dir, &arguments);
        program.envs(self.listen.iter().map(|(name, value)| (*name, value.as_str())));
        let output = program.envs(more.iter().copied()).output().await.unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "$ {command}\n{text}");
        text
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Err(error) = self.child.start_kill() {
            eprintln!("readme: {error}");
        }
        if let Some(leash) = self.leash.take() {
            leash.release();
        }
    }
}

#[test]
fn every_command_of_the_readme_is_run_by_a_test() {
    let page = readme();
    let all = commands(&page);
    assert!(all.len() >= 6, "{all:?}");
    for (command, _) in ELSEWHERE {
        assert!(all.iter().any(|one| one == command), "the README no longer says: {command}");
    }
    for command in &all {
        let known = ELSEWHERE.iter().any(|(one, _)| one == command) || arguments(command).is_some();
        assert!(known, "no test knows how to run: {command}");
    }
    assert!(page.contains("`make test`"));
    assert!(std::fs::read_to_string(tidy::root().join("Makefile")).unwrap().contains("\ntest: "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_minute_works_in_an_empty_folder() {
    let place = tempfile::tempdir().unwrap();
    let daemon = Started::new(place.path(), &[], &[]).await;
    let page = readme();
    let first_minute = page.split("## Run it for real").next().unwrap();
    for command in commands(first_minute).iter().filter(|command| arguments(command).is_some()) {
        let text = daemon.run(place.path(), command, &[]).await;
        if command.contains("--twice") {
            assert!(text.contains("accepted") && text.contains("duplicate"), "{text}");
            // The list that comes next shows it delivered.
            eventually(PATIENCE, "the log handler", || async {
                let metrics = RawRequest::new("GET", "/metrics")
                    .without("host")
                    .header("host", daemon.admin.to_string());
                let text = String::from_utf8(metrics.send(daemon.admin).await.body).unwrap();
                text.contains("hookonce_deliveries_total{handler=\"log\",outcome=\"delivered\"} 1")
                    .then_some(())
            })
            .await;
        }
        if command.contains("event list") {
            assert!(text.contains("invoice.paid"), "{text}");
        }
        if command.contains("delivery list") {
            assert!(text.contains("delivered"), "{text}");
        }
    }
    let banner = std::fs::read_to_string(place.path().join("readme.log")).unwrap();
    for words in
        ["dev mode", "/in/stripe", "hookonce send stripe invoice.paid", "accepted", "duplicate"]
    {
        assert!(banner.contains(words), "no `{words}` in:\n{banner}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_small_config_is_accepted_and_serves() {
    let place = tempfile::tempdir().unwrap();
    let page = readme();
    let config = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let secret = [("STRIPE_SECRET", "whsec_0f3a6c1d9b2e4758a1c6d3e2f4b5a697")];
    std::fs::write(place.path().join("hookonce.toml"), config.expect("a config in the README"))
        .unwrap();
    let daemon = Started::new(place.path(), &["serve"], &secret).await;
    for_real(&daemon, place.path(), &secret).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_of_the_operators_page_runs() {
    let place = tempfile::tempdir().unwrap();
    let daemon = Started::new(place.path(), &[], &[]).await;
    let page = std::fs::read_to_string(tidy::root().join("docs/operate.md")).unwrap();
    let section = page.split("\n## Load\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let all = commands(section);
    assert_eq!(all.len(), 2, "{all:?}");
    for command in all {
        // As long as it takes to see that it works.
        let command = command.replace("10s", "1s").replace("2000", "200");
        let text = daemon.run(place.path(), &command, &[]).await;
        assert!(text.contains("accepted"), "{text}");
    }
}

/// The script of the page on fixtures, as it stands there but for the ports; its recorded event is the
/// one that the page shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_of_the_page_on_fixtures_runs() {
    let place = tempfile::tempdir().unwrap();
    let page = std::fs::read_to_string(tidy::root().join("docs/testing.md")).unwrap();
    let block = |kind: &str| {
        let rest = page.split(&format!("```{kind}\n")).nth(1).expect("a block");
        rest.split("```").next().unwrap_or_default().to_owned()
    };
    let webhooks = place.path().join("tests/webhooks");
    std::fs::create_dir_all(&webhooks).unwrap();
    std::fs::write(webhooks.join("invoice-paid.json"), block("json")).unwrap();
    let (public, admin) = (loopback(free_port()), loopback(free_port()));
    let config = format!(
        "[server]\nlisten = \"{public}\"\nack_deadline = \"15s\"\n[admin]\nlisten = \"{admin}\"\n[sources.stripe]\nprovider = \"stripe\"\n\
         secrets = [{{ value = \"whsec_0f3a6c1d9b2e4758a1c6d3e2f4b5a697\" }}]\n[handlers.audit]\nfrom = \"stripe\"\nlog = {{}}\n"
    );
    std::fs::write(place.path().join("test.toml"), config).unwrap();
    let script = block("bash");
    assert!(script.contains("127.0.0.1:8080"), "{script}");
    // The page's patience is a person's; the machine may be busy with other tests.
    assert!(script.contains("--wait 10s"), "{script}");
    let script = script.replace("--wait 10s", "--wait 60s");
    let script = script.replace("127.0.0.1:8080", &public.to_string());
    // What a job of CI does with a failing line.
    let script = format!("set -eu\n{script}");
    let programs = Path::new(PROGRAM).parent().unwrap().display();
    // Ended from outside it ends its daemon too.
    let mut bash = tokio::process::Command::new("timeout");
    bash.args(["300", "bash", "-c", &script]).current_dir(place.path()).env_clear();
    let output = bash.env("PATH", format!("{programs}:/usr/bin:/bin")).output().await.unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("accepted") && text.contains("duplicate"), "{text}");
    assert!(text.contains("evt_1MqqbKLt4dXK03v5"), "{text}");
}

async fn for_real(daemon: &Started, dir: &Path, secret: &[(&str, &str)]) {
    let page = readme();
    let section = page.split("## Run it for real").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    for command in commands(section) {
        // `init` refuses here, because the folder has a config: its own test runs it in an empty one.
        let known = ELSEWHERE.iter().any(|(one, _)| *one == command) || command == "hookonce init";
        if !known {
            daemon.run(dir, &command, secret).await;
        }
    }
    // Commands in the text.
    for command in section.split('`').filter(|text| text.starts_with("hookonce ")) {
        let skipped = ["hookonce init", "hookonce dead retry"].contains(&command);
        if !skipped && !command.ends_with(".toml") {
            daemon.run(dir, command, secret).await;
        }
    }
}
