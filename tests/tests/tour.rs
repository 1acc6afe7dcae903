//! The example `tour`, in a child, smaller than by default.

#[path = "../../runtime/examples/tour/main.rs"]
#[allow(dead_code)] // its `main`
mod tour;

use std::fs;
use std::process::{Command, ExitCode, Output};

const ARGS: &str = "GOWEFT_TEST_TOUR_ARGS";

/// Not a test of its own: the program, for the tests below.
#[goweft::test]
fn program() {
    let Ok(args) = std::env::var(ARGS) else {
        return;
    };
    let args = std::iter::once("tour").chain(args.split('\n').filter(|a| !a.is_empty()));
    let code = tour::run(args.map(Into::into));
    std::process::exit(if code == ExitCode::SUCCESS { 0 } else { 1 });
}

fn run(args: &[&str]) -> Output {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "program", "--nocapture"]);
    command.env(ARGS, args.join("\n")).output().unwrap()
}

/// A directory to tour.
fn repository() -> tempfile::TempDir {
    let files = tempfile::TempDir::new().unwrap();
    fs::create_dir_all(files.path().join("docs/deeper")).unwrap();
    fs::write(files.path().join("one.txt"), "to be or not to be").unwrap();
    fs::write(files.path().join("docs/page.html"), "<p>a page\n").unwrap();
    fs::write(files.path().join("docs/deeper/bytes.bin"), [0xff; 200_000]).unwrap();
    files
}

#[test]
fn it_visits_all_stations_and_shows_what_it_did() {
    let repository = repository();
    let repository = repository.path().to_str().unwrap();
    let output = run(&[
        "--clients",
        "100",
        "--goroutines",
        "2000",
        "--repository",
        repository,
    ]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let row = |what: &str| {
        let line = said
            .lines()
            .find(|line| line.contains(&format!("  {what}  ")))
            .unwrap_or_else(|| panic!("{said}"));
        line.split_once(what)
            .unwrap()
            .1
            .split_whitespace()
            .next()
            .unwrap()
            .to_string()
    };
    assert_eq!(row("clients"), "100");
    assert_eq!(row("requests"), "1,000");
    // Half of the requests are for each of the two files.
    assert_eq!(row("bytes"), "100,005,000");
    assert_eq!(row("files"), "3");
    assert_eq!(row("words"), "9");
    assert!(
        said.lines()
            .any(|line| line.starts_with("million  goroutines  ") && line.contains("  2,000  ")),
        "{said}"
    );
}

#[test]
fn a_directory_without_docs_is_an_error_that_names_it() {
    let empty = tempfile::TempDir::new().unwrap();
    let output = run(&["--repository", empty.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("tour: web: ") && said.contains("docs: No such file"),
        "{said}"
    );
}

#[test]
fn an_option_that_makes_no_sense_is_refused() {
    for args in [
        &["--clients", "0"][..],
        &["--goroutines", "many"],
        &["--speed", "9"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(
            String::from_utf8(output.stderr)
                .unwrap()
                .contains("usage: tour"),
            "{args:?}"
        );
    }
}
