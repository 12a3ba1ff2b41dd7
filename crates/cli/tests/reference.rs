//! The reference page of the command line is what the command says.

use std::process::Command;

/// `FLUSHCAST_BLESS=1` writes the page anew.
#[test]
fn the_reference_page_shows_the_help_of_every_command() {
    let mut page = "# Command line\n\nWhat `flushcast --help` says, for every command.\nMade by a \
                    test: `FLUSHCAST_BLESS=1 cargo test -p flushcast-cli --test reference` writes \
                    it anew.\n"
        .to_owned();
    for arguments in [vec!["--help"], vec!["demo", "--help"]] {
        let command = Command::new(env!("CARGO_BIN_EXE_flushcast"))
            .args(&arguments)
            .env("COLUMNS", "100")
            .output()
            .unwrap();
        assert!(command.status.success());
        let help = String::from_utf8(command.stdout).unwrap();
        let help: Vec<_> = help.lines().map(str::trim_end).collect();
        let title = arguments.join(" ");
        page += &format!("\n## `flushcast {title}`\n\n```text\n{}\n```\n", help.join("\n").trim());
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md");
    if std::env::var_os("FLUSHCAST_BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), page, "{path} is out of date");
}
